//! Measures a detector, or the maps of another program, on labelled photos.

mod maps;
mod run;
mod truth;

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::data::{Layout, Sample, require_masks};
use crate::detect::AnomalyMap;
use crate::error::{Error, Result};
use crate::metrics::{
    LIMITS, Measured, Pixels, SortedPixels, area_up_to, auroc, average_precision, coarse_curve,
    f1_max, measure, official_image_auroc, official_thresholds, plateau, spro_curve,
};
use truth::Truth;

pub use maps::Maps;
pub use run::{Run, RunAbout, merge};

/// The false-positive rates that AU-PRO is integrated up to. AU-sPRO uses [`LIMITS`].
const PRO_LIMITS: [f64; 3] = [0.05, 0.3, 1.0];

/// The thresholds of MVTec LOCO's curves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curve {
    /// Every score is a threshold.
    #[default]
    Exact,
    /// The thresholds that MVTec's evaluation script chooses. The image AUROC treats equal scores as the script does.
    Official,
}

impl Curve {
    /// The name that the command line and results use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Official => "official",
        }
    }
}

/// The result for one photo.
#[derive(Debug)]
pub struct EvalPrediction {
    /// The photo's score.
    pub score: f32,
    /// Its map, at the photo's own size.
    pub map: AnomalyMap,
}

/// The measured numbers of one product. A metric is `None` if it is not defined: without good photos or without
/// defective photos, and for pixels if a mask is missing.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// Name of the product's folder.
    pub product: String,
    /// Number of good photos.
    pub good: usize,
    /// Number of defective photos.
    pub anomalous: usize,
    /// Over all photos. For MVTec LOCO: the mean of its two kinds, as its authors define it.
    #[serde(flatten)]
    pub all: Metrics,
    /// Each kind of defect against the good photos.
    pub kinds: BTreeMap<String, Metrics>,
    /// For MVTec LOCO: a score that more than one in fifty pixels share, if there is one. MVTec's script stops at such
    /// maps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau: Option<f32>,
    /// Whether all defective photos have masks. Without masks, photos are measured and pixels are not.
    #[serde(skip)]
    pub has_masks: bool,
    /// What is doubtful about the masks, one entry for each doubtful mask.
    #[serde(skip)]
    pub doubtful_masks: Vec<String>,
    /// Each photo's score, in the order of the photos.
    #[serde(skip)]
    pub photo_scores: Vec<f32>,
    /// The curve of per-region overlap over the false-positive rate, at about 200 thresholds. AU-PRO is the area under
    /// the exact curve. Empty without masks.
    #[serde(skip)]
    pub overlap: Vec<(f64, f64)>,
}

/// Metrics over photos and over pixels at the photos' own sizes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Metrics {
    /// Number of defective photos.
    pub photos: usize,
    /// AUROC over the photos' scores.
    pub image_auroc: Option<f64>,
    /// 95 % interval of `image_auroc`: good and defective photos are drawn again, separately (percentile bootstrap).
    pub image_auroc_95: Option<(f64, f64)>,
    /// AUROC if a photo's score is the highest value of its map, as in MVTec LOCO's script.
    pub map_maximum_auroc: Option<f64>,
    /// Average precision over the photos' scores.
    pub image_ap: Option<f64>,
    /// Highest F1 over the photos' scores.
    pub image_f1_max: Option<f64>,
    /// AUROC over all pixels.
    pub pixel_auroc: Option<f64>,
    /// Average precision over all pixels.
    pub pixel_ap: Option<f64>,
    /// Highest F1 over all pixels.
    pub pixel_f1_max: Option<f64>,
    /// AU-PRO, or AU-sPRO on MVTec LOCO. The key is the false-positive rate that it is integrated up to.
    pub au_pro: BTreeMap<String, f64>,
}

impl Metrics {
    /// The AU-PRO up to a false-positive rate.
    pub fn au_pro(&self, limit: f64) -> Option<f64> {
        self.au_pro.get(&limit_name(limit)).copied()
    }
}

