//! From features and words to an anomaly map and a score.

mod winclip;

use crate::{Clip, Error, Features, Fit, Photo, Prepared, Product, Result, Taps};

pub use winclip::WinClip;

/// A way to tell good from defective. It says what it needs of each photo's features first, and judges
/// one photo or many together afterwards, so that methods which compare photos with each other fit too.
pub trait Method: Send + Sync {
    /// The name that `--method` takes.
    fn name(&self) -> &'static str;

    /// What it needs of the image tower.
    fn taps(&self) -> Taps;

    /// One verdict per photo, in order.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the features are not those asked for by [`Method::taps`].
    fn judge(&self, photos: &[Features], product: &Product) -> Result<Vec<Verdict>>;
}

/// What a method says about one photo, as the model saw it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// 0..1, higher is more anomalous.
    pub score: f32,
    /// `[size, size]`: the anomaly of each pixel of the model's input, 0..1.
    pub map: Vec<f32>,
}

/// A method's name, what it does in a few words, and how it is made.
pub type MethodEntry = (&'static str, &'static str, fn() -> Box<dyn Method>);

/// All methods, the default first.
pub const METHODS: &[MethodEntry] = &[(
    winclip::NAME,
    "WinCLIP: words against windows of 2x2 and 3x3 patches and the whole photo",
    || Box::new(WinClip::default()),
)];

/// A method by its name.
///
/// # Errors
/// [`Error::Setting`] that lists the names.
pub fn method(name: &str) -> Result<Box<dyn Method>> {
    METHODS.iter().find(|(n, ..)| *n == name).map(|(.., make)| make()).ok_or_else(|| {
        let names: Vec<&str> = METHODS.iter().map(|(n, ..)| *n).collect();
        Error::setting(format!("--method {name}"), format!("unknown; one of: {}", names.join(", ")))
    })
}

/// How anomalous each pixel of a photo is.
#[derive(Clone, Debug)]
pub struct AnomalyMap {
    /// Width of the photo in pixels.
    pub width: usize,
    /// Height of the photo in pixels.
    pub height: usize,
    /// `[height, width]`, 0..1; NaN where the model did not look.
    pub values: Vec<f32>,
}

impl AnomalyMap {
    /// Column, row and value of the most anomalous pixel; the first of several.
    pub fn peak(&self) -> (usize, usize, f32) {
        let mut best = (0, f32::NEG_INFINITY);
        for (i, &value) in self.values.iter().enumerate() {
            if value > best.1 {
                best = (i, value);
            }
        }
        (best.0 % self.width, best.0 / self.width, best.1)
    }
}

/// What was found in a photo.
#[derive(Clone, Debug)]
pub struct Finding {
    /// 0..1, higher is more anomalous.
    pub score: f32,
    /// Where, at the photo's own size.
    pub map: AnomalyMap,
    /// The share of the photo that was looked at, 0..1; below 1 only with [`Fit::Crop`].
    pub coverage: f64,
}

/// The image side of a model, so that detectors can be tested with a made-up one.
trait Encoder: Send + Sync {
    fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared;
    fn encode(&self, pixels: &[f32], taps: &Taps) -> Result<Features>;
}

impl Encoder for Clip {
    fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared {
        Clip::prepare(self, photo, fit)
    }
    fn encode(&self, pixels: &[f32], taps: &Taps) -> Result<Features> {
        self.encode_image(pixels, taps)
    }
}

/// A model with a method: finds defects in photos.
pub struct Detector {
    encoder: Box<dyn Encoder>,
    method: Box<dyn Method>,
    fit: Fit,
}

impl Detector {
    /// Zero-shot WinCLIP on whole photos.
    pub fn new(clip: Clip) -> Self {
        Self::with(clip, Box::new(WinClip::default()), Fit::default())
    }

    /// Another method, or another way to make a photo square.
    pub fn with(clip: Clip, method: Box<dyn Method>, fit: Fit) -> Self {
        Self { encoder: Box::new(clip), method, fit }
    }

    /// The method in use.
    pub fn method(&self) -> &dyn Method {
        &*self.method
    }

    /// A photo as the model takes it. Costs far less than [`Detector::inspect_prepared`], so that one
    /// thread can read photos ahead of another that inspects them.
    pub fn prepare(&self, photo: &Photo) -> Prepared {
        self.encoder.prepare(photo, self.fit)
    }

