//! From photos of good parts to a profile.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{Box2, cut_paste, moved};
use super::{KindAbout, Profile, ProfileAbout, Readiness, ReferenceAbout, places};
use crate::detect::{Held, Referenced, Twin, mean_and_spread};
use crate::metrics::auroc;
use crate::reference::FitOptions;
use crate::{
    BitDepth, Clip, Detector, Error, Features, Fit, Mask, Method, MethodEntry, Pair, Parts, Photo,
    Placement, Prepared, Product, ReferenceEntry, Result,
};

/// Good photos that damage is laid over: enough for a verdict.
const DAMAGED_PHOTOS: usize = 16;

/// What a product is enrolled with, besides its photos.
pub struct EnrollOptions<'a> {
    /// The method that compares with words.
    pub method: &'a MethodEntry,
    /// What it is made of.
    pub parts: Parts,
    /// The method that compares with good parts.
    pub references: &'static ReferenceEntry,
    /// The blocks whose patches that compares; its own choice when none.
    pub blocks: Option<Vec<usize>>,
    /// How photos are made square.
    pub fit: Fit,
    /// Bits that the camera fills in 16-bit files.
    pub depth: BitDepth,
    /// The prompt file's name, to be noted.
    pub prompts: String,
    /// The share of good parts that may be called defective, 0..1.
    pub false_alarm: f64,
    /// A picture that is white where to look.
    pub region: Option<PathBuf>,
    /// Of all that is drawn by lot.
    pub seed: u64,
    /// Told what is being done, and how much of it is done, 0..1.
    pub progress: &'a (dyn Fn(&str, f64) + Sync),
}

/// The photos to enroll with.
#[derive(Clone, Copy)]
pub struct Photos<'a> {
    /// Of good parts, to compare with.
    pub references: &'a [PathBuf],
    /// Of further good parts, to draw the line with.
    pub calibration: &'a [PathBuf],
}

/// A profile, and what its user should know.
pub struct Enrolled {
    /// The profile.
    pub profile: Profile,
    /// Photos that could not be read.
    pub unreadable: Vec<Error>,
    /// Photos that were left out because their file is another's copy: which, and of which.
    pub copies: Vec<(PathBuf, PathBuf)>,
}

