//! How well a detector does on labelled photos.

use serde::Serialize;

use crate::data::Sample;
use crate::metrics::{Measured, Pixels, auroc, measure};
use crate::{BitDepth, Detector, Error, Mask, Photo, Product, Result};

/// The false-positive rate that AU-PRO is integrated up to.
const LIMIT: f64 = 0.3;

/// What came out on one product. A metric is none where it is not defined: without good photos or without
/// defective ones, and for maps where a mask is missing.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// The product's folder.
    pub product: String,
    /// Good photos.
    pub good: usize,
    /// Defective photos.
    pub anomalous: usize,
    /// AUROC over the photos' scores.
    pub image_auroc: Option<f64>,
    /// AUROC over all pixels, at the photos' own sizes.
    pub pixel_auroc: Option<f64>,
    /// AU-PRO up to a false-positive rate of 0.3.
    pub au_pro: Option<f64>,
}

/// Judges the labelled photos of one product; `done` is called after each.
///
/// # Errors
/// [`Error::Photo`] for a photo or mask that cannot be read: metrics over a part of a set would not be
/// comparable.
pub fn evaluate(
    detector: &Detector,
    product: &Product,
    samples: &[&Sample],
    depth: BitDepth,
    mut done: impl FnMut(),
) -> Result<Scores> {
    let (mut scores, mut pixels) = (Vec::new(), Pixels::default());
    for sample in samples {
        let photo = Photo::open(&sample.photo, depth)?;
        let mask = Mask::open(&sample.masks, photo.width(), photo.height())?;
        let finding = detector.inspect(&photo, product)?;
        scores.push(finding.score);
        if finding.map.values.iter().any(|v| v.is_nan()) {
            let why = "leaves a part of the photos unseen; evaluate with squash or letterbox";
            return Err(Error::setting("--fit crop", why));
        }
        pixels.add_masked(&finding.map.values, &mask.pixels, mask.width);
        done();
    }
    let labels: Vec<bool> = samples.iter().map(|sample| sample.is_anomalous).collect();
    let has_masks = samples.iter().all(|s| !s.is_anomalous || !s.masks.is_empty());
    let anomalous = labels.iter().filter(|l| **l).count();
    let Measured { auroc: pixel_auroc, au_pro, .. } = match has_masks {
        true => measure(&[&pixels.sorted()], &[LIMIT]),
        false => Measured::default(),
    };
    Ok(Scores {
        product: samples.first().map(|s| s.product.clone()).unwrap_or_default(),
        good: samples.len() - anomalous,
        anomalous,
        image_auroc: auroc(&scores, &labels),
        pixel_auroc,
        au_pro: au_pro.map(|pro| pro[0]),
    })
}