    /// Looks for defects in one photo.
    ///
    /// # Errors
    /// [`Error::Setting`] when the model's input is too small for the method's windows.
    pub fn inspect(&self, photo: &Photo, product: &Product) -> Result<Finding> {
        self.inspect_prepared(&self.prepare(photo), product)
    }

    /// Looks for defects in a photo that [`Detector::prepare`] made ready.
    ///
    /// # Errors
    /// As [`Detector::inspect`]; and [`Error::Model`] when a score is not a number.
    ///
    /// # Panics
    /// If the method's map is not of the model's input size.
    pub fn inspect_prepared(&self, prepared: &Prepared, product: &Product) -> Result<Finding> {
        let features = self.encoder.encode(&prepared.pixels, &self.method.taps())?;
        let verdicts = self.method.judge(&[features], product)?;
        let verdict = verdicts
            .into_iter()
            .next()
            .ok_or_else(|| Error::setting(self.method.name(), "gave no verdict on the photo"))?;
        if !verdict.score.is_finite() || verdict.map.iter().any(|v| !v.is_finite()) {
            let why = "gave a score that is no number: the model's weights are not usable";
            return Err(Error::model(self.method.name(), why));
        }
        let (width, height) = prepared.placement.photo_size();
        let values = prepared.placement.place(&verdict.map);
        Ok(Finding {
            score: verdict.score,
            map: AnomalyMap { width, height, values },
            coverage: prepared.placement.coverage(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Normalisation;
    use candle_core::{Device, Tensor};

    /// Sees every window as good, except those that hold one patch.
    struct OneBadPatch {
        column: usize,
        row: usize,
    }

    impl Encoder for OneBadPatch {
        fn prepare(&self, photo: &Photo, fit: Fit) -> Prepared {
            photo.prepare(60, fit, &Normalisation::default())
        }

        fn encode(&self, _: &[f32], taps: &Taps) -> Result<Features> {
            let grid = 6;
            let windows = taps.windows.iter().map(|&side| {
                let n = grid - side + 1;
                let holds = |start: usize, place: usize| (start..start + side).contains(&place);
                let rows: Vec<[f32; 2]> = (0..n * n)
                    .map(|i| match holds(i % n, self.column) && holds(i / n, self.row) {
                        true => [0.0, 1.0],
                        false => [1.0, 0.0],
                    })
                    .collect();
                Ok(Tensor::from_vec(rows.concat(), (n * n, 2), &Device::Cpu)?)
            });
            Ok(Features {
                image: Tensor::new(&[1f32, 1.0], &Device::Cpu)?,
                windows: windows.collect::<Result<_>>()?,
                blocks: vec![],
                grid,
                size: 60,
            })
        }
    }

    #[test]
    fn the_map_peaks_where_the_bad_patch_lies_on_the_photo() {
        let words = |v: [f32; 2]| Tensor::new(&[v], &Device::Cpu).unwrap();
        let product = Product::from_embeddings("part", words([1.0, 0.0]), words([0.0, 1.0]));
        for (fit, expected) in [(Fit::Squash, (350, 83)), (Fit::Crop, (317, 83))] {
            let detector = Detector {
                encoder: Box::new(OneBadPatch { column: 3, row: 2 }),
                method: Box::new(WinClip::default()),
                fit,
            };
            // The patch's centre: (3.5, 2.5) of 6 patches; a crop of 600x200 is the middle third.
            let photo = Photo::from_rgb(600, 200, vec![0; 600 * 200 * 3]).unwrap();
            let finding = detector.inspect(&photo, &product).unwrap();
            assert_eq!(finding.score, 0.5, "the whole photo is as near to good as to bad");
            let (x, y, value) = finding.map.peak();
            assert!(
                x.abs_diff(expected.0) < 60 && y.abs_diff(expected.1) < 20,
                "{fit:?}: {x}, {y}"
            );
            assert!(value > 0.6, "{value}");
            let unseen = finding.map.values.iter().filter(|v| v.is_nan()).count();
            assert_eq!(unseen, if fit == Fit::Crop { 400 * 200 } else { 0 });
        }
    }
}
