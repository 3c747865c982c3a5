//! How well a detector does on labelled photos.

use serde::Serialize;

use crate::data::Sample;
use crate::metrics::{Labelled, au_pro, auroc, pixel_auroc};
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
    let (mut scores, mut maps, mut masks) = (Vec::new(), Vec::new(), Vec::new());
    for sample in samples {
        let photo = Photo::open(&sample.photo, depth)?;
        masks.push(Mask::open(&sample.masks, photo.width(), photo.height())?);
        let finding = detector.inspect(&photo, product)?;
        scores.push(finding.score);
        if finding.map.values.iter().any(|v| v.is_nan()) {
            let why = "leaves a part of the photos unseen; evaluate with squash or letterbox";
            return Err(Error::setting("--fit crop", why));
        }
        maps.push(finding.map.values);
        done();
    }
    let labels: Vec<bool> = samples.iter().map(|sample| sample.is_anomalous).collect();
    let has_masks = samples.iter().all(|s| !s.is_anomalous || !s.masks.is_empty());
    let anomalous = labels.iter().filter(|l| **l).count();
    let labelled: Vec<Labelled> = maps
        .iter()
        .zip(&masks)
        .map(|(map, mask)| Labelled { map, mask: &mask.pixels, width: mask.width })
        .collect();
    Ok(Scores {
        product: samples.first().map(|s| s.product.clone()).unwrap_or_default(),
        good: samples.len() - anomalous,
        anomalous,
        image_auroc: auroc(&scores, &labels),
        pixel_auroc: has_masks.then(|| pixel_auroc(&labelled)).flatten(),
        au_pro: has_masks.then(|| au_pro(&labelled, LIMIT)).flatten(),
    })
}
