//! A fast substitute for a profile: small networks that need no tower when they score (EfficientAD, Batzner et al. 2023,
//! arXiv 2303.14535). [`distill`] trains them on good photos of one product.
//!
//! A teacher, a small network of convolutions, learns the features that the profile compares. A student and an
//! autoencoder then learn the teacher's outputs on good photos. Where they differ, a part is anomalous: the student misses
//! local defects, and the autoencoder misses parts at wrong places.

mod checkpoint;
mod convolve;
mod net;
mod pixels;
mod score;
mod targets;
mod train;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use self::convolve::{Kernel, Network};
use self::net::{CHANNELS, Nets};
use self::score::{Networks, Scale};
use self::targets::Maker;
use self::train::{Batch, Plan};
use crate::clip::Clip;
use crate::detect::{Detector, MapOf};
use crate::error::{Error, Result};
use crate::files::{files_sha256, sha256};
use crate::image::region_at;
use crate::profile::{PhotoName, Profile, ProfileAbout, Readiness, ReferenceAbout, StudentAbout};
use crate::stats::mean_and_spread;

/// The name in results.
pub const METHOD: &str = "student";
/// Side of the square input of the networks, in pixels.
pub const SIDE: usize = 256;
/// Steps between two checkpoints.
const CHECKPOINT_STEPS: usize = 100;
/// Without held-out photos, one photo in this many is held out ...
const HELD_OUT_SHARE: usize = 5;
/// ... but at least this many.
const LEAST_HELD_OUT: usize = 2;

/// Options of [`distill`].
#[derive(Clone, Copy)]
pub struct DistillOptions<'a> {
    /// Number of steps of the teacher, and of student and autoencoder.
    pub steps: usize,
    /// Seed of the first weights, the copies of photos, and the order of them.
    pub seed: u64,
    /// A stopped training continues from this file. The caller deletes it when the training is done.
    pub checkpoint: Option<&'a Path>,
    /// Called with the current part of the work and its finished share, 0..1.
    pub progress: &'a (dyn Fn(&str, f64) + Sync),
}

impl Default for DistillOptions<'_> {
    fn default() -> Self {
        Self { steps: 400, seed: 0, checkpoint: None, progress: &|_, _| {} }
    }
}

/// Trained networks for one product. They score squares of 256 pixels.
#[derive(Clone)]
struct StudentModel {
    networks: Networks,
    scale: Scale,
}

/// A photo's file with its name and hash.
struct NamedPhoto {
    path: PathBuf,
    name: PhotoName,
}