/// A false-positive rate as MVTec's scripts write it: 0.05, 1.0.
fn limit_name(limit: f64) -> String {
    format!("{limit:?}")
}

/// Measures the photos of one product. Calls `look` for each photo, in order. `look` returns the prediction for the
/// photo.
///
/// # Errors
/// The errors of `look`. [`Error::Photo`] if a mask cannot be used, or if a score or a map has a value that is not a
/// number. [`Error::Data`] if only some defective photos have masks, because metrics over a part of a set are not
/// comparable ([`Layout::Folder`] allows it). [`Error::Data`] if the pixels do not fit into the memory.
pub fn evaluate(
    samples: &[&Sample],
    layout: Layout,
    curve: Curve,
    mut look: impl FnMut(&Sample) -> Result<EvalPrediction>,
) -> Result<Scores> {
    if layout != Layout::Folder && samples.iter().any(|sample| !sample.masks.is_empty()) {
        require_masks(samples.iter().copied())?;
    }
    let has_masks = samples.iter().all(|s| !s.is_anomalous || !s.masks.is_empty());
    let truth = if has_masks { Some(Truth::of(samples, layout)?) } else { None };
    let (mut photo_scores, mut doubtful_masks) = (Vec::new(), Vec::new());
    let mut kinds: BTreeMap<&str, (PhotoScores, Pixels)> = BTreeMap::new();
    for (i, sample) in samples.iter().enumerate() {
        let EvalPrediction { score, map } = look(sample)?;
        check_numbers(sample, score, &map)?;
        if i == 0 && truth.is_some() {
            check_memory(samples, map.values.len(), available_memory())?;
        }
        let (photos, pixels) = kinds.entry(&sample.kind).or_default();
        photos.scores.push(score);
        photos.maxima.push(map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        photo_scores.push(score);
        if let Some(truth) = &truth {
            doubtful_masks.extend(truth.add(sample, &map, pixels)?);
        }
    }
    let kinds = kinds.into_iter().map(|(kind, (photos, pixels))| (kind, (photos, pixels.sorted())));
    let kinds: BTreeMap<&str, SortedKind> = kinds.collect();
    let is_good = |kind: &str| samples.iter().any(|s| s.kind == kind && !s.is_anomalous);
    let (good, bad): (Vec<_>, Vec<_>) = kinds.iter().partition(|(kind, _)| is_good(kind));
    let everything: Vec<&SortedPixels> = kinds.values().map(|(_, pixels)| pixels).collect();
    let is_official = curve == Curve::Official && layout == Layout::Loco && has_masks;
    let measuring = Measuring {
        good: good.into_iter().map(|(_, kind)| kind).collect(),
        limits: if layout == Layout::Loco { &LIMITS } else { &PRO_LIMITS },
        has_masks,
        official: is_official.then(|| official_thresholds(&everything)),
    };
    let by_kind: BTreeMap<String, Metrics> =
        bad.iter().map(|(name, kind)| (name.to_string(), measuring.metrics(&[kind]))).collect();
    let all = match layout {
        Layout::Loco => mean(&by_kind),
        _ if bad.len() == 1 => by_kind[*bad[0].0].clone(),
        _ => measuring.metrics(&bad.iter().map(|(_, kind)| *kind).collect::<Vec<_>>()),
    };
    let anomalous = samples.iter().filter(|sample| sample.is_anomalous).count();
    Ok(Scores {
        product: samples.first().map(|s| s.product.clone()).unwrap_or_default(),
        good: samples.len() - anomalous,
        anomalous,
        all: Metrics { photos: anomalous, ..all },
        kinds: by_kind,
        plateau: if layout == Layout::Loco { plateau(&everything) } else { None },
        has_masks,
        doubtful_masks,
        photo_scores,
        overlap: if has_masks { coarse_curve(&everything) } else { vec![] },
    })
}

/// The scores of the photos of one kind, and their pixels.
type SortedKind = (PhotoScores, SortedPixels);

/// Measures kinds of defect against the good photos.
struct Measuring<'a> {
    good: Vec<&'a SortedKind>,
    /// False-positive rates that areas are integrated up to.
    limits: &'a [f64],
    has_masks: bool,
    /// The thresholds of MVTec's script, for [`Curve::Official`].
    official: Option<Vec<f64>>,
}

