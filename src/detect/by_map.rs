//! Detectors that compute a map of a photo's pixels, without prompts.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Detector, Encoder, KindScore, Method, PatchMap};
use crate::clip::{Features, Taps};
use crate::error::Result;
use crate::image::{Fit, Normalisation, Photo, Prepared};
use crate::prompt::Product;

/// Computes maps of squares.
pub(crate) struct MapOf {
    /// Side of the square in pixels.
    pub size: usize,
    /// Values along one side of the map.
    pub grid: usize,
    /// From the pixels, `[3, size, size]`, 0..1, to the map, `[grid, grid]`, 0..1.
    pub map: MapFunction,
}

type MapFunction = Box<dyn Fn(&[f32]) -> Result<Vec<f32>> + Send + Sync>;

impl Encoder for MapOf {
    fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared {
        photo.prepare(self.size, fit, &Normalisation::NONE)
    }

    fn encode(&self, prepared: &Prepared, _: &Taps) -> Result<Features> {
        let map = (self.map)(&prepared.pixels)?;
        let map = Tensor::from_vec(map, (self.grid * self.grid, 1), &Device::Cpu)?;
        Ok(Features {
            image: map.zeros_like()?,
            windows: vec![],
            blocks: vec![],
            patches: Some(map),
            trunk: None,
            v_v: vec![],
            reference: None,
            grid: self.grid,
            size: self.size,
        })
    }

    fn is_small(&self) -> bool {
        false
    }
}

/// Every kind gets the map, and its highest value as score.
struct ByMap(&'static str);

impl Method for ByMap {
    fn name(&self) -> &'static str {
        self.0
    }

    fn taps(&self) -> Taps {
        Taps::default()
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        let scores = |photo: &&Features| {
            let values =
                photo.patches.as_ref().map_or(Ok(vec![]), |map| map.flatten_all()?.to_vec1())?;
            let map = PatchMap { side: photo.grid, values };
            let score = KindScore { score: map.peak().1, map, adds_peak: false };
            Ok(vec![score; product.kinds().len()])
        };
        photos.iter().map(scores).collect()
    }
}

impl Detector {
    /// A detector that computes maps of squares.
    pub(crate) fn by_map(name: &'static str, map: MapOf, fit: Fit) -> Self {
        let encoder = Arc::new(map);
        Self { encoder, method: Box::new(ByMap(name)), fit, region: None }
    }
}
