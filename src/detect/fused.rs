//! WinCLIP and April-GAN together: WinCLIP's windows see what is odd about an area, April-GAN's adapters draw
//! its outline.

use std::sync::Arc;

use super::{AprilGan, KindScore, Method, PatchMap, WinClip};
use crate::adapter::Adapter;
use crate::clip::{Clip, Features, Taps};
use crate::data::Sample;
use crate::error::Result;
use crate::image::{BitDepth, Fit, Photo};
use crate::prompt::{Product, Prompts, TextCache};
use crate::stats::{log_odds, logistic, population_deviation};

/// The two methods' log-odds of each patch, each divided by how far it spreads over good photos, so that neither swamps the
/// other, and averaged. The spreads stand in adapters that blemish trained; of others all that is known is what
/// each method multiplies its cosines by, so that stands in for them.
#[derive(Clone, Debug)]
pub struct Fused {
    win_clip: WinClip,
    april_gan: AprilGan,
    /// Of the windows' maps and of the layers'.
    spread: (f32, f32),
    /// What either multiplies its cosines by.
    scales: (f32, f32),
}

impl Fused {
    pub(super) const NAME: &str = "fused";

    /// With the layers of an adapter.
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
        Taps { blocks: self.april_gan.taps().blocks, ..self.win_clip.taps() }
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
        let both = windows.map.values.iter().zip(&layers.map.values);
        let values = both.map(|(w, l)| mean(*w, *l, self.spread)).collect();
        // The photo's scores are of one kind: both compare its embedding with the words.
        let score = mean(windows.score, layers.score, self.scales);
        KindScore { score, map: PatchMap { side: windows.map.side, values } }
    }
}

/// The mean of two log-odds, each brought to the mean of their two spreads.
fn mean(a: f32, b: f32, (spread_a, spread_b): (f32, f32)) -> f32 {
    let spread = (spread_a + spread_b) / 2.0;
    let odds = (log_odds(a) / spread_a + log_odds(b) / spread_b) * spread / 2.0;
    logistic(odds)
}

/// How far the log-odds of both methods' maps spread over good photos of the products that an adapter was trained
/// on; none without photos.
pub(crate) fn spread(
    clip: &Clip,
    adapter: &Adapter,
    samples: &[&Sample],
    depth: BitDepth,
) -> Result<Option<(f32, f32)>> {
    /// Enough for a second digit.
    const PHOTOS: usize = 48;
    let method = Fused::new(Arc::new(adapter.clone()));
    // The words that the method is used with.
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
        // A tenth of the spread, a tenth of the log-odds: both say the same.
        assert!((mean(p(0.3), p(0.0), (0.1, 1.0)) - mean(p(0.0), p(3.0), (0.1, 1.0))).abs() < 1e-6);
        assert!((mean(p(2.0), p(2.0), (1.0, 1.0)) - p(2.0)).abs() < 1e-6);
        assert_eq!(mean(p(1.0), p(-1.0), (1.0, 1.0)), 0.5);
    }
}
