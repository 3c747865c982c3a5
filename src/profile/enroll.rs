//! From photos of good parts to a profile.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{Rectangle, cut_paste, moved};
use super::readiness::{flag_odd, readiness, scale};
use super::{KindAbout, Profile, ProfileAbout, ReferenceAbout};
use crate::detect::{Held, Referenced, Twin};
use crate::files::files_sha256;
use crate::reference::{FitOptions, Places, Region};
use crate::{
    BitDepth, Clip, Detector, Error, Features, Fit, Method, MethodEntry, Pair, Parts, Photo,
    Prepared, Product, ReferenceEntry, Result,
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
    /// The first thing that is notable about how the mask or a photo was read.
    pub note: Option<String>,
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
    if !options.references.takes_blocks && options.blocks.is_some() {
        let why = format!("--reference-method {} takes none", options.references.name);
        return Err(Error::setting("--reference-blocks", why));
    }
    if blocks.contains(&0) {
        return Err(Error::setting("--reference-blocks 0", "blocks are counted from 1"));
    }
    let words = options.method.make(&options.parts)?;
    let pair = Pair::new(words, options.references, blocks.clone());
    clip.check(&pair.taps())?;
    let region = match &options.region {
        Some(mask) => Some(Region::open(mask, (clip.size(), clip.grid()), options.fit)?),
        None => None,
    };
    let places = region.as_ref().map_or(Places::default(), |r| r.places(clip.grid()));
    let pixels = region.as_ref().map(|region| region.pixels.clone());
    let detector = Detector::with(clip.clone(), Box::new(pair.clone()), options.fit);
    let detector = detector.with_region(pixels.clone());

    let note = region.as_ref().and_then(|region| region.note.clone());
    let (mut unreadable, mut copies, mut note) = (Vec::new(), Vec::new(), note);
    let read = |share: f64| (options.progress)("reading photos", share);
    let (references, rest) =
        (Read::all(photos.references, &mut unreadable, &mut copies, &read), photos.calibration);
    let known: HashSet<&str> = references.iter().map(|read| &*read.sha256).collect();
    let mut calibration = Read::all(rest, &mut unreadable, &mut copies, &read);
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
    let mut look = |read: &Read, unreadable: &mut Vec<Error>| -> Result<Option<Looked>> {
        done += 1;
        (options.progress)("photos of good parts", done as f64 / total as f64);
        let fits = |photo: Photo| {
            let sides = (photo.width(), photo.height());
            region.as_ref().map_or(Ok(()), |region| region.about.check(&read.path, sides))?;
            Ok(photo)
        };
        let photo = match Photo::open(&read.path, options.depth).and_then(fits) {
            Ok(photo) => photo,
            Err(error) => {
                unreadable.push(error);
                return Ok(None);
            }
        };
        if let (Some(said), None) = (photo.note(), &note) {
            note = Some(format!("{}: {said}", read.path.display()));
        }
        let prepared = detector.prepare(&photo);
        let seen = detector.look(&prepared)?;
        Ok(Some(Looked { about: read.about(), prepared: Some(prepared), seen }))
    };
    // As many as there may be, evenly spread.
    let many = references.len().max(DAMAGED_PHOTOS);
    let is_damaged =
        |i: usize| i == 0 || i * DAMAGED_PHOTOS / many != (i - 1) * DAMAGED_PHOTOS / many;
    for read in &references {
        let Some(mut photo) = look(read, &mut unreadable)? else { continue };
        if !is_damaged(good.len()) {
            photo.prepared = None;
        }
        good.push(photo);
    }
    if good.is_empty() {
        let why = "give at least one photo of a good part";
        return Err(unreadable.pop().unwrap_or_else(|| Error::setting("--reference", why)));
    }

    // Damage, or other views of a single photo.
    let area = Rectangle::around(pixels.as_deref(), clip.size());
    let (mut twins, mut boxes) = (Vec::new(), Vec::new());
    let versions = versions(&good, clip.size(), clip.grid(), area, options.seed);
    let count = versions.len();
    for (i, (of, mut prepared, damage)) in versions.into_iter().enumerate() {
        (options.progress)("simulated damage", (i + 1) as f64 / count as f64);
        pixels.iter().for_each(|region| prepared.blank_outside(region));
        twins.push(Twin { of, features: detector.look(&prepared)?.features });
        boxes.push(damage);
    }
    let fit = FitOptions {
        seed: options.seed,
        places: &places,
        progress: &|share| (options.progress)(options.references.name, share),
    };
    let features: Vec<&Features> = good.iter().map(|photo| &photo.seen.features).collect();
    let (method, held) = Referenced::fit(pair, &features, &twins, &product, fit)?;
    let (rule, memory) = (method.rule.clone(), method.memory.tensors()?);
    let (held, damaged) = held.split_at(good.len().min(held.len()));
    if let Some(i) = held.iter().position(|held| !held.score.is_finite()) {
        let file = Path::new(&good[i].about.file);
        return Err(Error::photo(
            file,
            "its score is no number; leave it out, or take another method",
        ));
    }

    let judge = Detector::with(clip.clone(), Box::new(method), options.fit);
    let mut judged = Vec::new();
    for read in &calibration {
        if let Some(mut photo) = look(read, &mut unreadable)? {
            let outcome = judge.outcome(&photo.seen, &product)?;
            let held = Held::new(&outcome, &places, clip.grid());
            photo.about.score = Some(held.score);
            judged.push((photo.about, held));
        }
    }
    let mut about: Vec<ReferenceAbout> = good.iter().map(|photo| photo.about.clone()).collect();
    for (about, held) in about.iter_mut().zip(held) {
        about.score = Some(held.score);
    }
    flag_odd(&mut about, &rule);
    let (judged, further): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
    let all: Vec<&Held> = held.iter().chain(&further).collect();
    let adapter = options.parts.adapter.clone().filter(|_| options.method.takes_adapter);
    let kinds: Vec<KindAbout> =
        std::iter::once(product.normal()).chain(product.kinds()).map(KindAbout::of).collect();
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
        prompts_sha256: product.words_sha256(),
        kinds,
        false_alarm: options.false_alarm,
        region: region.as_ref().map(|region| region.about.clone()),
        scale: scale(&all),
        readiness: readiness(&about, held, damaged, &boxes, clip.size(), clip.grid()),
        references: about,
        calibration: judged,
        rule,
    };
    let profile = Profile::new(about, product, adapter, memory, pixels)?;
    Ok(Enrolled { profile, unreadable, copies, note })
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
}

impl Read {
    /// In the order of their hashes, each content once.
    fn all(
        paths: &[PathBuf],
        unreadable: &mut Vec<Error>,
        copies: &mut Vec<(PathBuf, PathBuf)>,
        progress: &dyn Fn(f64),
    ) -> Vec<Self> {
        let mut files: Vec<Self> = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            progress(i as f64 / paths.len() as f64);
            match files_sha256(std::slice::from_ref(path)) {
                Ok(sha256) => files.push(Self { path: path.clone(), sha256 }),
                Err(error) => unreadable.push(error),
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

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Of several photos each with a patch and a scar laid over it; of a single one itself, moved half a patch to each
/// side. With the photo's index and where the damage is.
fn versions(
    good: &[Looked],
    size: usize,
    grid: usize,
    area: Rectangle,
    seed: u64,
) -> Vec<(usize, Prepared, Rectangle)> {
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
