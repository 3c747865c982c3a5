//! WinCLIP and April-GAN together: WinCLIP's windows see what is odd about an area, April-GAN's adapters draw
//! its outline.

use std::sync::Arc;

use super::{AprilGan, Method, PatchMap, Verdict, WinClip};
use crate::{Adapter, Features, Product, Result, Taps};

/// The two methods' log-odds, each divided by its own spread over the photo so that neither swamps the
/// other, and averaged.
#[derive(Clone, Debug)]
pub struct Fused {
    win_clip: WinClip,
    april_gan: AprilGan,
}

impl Fused {
    pub(super) const NAME: &str = "fused";

    /// With the layers of an adapter.
    pub fn new(adapter: Arc<Adapter>) -> Self {
        Self { win_clip: WinClip::default(), april_gan: AprilGan::new(adapter) }
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
        let layers = self.april_gan.judge(photos, product)?;
        let both = windows.into_iter().zip(layers).zip(photos);
        let fuse = |(a, b): (Vec<Verdict>, Vec<Verdict>), size| {
            a.iter().zip(&b).map(|(a, b)| fuse(a, b, size)).collect()
        };
        Ok(both.map(|((a, b), photo)| fuse((a, b), photo.size)).collect())
    }
}

fn fuse(a: &Verdict, b: &Verdict, size: usize) -> Verdict {
    let score = logistic((log_odds(a.score) + log_odds(b.score)) / 2.0);
    let (a, b) = (a.map.enlarge(size), &b.map.values);
    let values = a.iter().zip(b).map(|(a, b)| logistic((log_odds(*a) + log_odds(*b)) / 2.0));
    Verdict { score, map: PatchMap { side: size, values: values.collect() } }
}

fn log_odds(p: f32) -> f32 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
