//! Detectors that compute a map of a photo's pixels, without prompts.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Detector, Encoder, KindScore, Method, PatchMap};
use crate::clip::{Features, Taps};
use crate::error::Result;
use crate::image::{Fit, Normalisation, Photo, Prepared};
use crate::prompt::Product;

/// From the pixels of a square, `[3, size, size]`, 0..1, to a map of it, `[size, size]`, 0..1.
pub(crate) type MapOf = Box<dyn Fn(&[f32]) -> Result<Vec<f32>> + Send + Sync>;

struct Maps {
    size: usize,
    map: MapOf,
}

impl Encoder for Maps {
    fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared {
        photo.prepare(self.size, fit, &Normalisation::NONE)
    }

    fn encode(&self, prepared: &Prepared, _: &Taps) -> Result<Features> {
        let map = (self.map)(&prepared.pixels)?;
        let map = Tensor::from_vec(map, (self.size * self.size, 1), &Device::Cpu)?;
        Ok(Features {
            image: map.zeros_like()?,
            windows: vec![],
            blocks: vec![],
            patches: Some(map),
            trunk: None,
            v_v: vec![],
            reference: None,
            grid: self.size,
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
    /// A detector that computes maps of squares of `size` pixels.
    pub(crate) fn by_map(name: &'static str, size: usize, map: MapOf, fit: Fit) -> Self {
        let encoder = Arc::new(Maps { size, map });
        Self { encoder, method: Box::new(ByMap(name)), fit, region: None }
    }
}