/// Trains networks to find what a profile finds, on photos of good parts. Returns a profile with them in place of the
/// references. `held_out`: other good photos, which give the scale of the map and the line between ok and ng. If there are none, one
/// in five training photos is held out.
///
/// # Errors
/// [`Error::Setting`] for too few photos or steps. [`Error::Photo`] and [`Error::Read`] for a photo that cannot be used.
/// [`Error::Data`] for a checkpoint of another training. Otherwise as [`Profile::detector`].
pub fn distill(
    clip: Arc<Clip>,
    profile: &Profile,
    training: &[PathBuf],
    held_out: &[PathBuf],
    options: &DistillOptions,
) -> Result<Profile> {
    let &DistillOptions { steps, seed, checkpoint, progress } = options;
    if steps == 0 {
        return Err(Error::setting("steps 0", "give at least 1"));
    }
    let (training, held_out) = split(named(training)?, named(held_out)?)?;
    let identity = identity(&clip, profile, &training, options);
    let nets = Nets::new(StudentModel::SIDE, seed)?;
    // A checkpoint of another training is refused before the long work.
    checkpoint.map(|path| checkpoint::read(path, &identity, &nets)).transpose()?;
    let maker = Maker::new(clip, profile, seed)?;
    let paths: Vec<&Path> = training.iter().map(|photo| &*photo.path).collect();
    let squares = maker.squares(&paths, &|share| progress("features of good photos", share))?;
    let (batch, every) = (Batch::default(), CHECKPOINT_STEPS);
    let plan = Plan { steps, seed, batch, every, checkpoint, identity, progress };
    train::train(&nets, &squares, &plan)?;
    let networks = Networks::of(&nets)?;
    let mut maps = Vec::new();
    for photo in &held_out {
        maps.push(networks.maps(&maker.plain(&photo.path)?)?);
        progress("held-out photos", maps.len() as f64 / held_out.len() as f64);
    }
    let scale = Scale::of(&maps);
    let peaks: Vec<f32> =
        maps.iter().map(|maps| scale.map(maps).into_iter().fold(0.0, f32::max)).collect();
    let about = StudentAbout {
        teacher_profile_sha256: profile.sha256().into(),
        seed,
        steps,
        local_quantiles: (scale.local.low, scale.local.high),
        global_quantiles: (scale.global.low, scale.global.high),
        output_scale: (scale.centre, scale.spread),
    };
    let scores = (training.iter().map(|_| None)).chain(peaks.iter().copied().map(Some));
    let mut photos = training.iter().chain(&held_out).zip(scores).map(|(photo, score)| {
        let PhotoName { file, sha256 } = photo.name.clone();
        ReferenceAbout { file, sha256, score, is_odd: false, appearance: None }
    });
    let references = photos.by_ref().take(training.len()).collect();
    // Above what most good photos reach. A map value of a good place is far below.
    let (mean, spread) = mean_and_spread(peaks.iter().copied());
    let low = (mean + spread.max(0.02)).min(0.98);
    let about = ProfileAbout {
        references,
        calibration: photos.collect(),
        scale: (low, low + (1.0 - low) / 2.0),
        readiness: Readiness {
            verdict: "not measured".into(),
            why: "a student is not tested with simulated damage".into(),
            ..Readiness::default()
        },
        history: vec![],
        adapter: None,
        student: Some(about),
        ..profile.about().clone()
    };
    profile.with_networks(about, StudentModel { networks, scale }.to_tensors()?)
}

/// A detector of a profile with a student. It needs no model. None for other profiles.
///
/// # Errors
/// [`Error::Profile`] if the stored tensors do not fit.
pub fn detector(profile: &Profile) -> Result<Option<Detector>> {
    if profile.about().student.is_none() {
        return Ok(None);
    }
    let mut tensors: BTreeMap<String, Tensor> = profile.tensors().iter().cloned().collect();
    let model = StudentModel::from_tensors(&mut tensors);
    let model = model.map_err(|why| Error::profile(profile.file(), why))?;
    let map = move |pixels: &[f32]| model.map(pixels);
    let grid = StudentModel::GRID;
    let map = MapOf { size: StudentModel::SIDE, grid, map: Box::new(map) };
    let region = profile.region().map(|region| region_at(region, StudentModel::SIDE).into());
    Ok(Some(Detector::by_map(METHOD, map, profile.about().fit).with_region(region)))
}

/// A hash of everything that the networks depend on.
fn identity(
    clip: &Clip,
    profile: &Profile,
    training: &[NamedPhoto],
    options: &DistillOptions,
) -> String {
    let hashes: Vec<&str> = training.iter().map(|photo| &*photo.name.sha256).collect();
    let (steps, seed) = (options.steps, options.seed);
    let reference = clip.reference().map(|dino| dino.sha256());
    let models = format!("{} {reference:?} {}", clip.sha256(), profile.sha256());
    sha256(format!("1 {models} {steps} {seed} {}", hashes.join(" ")).as_bytes())
}

/// The photos in the order of their hashes. Equal contents are kept once.
fn named(paths: &[PathBuf]) -> Result<Vec<NamedPhoto>> {
    let named = |path: &PathBuf| -> Result<NamedPhoto> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = files_sha256(std::slice::from_ref(path))?;
        Ok(NamedPhoto { path: path.clone(), name: PhotoName { file, sha256 } })
    };
    let mut photos = paths.iter().map(named).collect::<Result<Vec<_>>>()?;
    photos.sort_by(|a, b| (&a.name.sha256, &a.path).cmp(&(&b.name.sha256, &b.path)));
    photos.dedup_by(|a, b| a.name.sha256 == b.name.sha256);
    Ok(photos)
}