impl Measuring<'_> {
    fn metrics(&self, bad: &[&SortedKind]) -> Metrics {
        let scores = |of: &[&SortedKind], get: fn(&PhotoScores) -> &[f32]| {
            of.iter().flat_map(|(photos, _)| get(photos)).copied().collect::<Vec<f32>>()
        };
        let both = |get| (scores(&self.good, get), scores(bad, get));
        let (good_scores, bad_scores) = both(|photos| &photos.scores);
        let (good_maxima, bad_maxima) = both(|photos| &photos.maxima);
        let (all, labels) = labelled(&good_scores, &bad_scores);
        let parts: Vec<&SortedPixels> =
            self.good.iter().chain(bad).map(|(_, pixels)| pixels).collect();
        let pixel = if self.has_masks { measure(&parts, self.limits) } else { Measured::default() };
        let areas = match &self.official {
            Some(thresholds) => Some(area_up_to(&spro_curve(&parts, thresholds), self.limits)),
            None => pixel.au_pro,
        };
        let limits = self.limits.iter().map(|limit| limit_name(*limit));
        Metrics {
            photos: bad_scores.len(),
            image_auroc: self.image_auroc(&good_scores, &bad_scores),
            map_maximum_auroc: self.image_auroc(&good_maxima, &bad_maxima),
            image_auroc_95: interval(&good_scores, &bad_scores),
            image_ap: average_precision(&all, &labels),
            image_f1_max: f1_max(&all, &labels),
            pixel_auroc: pixel.auroc,
            pixel_ap: pixel.average_precision,
            pixel_f1_max: pixel.f1_max,
            au_pro: limits.zip(areas.into_iter().flatten()).collect(),
        }
    }

    fn image_auroc(&self, good: &[f32], bad: &[f32]) -> Option<f64> {
        if self.official.is_some() {
            return official_image_auroc(good, bad);
        }
        let (scores, labels) = labelled(good, bad);
        auroc(&scores, &labels)
    }
}

/// All scores, and for each whether its photo is defective.
fn labelled(good: &[f32], bad: &[f32]) -> (Vec<f32>, Vec<bool>) {
    let labels = (0..good.len() + bad.len()).map(|i| i >= good.len());
    ([good, bad].concat(), labels.collect())
}

/// Refuses a score or a map with a value that is not a number.
fn check_numbers(sample: &Sample, score: f32, map: &AnomalyMap) -> Result<()> {
    let Some(at) = map.values.iter().position(|value| !value.is_finite()) else {
        return match score.is_finite() {
            true => Ok(()),
            false => Err(Error::photo(&sample.photo, "its score is no number")),
        };
    };
    let (x, y) = (at % map.width, at / map.width);
    let why = format!(
        "its map is no number at {x}, {y}: a part was not inspected (fit crop, a region of interest) or \
         the map is damaged"
    );
    Err(Error::photo(&sample.photo, why))
}

/// Refuses a product whose pixels do not fit into the memory. All its pixels are held at once, four bytes each.
fn check_memory(samples: &[&Sample], pixels: usize, free: Option<u64>) -> Result<()> {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    let needed = samples.len() as u64 * pixels as u64 * 4;
    let Some(free) = free.filter(|free| *free < needed) else { return Ok(()) };
    let why = format!(
        "{} photos of this size need at least {:.1} GB for their pixels, and {:.1} GB are free: make photos and masks smaller, or \
         leave the masks out and measure photos alone",
        samples.len(),
        gigabytes(needed),
        gigabytes(free)
    );
    Err(Error::data(&samples[0].photo, why))
}

