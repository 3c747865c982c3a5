//! WinCLIP and April-GAN together: WinCLIP's windows see what is odd about an area, April-GAN's adapters draw
//! its outline.

use std::sync::Arc;

use super::{AprilGan, Method, PatchMap, Verdict, WinClip};
use crate::data::Sample;
use crate::{
    Adapter, BitDepth, Clip, Features, Fit, Photo, Product, Prompts, Result, Taps, TextCache,
};

/// The two methods' log-odds of each patch, each divided by how far it spreads over good photos, so that neither swamps the
/// other, and averaged. The spreads stand in adapters that blemish trained; for others they are those over the
/// photo itself.
#[derive(Clone, Debug)]
pub struct Fused {
    win_clip: WinClip,
    april_gan: AprilGan,
    spread: Option<(f32, f32)>,
}

impl Fused {
    pub(super) const NAME: &str = "fused";

    /// With the layers of an adapter.
    pub fn new(adapter: Arc<Adapter>) -> Self {
        let spread = adapter.about().spread;
        Self { win_clip: WinClip::default(), april_gan: AprilGan::new(adapter), spread }
    }
}

impl Method for Fused {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        Taps { windows: self.win_clip.taps().windows, ..self.april_gan.taps() }
    }

    fn digest(&self, photo: Features) -> Result<Features> {
        self.april_gan.digest(photo)
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        let windows = self.win_clip.judge(photos, product)?;
        let both = windows.iter().zip(photos).map(|(windows, photo)| {
            let layers = self.april_gan.judge_patches(photo, product)?;
            Ok(windows.iter().zip(&layers).map(|(w, l)| fuse(w, l, self.spread)).collect())
        });
        both.collect()
    }
}

fn fuse(windows: &Verdict, layers: &Verdict, spread: Option<(f32, f32)>) -> Verdict {
    let odds = |values: &[f32]| values.iter().map(|p| log_odds(*p)).collect::<Vec<f32>>();
    let (w, l) = (odds(&windows.map.values), odds(&layers.map.values));
    let (spread_w, spread_l) = spread.unwrap_or_else(|| (deviation(&w), deviation(&l)));
    // Each at the mean of the two spreads.
    let share = |spread: f32| (spread_w + spread_l) / (4.0 * spread.max(1e-6));
    let (share_w, share_l) = (share(spread_w), share(spread_l));
    let values = w.iter().zip(&l).map(|(w, l)| logistic(w * share_w + l * share_l)).collect();
    // The photo's own scores are of one kind already: both compare its embedding with the words.
    let score = logistic((log_odds(windows.score) + log_odds(layers.score)) / 2.0);
    Verdict { score, map: PatchMap { side: windows.map.side, values } }
}

/// How far the log-odds of both methods' maps spread over some good photos of their products; none without photos.
pub(crate) fn spread<'a>(
    clip: &Clip,
    adapter: &Adapter,
    prompts: &Prompts,
    good: impl Iterator<Item = &'a Sample>,
) -> Result<Option<(f32, f32)>> {
    /// Enough for a second digit.
    const PHOTOS: usize = 32;
    let method = Fused::new(Arc::new(adapter.clone()));
    let cache = TextCache::from_env();
    let (mut windows, mut layers) = (Vec::new(), Vec::new());
    for sample in good.take(PHOTOS) {
        let names = std::slice::from_ref(&sample.product);
        let product = Product::with_synonyms(clip, names, prompts, &cache)?;
        let photo = Photo::open(&sample.photo, BitDepth::default())?;
        let pixels = clip.prepare(&photo, Fit::Squash).pixels;
        let seen = method.digest(clip.encode_image(&pixels, &method.taps())?)?;
        for (map, spreads) in [
            (&method.win_clip.judge(&[&seen], &product)?[0][0].map, &mut windows),
            (&method.april_gan.judge_patches(&seen, &product)?[0].map, &mut layers),
        ] {
            spreads.push(deviation(&map.values.iter().map(|p| log_odds(*p)).collect::<Vec<_>>()));
        }
    }
    let mean = |spreads: &[f32]| spreads.iter().sum::<f32>() / spreads.len() as f32;
    Ok((!windows.is_empty()).then(|| (mean(&windows).max(1e-6), mean(&layers).max(1e-6))))
}

/// The standard deviation.
fn deviation(values: &[f32]) -> f32 {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count).sqrt()
}

fn log_odds(p: f32) -> f32 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_method_swamps_the_other() {
        // The same shape, once with a tenth of the contrast: fused, both count alike.
        let verdict = |contrast: f32, hot: usize| {
            let values = (0..4).map(|i| logistic(if i == hot { contrast } else { 0.0 })).collect();
            Verdict { score: 0.5, map: PatchMap { side: 2, values } }
        };
        let fused = fuse(&verdict(0.3, 1), &verdict(3.0, 2), None).map.values;
        assert!((fused[1] - fused[2]).abs() < 1e-4 && fused[1] > fused[0] + 0.1, "{fused:?}");
        let fixed = fuse(&verdict(0.3, 1), &verdict(3.0, 2), Some((1.0, 1.0))).map.values;
        assert!(fixed[2] > fixed[1] + 0.2, "{fixed:?}");
    }
}