/// The photos to learn from, and others for the scale.
fn split(
    training: Vec<NamedPhoto>,
    mut held_out: Vec<NamedPhoto>,
) -> Result<(Vec<NamedPhoto>, Vec<NamedPhoto>)> {
    let is_own =
        |photo: &NamedPhoto| training.iter().any(|own| own.name.sha256 == photo.name.sha256);
    held_out.retain(|photo| !is_own(photo));
    if !training.is_empty() && !held_out.is_empty() {
        return Ok((training, held_out));
    }
    let count = (training.len() / HELD_OUT_SHARE).max(LEAST_HELD_OUT);
    if training.len() <= count {
        let why = "give at least 3 photos of good parts: 2 of them give the scale of the map";
        return Err(Error::setting("training", why));
    }
    // Evenly spread: photo `i` is held out if the number of held-out photos grows with it.
    let (all, mut own) = (training.len(), Vec::new());
    for (i, photo) in training.into_iter().enumerate() {
        let is_held_out = (i + 1) * count / all > i * count / all;
        if is_held_out { held_out.push(photo) } else { own.push(photo) }
    }
    Ok((own, held_out))
}

impl StudentModel {
    /// Side of the square that it scores, in pixels.
    const SIDE: usize = SIDE;
    /// Values along one side of its map.
    const GRID: usize = Self::SIDE / 8;

    /// The map of a square, `[GRID * GRID]`, 0..1: half of good photos stay below 0.5 everywhere. The photo's score is the
    /// map's highest value. `square`: red, green and blue planes of 0..1, `[3, SIDE, SIDE]`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a square of another size.
    fn map(&self, square: &[f32]) -> Result<Vec<f32>> {
        let side = Self::SIDE;
        if square.len() != 3 * side * side {
            return Err(Error::setting("pixels", format!("are not 3 planes of {side}x{side}")));
        }
        Ok(self.scale.map(&self.networks.maps(square)?))
    }

    /// The names of the networks in a file, with their kernels.
    fn parts() -> [(&'static str, Vec<Kernel>); 3] {
        [
            ("teacher", net::description(CHANNELS)),
            ("student", net::description(2 * CHANNELS)),
            ("autoencoder", net::autoencoder(Self::SIDE)),
        ]
    }

    /// All numbers, by name.
    ///
    /// # Errors
    /// [`Error::Tensor`] if memory runs out.
    fn to_tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let Networks { teacher, student, autoencoder } = &self.networks;
        let mut tensors = Vec::new();
        for ((name, _), network) in Self::parts().iter().zip([teacher, student, autoencoder]) {
            for (i, (weight, bias)) in network.parameters().enumerate() {
                tensors.push((format!("{name}.{i}.weight"), weight.clone()));
                tensors.push((format!("{name}.{i}.bias"), bias.clone()));
            }
        }
        tensors.push(("scale".into(), Tensor::new(&self.scale.numbers(), &Device::Cpu)?));
        Ok(tensors)
    }

    /// Makes the model from the tensors of [`StudentModel::to_tensors`], and takes them out. Others are left.
    ///
    /// # Errors
    /// A reason, for a tensor that is missing, has another shape or is no scale.
    fn from_tensors(tensors: &mut BTreeMap<String, Tensor>) -> Result<Self, String> {
        let mut take = |name: String, shape: &[usize]| -> Result<Tensor, String> {
            let tensor = tensors.remove(&name).ok_or_else(|| format!("no tensor {name}"))?;
            if tensor.dims() != shape || tensor.dtype() != DType::F32 {
                return Err(format!("tensor {name} has another shape or type"));
            }
            let values = tensor.flatten_all().and_then(|all| all.to_vec1::<f32>());
            if !values.is_ok_and(|values| values.iter().all(|value| value.is_finite())) {
                return Err(format!("tensor {name} has a value that is no number"));
            }
            Ok(tensor)
        };
        let mut network = |(name, kernels): (&str, Vec<Kernel>)| -> Result<Network, String> {
            let mut parameters = Vec::new();
            for (i, kernel) in kernels.iter().enumerate() {
                let shape = [kernel.width(), kernel.outputs];
                let weight = take(format!("{name}.{i}.weight"), &shape)?;
                parameters.push((weight, take(format!("{name}.{i}.bias"), &shape[1..])?));
            }
            Network::new(&kernels, parameters).map_err(|e| e.to_string())
        };
        let [teacher, student, autoencoder] = Self::parts().map(&mut network);
        let networks = Networks { teacher: teacher?, student: student?, autoencoder: autoencoder? };
        let numbers = take("scale".into(), &[6])?.to_vec1::<f32>().map_err(|e| e.to_string())?;
        let scale = Scale::from_numbers(&numbers).ok_or("its scale has wrong numbers")?;
        Ok(Self { networks, scale })
    }
}

