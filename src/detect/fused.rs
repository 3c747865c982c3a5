//! WinCLIP and April-GAN together. WinCLIP's windows see that an area is odd. April-GAN's adapter draws its outline.

use std::sync::Arc;

use super::{AprilGan, KindScore, Method, PatchMap, WinClip};
use crate::adapter::Adapter;
use crate::clip::{Clip, Features, Taps};
use crate::data::Sample;
use crate::error::Result;
use crate::image::{BitDepth, Fit, Photo};
use crate::prompt::{Product, Prompts, TextCache};
use crate::stats::{log_odds, logistic, population_deviation};

/// The mean of the log-odds of both methods at each patch. Each is first divided by its spread over good photos, so
/// that neither method dominates. Adapters that blemish trained store these spreads. For other adapters only the
/// factors on the cosines are known, and they are used instead.
#[derive(Clone, Debug)]
pub struct Fused {
    win_clip: WinClip,
    april_gan: AprilGan,
    /// The spread of the log-odds: WinCLIP's maps, April-GAN's maps.
    spread: (f32, f32),
    /// The factor on the cosines: WinCLIP, April-GAN.
    scales: (f32, f32),
}

impl Fused {
    pub(super) const NAME: &str = "fused";

    /// Both methods, with the layers of an adapter.
    pub fn new(adapter: Arc<Adapter>) -> Self {
        let win_clip = WinClip::default();
        let scales = (win_clip.logit_scale(), adapter.about().logit_scale);
        let spread = adapter.about().spread.unwrap_or(scales);
        Self { win_clip, april_gan: AprilGan::new(adapter), spread, scales }
    }
}

impl Method for Fused {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        let Taps { blocks, trunk, .. } = self.april_gan.taps();
        Taps { blocks, trunk, ..self.win_clip.taps() }
    }

    fn project(&self, photo: Features) -> Result<Features> {
        self.april_gan.project(photo)
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        let windows = self.win_clip.score(photos, product)?;
        let both = windows.iter().zip(photos).map(|(windows, photo)| {
            let layers = self.april_gan.score_patches(photo, product)?;
            Ok(windows.iter().zip(&layers).map(|(w, l)| self.fuse(w, l)).collect())
        });
        both.collect()
    }
}

impl Fused {
    fn fuse(&self, windows: &KindScore, layers: &KindScore) -> KindScore {
        // A layer on the trunk has a finer map.
        let coarse = windows.map.enlarge(layers.map.side);
        let both = coarse.iter().zip(&layers.map.values);
        let values = both.map(|(w, l)| mean(*w, *l, self.spread)).collect();
        // Both image scores compare the photo's embedding with the prompts. They differ in the factor on the cosines.
        let score = mean(windows.score, layers.score, self.scales);
        let map = PatchMap { side: layers.map.side, values };
        KindScore { score, map, adds_peak: layers.adds_peak }
    }
}

/// The mean of two log-odds. Each is first scaled to the mean of the two spreads. Takes and returns probabilities.
fn mean(a: f32, b: f32, (spread_a, spread_b): (f32, f32)) -> f32 {
    let spread = (spread_a + spread_b) / 2.0;
    let odds = (log_odds(a) / spread_a + log_odds(b) / spread_b) * spread / 2.0;
    logistic(odds)
}

/// The spread of the log-odds over good photos: of WinCLIP's maps and of April-GAN's maps. The photos show products
/// that the adapter was trained on. None without photos.
pub(crate) fn spread(
    clip: &Clip,
    adapter: &Adapter,
    samples: &[&Sample],
    depth: BitDepth,
) -> Result<Option<(f32, f32)>> {
    /// Enough for two digits.
    const PHOTOS: usize = 48;
    let method = Fused::new(Arc::new(adapter.clone()));
    // The same prompts as in later use.
    let prompts = Prompts::default();
    let cache = TextCache::from_env();
    let (mut windows, mut layers) = (Vec::new(), Vec::new());
    for sample in samples.iter().step_by(samples.len().div_ceil(PHOTOS).max(1)) {
        let names = std::slice::from_ref(&sample.product);
        let product = Product::with_synonyms(clip, names, &prompts, &cache)?;
        let photo = Photo::open(&sample.photo, depth)?;
        let pixels = clip.prepare(&photo, Fit::Squash).pixels;
        let features = method.project(clip.encode_image(&pixels, &method.taps())?)?;
        for (map, spreads) in [
            (&method.win_clip.score(&[&features], &product)?[0][0].map, &mut windows),
            (&method.april_gan.score_patches(&features, &product)?[0].map, &mut layers),
        ] {
            let odds: Vec<f32> = map.values.iter().map(|p| log_odds(*p)).collect();
            spreads.push(population_deviation(&odds).max(1e-3));
        }
    }
    let mean = |spreads: &[f32]| spreads.iter().sum::<f32>() / spreads.len() as f32;
    Ok((!windows.is_empty()).then(|| (mean(&windows), mean(&layers))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_method_swamps_the_other() {
        let p = logistic;
        // A tenth of the log-odds counts the same if the spread is a tenth too.
        assert!((mean(p(0.3), p(0.0), (0.1, 1.0)) - mean(p(0.0), p(3.0), (0.1, 1.0))).abs() < 1e-6);
        assert!((mean(p(2.0), p(2.0), (1.0, 1.0)) - p(2.0)).abs() < 1e-6);
        assert_eq!(mean(p(1.0), p(-1.0), (1.0, 1.0)), 0.5);
    }
}