/// Enrolls a product. The order of the photos' files does not matter: they are taken in the order of their hashes.
///
/// # Errors
/// [`Error::Setting`] without a reference that can be read, for a false-alarm rate outside 0..1 and for what the
/// model does not have; [`Error::Photo`] for a region that cannot be used.
pub fn enroll(
    clip: Arc<Clip>,
    product: Product,
    photos: Photos,
    options: &EnrollOptions,
) -> Result<Enrolled> {
    if !(options.false_alarm > 0.0 && options.false_alarm < 1.0) {
        let setting = format!("--false-alarm {}", options.false_alarm);
        return Err(Error::setting(setting, "give a share between 0 and 1, such as 0.05"));
    }
    let blocks = options.blocks.clone();
    let blocks = blocks.unwrap_or_else(|| options.references.default_blocks(clip.shape()));
    if blocks.is_empty() && options.references.takes_blocks {
        return Err(Error::setting("--reference-blocks", "give at least one block"));
    }
    let words = options.method.make(&options.parts)?;
    let pair = Pair::new(words, options.references, blocks.clone());
    clip.check(&pair.taps())?;
    let detector = Detector::with(clip.clone(), Box::new(pair.clone()), options.fit);

    let (mut unreadable, mut copies) = (Vec::new(), Vec::new());
    let (references, rest) =
        (Read::all(photos.references, &mut unreadable, &mut copies), photos.calibration);
    let known: HashSet<&str> = references.iter().map(|read| &*read.sha256).collect();
    let mut calibration = Read::all(rest, &mut unreadable, &mut copies);
    calibration.retain(|read| {
        let is_new = !known.contains(&*read.sha256);
        if !is_new {
            let of = references.iter().find(|other| other.sha256 == read.sha256);
            copies.extend(of.map(|of| (read.path.clone(), of.path.clone())));
        }
        is_new
    });
    let mut good = Vec::new();
    let total = references.len() + calibration.len();
    let mut done = 0;
    let step = references.len().div_ceil(DAMAGED_PHOTOS).max(1);
    let mut look = |read: &Read, unreadable: &mut Vec<Error>| -> Result<Option<Looked>> {
        done += 1;
        (options.progress)("photos of good parts", done as f64 / total as f64);
        let photo = match Photo::open(&read.path, options.depth) {
            Ok(photo) => photo,
            Err(error) => {
                unreadable.push(error);
                return Ok(None);
            }
        };
        let prepared = detector.prepare(&photo);
        let seen = detector.look(&prepared)?;
        let prepared = (done % step == 1 % step).then_some(prepared);
        let sides = (photo.width(), photo.height());
        Ok(Some(Looked { about: read.about(), prepared, seen, sides }))
    };
    for read in &references {
        good.extend(look(read, &mut unreadable)?);
    }
    let Some(first) = good.first() else {
        let why = "give at least one photo of a good part";
        return Err(unreadable.pop().unwrap_or_else(|| Error::setting("--reference", why)));
    };
    let region = match &options.region {
        Some(mask) => Some(region_of(mask, &clip, options.fit, first.sides)?),
        None => None,
    };
    let places = places(region.as_deref(), clip.size(), clip.grid());

    // Damage, or other views of a single photo.
    let area = Box2::around(region.as_deref(), clip.size());
    let (mut twins, mut boxes) = (Vec::new(), Vec::new());
    let versions = versions(&good, clip.size(), clip.grid(), area, options.seed);
    let count = versions.len();
    for (i, (of, prepared, damage)) in versions.into_iter().enumerate() {
        (options.progress)("simulated damage", (i + 1) as f64 / count as f64);
        twins.push(Twin { of, features: detector.look(&prepared)?.features });
        boxes.push(damage);
    }
    let fit = FitOptions {
        seed: options.seed,
        progress: &|share| (options.progress)(options.references.name, share),
    };
    let features: Vec<&Features> = good.iter().map(|photo| &photo.seen.features).collect();
    let (method, held) = Referenced::fit(pair, &features, &twins, &product, places.clone(), fit)?;
    let (rule, memory) = (method.rule.clone(), method.memory.tensors()?);
    let (held, damaged) = held.split_at(good.len().min(held.len()));

    let detector = Detector::with(clip.clone(), Box::new(method), options.fit);
    let mut judged = Vec::new();
    for read in &calibration {
        if let Some(mut photo) = look(read, &mut unreadable)? {
            let outcome = detector.outcome(&photo.seen, &product)?;
            let held = Held::new(&outcome, &places, clip.grid());
            photo.about.score = Some(held.score);
            judged.push((photo.about, held));
        }
    }
    let mut about: Vec<ReferenceAbout> = good.iter().map(|photo| photo.about.clone()).collect();
    for (about, held) in about.iter_mut().zip(held) {
        about.score = Some(held.score);
    }
    flag_odd(&mut about);
    let (judged, further): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
    let all: Vec<&Held> = held.iter().chain(&further).collect();
    let adapter = options.parts.adapter.clone().filter(|_| options.method.takes_adapter);
    let kinds: Vec<KindAbout> =
        std::iter::once(product.normal()).chain(product.kinds()).map(KindAbout::of).collect();
    let sentences = kinds.iter().flat_map(|kind| &kind.prompts).map(|prompt| &*prompt.text);
    let sentences = sentences.collect::<Vec<_>>().join("\n");
    let about = ProfileAbout {
        version: env!("CARGO_PKG_VERSION").into(),
        product: product.name().into(),
        product_english: product.english().into(),
        model: clip.name().into(),
        model_sha256: clip.sha256().into(),
        size: clip.size(),
        activation: clip.activation().name().into(),
        fit: options.fit,
        bit_depth: options.depth.bits(),
        method: options.method.name.into(),
        reference_method: options.references.name.into(),
        reference_blocks: if options.references.takes_blocks { blocks } else { vec![] },
        seed: options.seed,
        adapter: adapter.as_ref().map(|a| (a.name().to_string(), a.sha256().to_string())),
        prompts: options.prompts.clone(),
        prompts_sha256: crate::clip::sha256(sentences.as_bytes()),
        kinds,
        false_alarm: options.false_alarm,
        region: options.region.as_ref().map(|mask| file_name(mask)),
        scale: scale(&all),
        readiness: readiness(&about, held, damaged, &boxes, clip.size(), clip.grid()),
        references: about,
        calibration: judged,
        rule,
    };
    let profile = Profile::new(about, product, adapter, memory, region)?;
    Ok(Enrolled { profile, unreadable, copies })
}