crate::error::opaque_debug!(DistillOptions<'_>);
crate::error::opaque_debug!(StudentModel);

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> StudentModel {
        let networks = Networks::of(&Nets::new(StudentModel::SIDE, 2).unwrap()).unwrap();
        let scale = Scale::from_numbers(&[0.5, 1.0, 0.5, 1.0, 0.2, 0.1]).unwrap();
        StudentModel { networks, scale }
    }

    #[test]
    fn a_model_is_recalled_to_the_same_bits() {
        let model = model();
        let mut tensors: BTreeMap<_, _> = model.to_tensors().unwrap().into_iter().collect();
        let own = Tensor::new(&[1f32], &Device::Cpu).unwrap();
        tensors.insert("another".into(), own);
        let again = StudentModel::from_tensors(&mut tensors).unwrap();
        assert_eq!(tensors.into_keys().collect::<Vec<_>>(), ["another"]);
        let square: Vec<f32> = (0..3 * 256 * 256).map(|i| (i * 31 % 251) as f32 / 250.0).collect();
        let (a, b) = (model.map(&square).unwrap(), again.map(&square).unwrap());
        assert_eq!((a.len(), &a), (32 * 32, &b));
        assert!(a.iter().all(|value| (0.0..=1.0).contains(value)));
        assert!(model.map(&square[1..]).is_err());
    }

    #[test]
    fn tensors_of_other_shapes_are_refused() {
        let tensors: BTreeMap<_, _> = model().to_tensors().unwrap().into_iter().collect();
        for name in tensors.keys() {
            let mut missing = tensors.clone();
            missing.remove(name);
            let why = StudentModel::from_tensors(&mut missing).unwrap_err();
            assert!(why.contains(name), "{why}");
            let other = tensors[name].unsqueeze(0).unwrap();
            let mut reshaped = tensors.clone();
            reshaped.insert(name.clone(), other);
            let why = StudentModel::from_tensors(&mut reshaped).unwrap_err();
            assert!(why.contains(name), "{why}");
        }
        let mut doubles = tensors.clone();
        let scale = tensors["scale"].to_dtype(DType::F64).unwrap();
        doubles.insert("scale".into(), scale);
        assert!(StudentModel::from_tensors(&mut doubles).is_err());
        let mut falling = tensors.clone();
        let scale = Tensor::new(&[1f32, 0.5, 0.0, 1.0, 0.2, 0.1], &Device::Cpu).unwrap();
        falling.insert("scale".into(), scale);
        assert!(StudentModel::from_tensors(&mut falling).unwrap_err().contains("scale"));
    }

    #[test]
    fn a_fifth_of_the_photos_and_at_least_two_are_held_out() {
        let photos = |count: usize, from: usize| -> Vec<NamedPhoto> {
            let photo = |i: usize| {
                let name = PhotoName { file: format!("{i}.png"), sha256: format!("{i:064x}") };
                NamedPhoto { path: PathBuf::from(&name.file), name }
            };
            (from..from + count).map(photo).collect()
        };
        for (all, held_out) in [(3, 2), (5, 2), (10, 2), (15, 3), (23, 4)] {
            let (own, others) = split(photos(all, 0), vec![]).unwrap();
            assert_eq!((own.len(), others.len()), (all - held_out, held_out), "{all}");
        }
        let (own, others) = split(photos(4, 0), photos(3, 2)).unwrap();
        assert_eq!((own.len(), others.len()), (4, 1), "copies of training photos do not count");
        assert!(split(photos(2, 0), vec![]).is_err());
        assert!(split(vec![], photos(3, 0)).is_err());
    }
}