/// The memory that this program can still use, in bytes. `None` if the system does not say.
fn available_memory() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    if system.total_memory() == 0 {
        return None;
    }
    // Count only `rss`. The files that a cgroup has read also count as its memory, but the system frees them.
    let limits = system.cgroup_limits();
    let free = limits.map_or(u64::MAX, |limits| limits.total_memory.saturating_sub(limits.rss));
    Some(system.available_memory().min(free)).filter(|free| *free > 0)
}

/// The scores of the photos of one kind.
#[derive(Default)]
struct PhotoScores {
    scores: Vec<f32>,
    /// The highest value of each photo's map.
    maxima: Vec<f32>,
}

/// 95 % interval of the AUROC by percentile bootstrap, with 1,000 draws and a fixed seed.
fn interval(good: &[f32], bad: &[f32]) -> Option<(f64, f64)> {
    const DRAWS: usize = 1000;
    if good.is_empty() || bad.is_empty() {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(0);
    let labels: Vec<bool> = (0..good.len() + bad.len()).map(|i| i >= good.len()).collect();
    let draw = |of: &[f32], random: &mut ChaCha8Rng, into: &mut Vec<f32>| {
        into.extend((0..of.len()).map(|_| of[random.random_range(0..of.len())]));
    };
    let once = |_| {
        let mut scores = Vec::with_capacity(labels.len());
        draw(good, &mut random, &mut scores);
        draw(bad, &mut random, &mut scores);
        auroc(&scores, &labels)
    };
    let mut found: Vec<f64> = (0..DRAWS).filter_map(once).collect();
    found.sort_by(f64::total_cmp);
    let at = |share: f64| found[(share * (found.len() - 1) as f64).round() as usize];
    Some((at(0.025), at(0.975)))
}

/// The unweighted mean of each metric. `None` if one of its values is `None`.
pub fn mean(all: &BTreeMap<String, Metrics>) -> Metrics {
    let of = |get: fn(&Metrics) -> Option<f64>| {
        let values: Option<Vec<f64>> = all.values().map(get).collect();
        let values = values.filter(|values| !values.is_empty())?;
        Some(values.iter().sum::<f64>() / values.len() as f64)
    };
    let limits = all.values().next().map(|first| first.au_pro.keys()).into_iter().flatten();
    let area = |limit: &String| {
        let values: Option<Vec<f64>> = all.values().map(|m| m.au_pro.get(limit).copied()).collect();
        let values = values?;
        Some((limit.clone(), values.iter().sum::<f64>() / values.len() as f64))
    };
    Metrics {
        photos: all.values().map(|metrics| metrics.photos).sum(),
        image_auroc: of(|m| m.image_auroc),
        map_maximum_auroc: of(|m| m.map_maximum_auroc),
        // A mean has no photos to draw from.
        image_auroc_95: None,
        image_ap: of(|m| m.image_ap),
        image_f1_max: of(|m| m.image_f1_max),
        pixel_auroc: of(|m| m.pixel_auroc),
        pixel_ap: of(|m| m.pixel_ap),
        pixel_f1_max: of(|m| m.pixel_f1_max),
        au_pro: limits.filter_map(area).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_before_it_is_tried() {
        let sample = Sample {
            photo: "nut/test/bent/0.png".into(),
            part: None,
            product: "nut".into(),
            kind: "bent".into(),
            is_anomalous: true,
            masks: vec![],
        };
        let samples = vec![&sample; 500];
        let check = |free| check_memory(&samples, 12_000_000, free);
        assert!(check(None).is_ok() && check(Some(24_000_000_000)).is_ok());
        let why = check(Some(16_000_000_000)).unwrap_err().to_string();
        assert!(
            why.contains("500 photos of this size need at least 24.0 GB")
                && why.contains("16.0 GB are free"),
            "{why}"
        );
        assert!(available_memory().is_some_and(|free| free > 1 << 20));
    }
}