/// A file whose bytes are known.
struct Read {
    path: PathBuf,
    sha256: String,
}

struct Looked {
    about: ReferenceAbout,
    /// Of the photos that damage is laid over.
    prepared: Option<Prepared>,
    seen: crate::Seen,
    sides: (usize, usize),
}

impl Read {
    /// In the order of their hashes, each content once.
    fn all(
        paths: &[PathBuf],
        unreadable: &mut Vec<Error>,
        copies: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Vec<Self> {
        let mut files: Vec<Self> = Vec::new();
        for path in paths {
            match std::fs::read(path) {
                Ok(bytes) => {
                    files.push(Self { path: path.clone(), sha256: crate::clip::sha256(&bytes) });
                }
                Err(e) => unreadable.push(Error::photo(path, format!("cannot read: {e}"))),
            }
        }
        files.sort_by(|a, b| (&a.sha256, &a.path).cmp(&(&b.sha256, &b.path)));
        let mut once: Vec<Self> = Vec::new();
        for file in files {
            match once.last() {
                Some(last) if last.sha256 == file.sha256 => {
                    copies.push((file.path, last.path.clone()));
                }
                _ => once.push(file),
            }
        }
        once
    }

    fn about(&self) -> ReferenceAbout {
        ReferenceAbout {
            file: file_name(&self.path),
            sha256: self.sha256.clone(),
            score: None,
            is_odd: false,
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Of several photos each with a patch and a scar laid over it; of a single one itself, moved half a patch to each
/// side. With the photo's index and where the damage is.
fn versions(
    good: &[Looked],
    size: usize,
    grid: usize,
    area: Box2,
    seed: u64,
) -> Vec<(usize, Prepared, Box2)> {
    if let [single] = good {
        let half = (size / grid / 2).max(1) as isize;
        let moves = [(half, 0), (-half, 0), (0, half), (0, -half)];
        return moves
            .iter()
            .filter_map(|by| Some((0, moved(single.prepared.as_ref()?, size, *by), area)))
            .collect();
    }
    let kept = good.iter().enumerate().filter_map(|(of, p)| Some((of, p, p.prepared.as_ref()?)));
    let damaged = kept.flat_map(|(of, photo, undamaged)| {
        // Drawn by the photo itself: the others do not matter.
        let own = u64::from_str_radix(&photo.about.sha256[..15], 16).unwrap_or(0);
        [false, true].map(|is_scar| {
            let seed = seed ^ own ^ u64::from(is_scar);
            let (prepared, damage) = cut_paste(undamaged, size, area, is_scar, seed);
            (of, prepared, damage)
        })
    });
    damaged.collect()
}

/// The pixels of the model's square where a mask is white.
fn region_of(mask: &Path, clip: &Clip, fit: Fit, photo: (usize, usize)) -> Result<Arc<[bool]>> {
    let white = Mask::white(mask)?;
    let ratio = |(w, h): (usize, usize)| w as f64 / h as f64;
    let (own, other) = (ratio((white.width, white.height)), ratio(photo));
    if (own / other - 1.0).abs() > 0.02 {
        let why = format!(
            "has {}x{} pixels and the photos {}x{}: draw the mask over one of them",
            white.width, white.height, photo.0, photo.1
        );
        return Err(Error::photo(mask, why));
    }
    let size = clip.size();
    let placement = Placement::new((white.width, white.height), size, fit);
    let pixel = |i: usize| {
        let (x, y) = ((i % size) as f64 + 0.5, (i / size) as f64 + 0.5);
        let (x, y) = placement.on_photo(x, y);
        white.pixels[y * white.width + x]
    };
    let region: Arc<[bool]> = (0..size * size).map(pixel).collect();
    let places = places(Some(&region), size, clip.grid());
    if !places.0.is_some_and(|places| places.contains(&true)) {
        let why = "is white nowhere, or nowhere for as much as a patch; paint white where to look";
        return Err(Error::photo(mask, why));
    }
    Ok(region)
}

/// Marks what lies far above the others: more than four spreads (the median distance from the median, in
/// standard deviations) and a twentieth of the way to certainty.
fn flag_odd(references: &mut [ReferenceAbout]) {
    let median = |mut values: Vec<f32>| {
        values.sort_by(f32::total_cmp);
        values[values.len() / 2]
    };
    if references.len() < 3 {
        return;
    }
    let odds = |score: f32| (score / (1.0 - score).max(1e-6)).max(1e-6).ln();
    let scores: Vec<f32> = references.iter().filter_map(|r| r.score).map(odds).collect();
    let middle = median(scores.clone());
    let spread = 1.4826 * median(scores.iter().map(|s| (s - middle).abs()).collect());
    for (reference, score) in references.iter_mut().zip(scores) {
        reference.is_odd = score - middle > 4.0 * spread.max(0.05);
    }
}

/// Map values at the ends of the colour scale: it begins where five good photos in six do not reach (one standard
/// deviation above their mean peak; of a few photos the highest says too much), and ends a third as far again from
/// their middle.
fn scale(held: &[&Held]) -> (f32, f32) {
    if held.is_empty() {
        return (0.5, 0.8);
    }
    let (mean, spread) = mean_and_spread(held.iter().map(|held| held.peak));
    let middle = held.iter().map(|held| held.middle).sum::<f32>() / held.len() as f32;
    let low = (mean + spread.max(0.02)).min(0.98);
    (low, (low + ((low - middle) / 3.0).max(0.02)).min(1.0))
}

fn readiness(
    references: &[ReferenceAbout],
    good: &[Held],
    damaged: &[Held],
    boxes: &[Box2],
    size: usize,
    grid: usize,
) -> Readiness {
    let scores: Vec<f32> = good.iter().chain(damaged).map(|held| held.score).collect();
    let labels: Vec<bool> = (0..scores.len()).map(|i| i >= good.len()).collect();
    let image_auroc = auroc(&scores, &labels);
    let patch = (size / grid) as f32;
    let on_damage = |(held, damage): (&Held, &Box2)| {
        let (x, y) = held.peak_at;
        damage.is_near((x * size as f32, y * size as f32), patch / 2.0)
    };
    let hits = damaged.iter().zip(boxes).filter(|pair| on_damage(*pair)).count();
    let peak_on_damage = (!damaged.is_empty()).then(|| hits as f64 / damaged.len() as f64);
    let odd = references.iter().filter(|r| r.is_odd).count();
    let (verdict, why) = match image_auroc {
        None => ("add references", "a single photo cannot be compared with others".to_string()),
        Some(_) if odd > 0 => {
            let why = format!("{odd} of the photos are far from the others: see to them first");
            ("add references", why)
        }
        Some(auroc) if auroc >= 0.9 => {
            ("ready", format!("simulated damage scores above good parts in {:.0} %", auroc * 100.0))
        }
        Some(auroc) if auroc >= 0.7 => {
            let why =
                format!("simulated damage scores above good parts in {:.0} % only", auroc * 100.0);
            ("add references", why)
        }
        Some(auroc) => {
            let why = format!(
                "simulated damage scores above good parts in {:.0} %, where chance gives 50: another \
                 model or another camera view is needed",
                auroc * 100.0
            );
            ("not suitable", why)
        }
    };
    Readiness { verdict: verdict.into(), why, damaged: damaged.len(), image_auroc, peak_on_damage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_photo_in_five_is_flagged_and_a_quiet_five_are_not() {
        let flagged = |scores: &[f32]| -> Vec<usize> {
            let about = |&score: &f32| ReferenceAbout {
                file: String::new(),
                sha256: String::new(),
                score: Some(score),
                is_odd: false,
            };
            let mut references: Vec<_> = scores.iter().map(about).collect();
            flag_odd(&mut references);
            (0..scores.len()).filter(|i| references[*i].is_odd).collect()
        };
        assert_eq!(flagged(&[0.5, 0.48, 0.9, 0.52, 0.47]), [2]);
        assert!(flagged(&[0.5, 0.48, 0.55, 0.52, 0.47]).is_empty());
        assert!(flagged(&[0.5, 0.5, 0.5, 0.501, 0.5]).is_empty());
    }
}
