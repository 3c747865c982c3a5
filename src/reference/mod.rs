//! Reference photos as features. A photo is compared with them, besides the prompts. All methods use the frozen
//! features of the image tower. None of them trains it.

mod anomaly_dino;
mod association;
mod bank;
mod components;
mod coreset;
mod distances;
mod gaussian;
mod layers;
mod musc;
mod padim;
mod patchcore;
mod ranks;
mod region;
mod repeated;
mod shape;
mod spade;
mod subspace;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::clip::{Clip, Features, Shape, Taps};
use crate::dino::Dino;
use crate::error::{Error, Result};
use crate::ops::cpu_slice;
use anomaly_dino::AnomalyDino;
use association::{Association, BlockBanks};
use components::Components;
pub(crate) use coreset::spread_out;
pub use distances::Distances;
pub(crate) use distances::Places;
use gaussian::Gaussians;
pub use layers::Layers;
pub(crate) use layers::{FINER, trunk_features};
pub(crate) use musc::MuscPatches;
pub use musc::{Musc, MuscOptions, rescored};
use padim::Padim;
use patchcore::PatchCore;
pub use ranks::Ranks;
pub(crate) use region::places_of;
pub use region::{Region, RegionAbout};
pub(crate) use repeated::{AllDistances, UnusualPatches, groups};
pub use repeated::{RepeatGroup, Repeated};
pub use shape::{Length, RegionShape};
use spade::Spade;
use subspace::Subspace;

/// What a method stores about reference photos.
pub(crate) trait ReferenceModel: Send + Sync {
    /// How far a photo is from the reference photos. Encode `photo` with [`ReferenceEntry::taps`].
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances>;

    /// The same model without some reference photos, chosen by index. None if no photo is left, or if it is as fast to
    /// fit the others again.
    fn without(
        &self,
        _left_out: &dyn Fn(usize) -> bool,
    ) -> Result<Option<Box<dyn ReferenceModel>>> {
        Ok(None)
    }

    /// All of its tensors, by name. [`ReferenceEntry::from_tensors`] makes the same model from them.
    fn tensors(&self) -> Result<Vec<(String, Tensor)>>;
}

/// Options for fitting a reference method.
#[derive(Clone, Copy)]
pub(crate) struct FitOptions<'a> {
    /// Seed of k-means, of PaDiM's choice of dimensions, and of the coreset.
    pub seed: u64,
    /// Patches outside these places are not stored.
    pub places: &'a Places,
    /// Called now and then with the share that is done, 0..1.
    pub progress: &'a (dyn Fn(f64) + Sync),
}

type FitFn = fn(&[&Features], FitOptions) -> Result<Box<dyn ReferenceModel>>;
type FromTensors = fn(&mut Tensors) -> Result<Box<dyn ReferenceModel>>;

/// One of [`REFERENCE_METHODS`].
pub struct ReferenceEntry {
    /// The name that `--reference-method` takes.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// The paper that it comes from.
    pub source: &'static str,
    /// Whether it compares the patches of some layers (`--reference-blocks`).
    pub takes_blocks: bool,
    /// Whether a photo's distance is the highest value of its map.
    pub(crate) by_peak: bool,
    pub(crate) fit: FitFn,
    pub(crate) from_tensors: FromTensors,
}

/// All methods that compare a photo with reference photos.
pub const REFERENCE_METHODS: &[ReferenceEntry] = &[
    ReferenceEntry {
        name: Association::NAME,
        about: "nearest patch and nearest windows of 2x2 and 3x3 patches, by cosine",
        source: "Jeong et al. 2023, arXiv 2303.14814, section 4.3",
        takes_blocks: false,
        by_peak: true,
        fit: |references, _| Ok(Box::new(Association::fit(references)?)),
        from_tensors: |tensors| Ok(Box::new(Association::from_tensors(tensors)?)),
    },
    ReferenceEntry {
        name: "april-gan",
        about: "nearest patch in each of some blocks, by cosine",
        source: "Chen et al. 2023, arXiv 2305.17382, section 3.2",
        takes_blocks: true,
        by_peak: true,
        fit: |references, options| Ok(Box::new(BlockBanks::fit(references, options)?)),
        from_tensors: |tensors| Ok(Box::new(BlockBanks::from_tensors(tensors)?)),
    },
    ReferenceEntry {
        name: "gaussian",
        about: "Mahalanobis distance from one Gaussian of all patches, with shrinkage",
        source: "Rippel et al. 2021, arXiv 2005.14140; with patches instead of whole photos",
        takes_blocks: true,
        by_peak: true,
        fit: |references, options| Ok(Box::new(Gaussians::fit(references, options)?)),
        from_tensors: |tensors| Ok(Box::new(Gaussians::from_tensors(tensors)?)),
    },
    ReferenceEntry {
        name: "spade",
        about: "the most similar good photos, then the nearest patch in them",
        source: "Cohen and Hoshen 2020, arXiv 2005.02357",
        takes_blocks: true,
        by_peak: false,
        fit: |references, options| Ok(Box::new(Spade::fit(references, options)?)),
        from_tensors: |tensors| Ok(Box::new(Spade::from_tensors(tensors)?)),
    },
    ReferenceEntry {
        name: Padim::NAME,
        about: "Mahalanobis distance from a Gaussian of each position: for aligned parts",
        source: "Defard et al. 2021, arXiv 2011.08785",
        takes_blocks: true,
        by_peak: true,
        fit: |references, options| Ok(Box::new(Padim::fit(references, options)?)),
        from_tensors: |tensors| Ok(Box::new(Padim::from_tensors(tensors)?)),
    },
    ReferenceEntry {
        name: "patchcore",
        about: "nearest 3x3 mean of patches in a coreset, with a re-weighted score",
        source: "Roth et al. 2022, arXiv 2106.08265",
        takes_blocks: true,
        by_peak: false,
        fit: |references, options| Ok(Box::new(PatchCore::fit(references, options)?)),
        from_tensors: |tensors| Ok(Box::new(PatchCore::from_tensors(tensors)?)),
    },
    ReferenceEntry {
        name: "anomaly-dino",
        about: "nearest patch after the last norm, by cosine; the score is the mean of the farthest patches",
        source: "Damm et al. 2025, arXiv 2405.14529",
        takes_blocks: false,
        by_peak: false,
        fit: |references, options| Ok(Box::new(AnomalyDino::fit(references, options, false)?)),
        from_tensors: |tensors| Ok(Box::new(AnomalyDino::from_tensors(tensors, false)?)),
    },
    ReferenceEntry {
        name: AnomalyDino::MASKED,
        about: "the same without the ground around a centred part, for DINOv2's patches",
        source: "Damm et al. 2025, arXiv 2405.14529, section 3.2",
        takes_blocks: false,
        by_peak: false,
        fit: |references, options| Ok(Box::new(AnomalyDino::fit(references, options, true)?)),
        from_tensors: |tensors| Ok(Box::new(AnomalyDino::from_tensors(tensors, true)?)),
    },
    ReferenceEntry {
        name: "subspace",
        about: "what sticks out of the subspace of good patches: a small profile",
        source: "Lendering et al. 2026 (SubspaceAD), arXiv 2602.23013",
        takes_blocks: true,
        by_peak: false,
        fit: |references, options| Ok(Box::new(Subspace::fit(references, options)?)),
        from_tensors: |tensors| Ok(Box::new(Subspace::from_tensors(tensors)?)),
    },
    ReferenceEntry {
        name: "components",
        about: "counts and positions of components, and the nearest patch: for missing, extra and moved parts",
        source: "after Kim et al. 2024 (PSAD), arXiv 2312.13783",
        takes_blocks: true,
        by_peak: false,
        fit: |references, options| Ok(Box::new(Components::fit(references, options)?)),
        from_tensors: |tensors| Ok(Box::new(Components::from_tensors(tensors)?)),
    },
];

/// The default reference method: the one of the same paper for `winclip` by prompts and for a reference model, else the
/// best one measured (`docs/measured.md`).
pub fn default_reference_method(clip: &Clip, by_prompts: &str) -> &'static str {
    match (clip.reference(), by_prompts) {
        (Some(_), _) => "anomaly-dino",
        (None, "winclip") => "winclip",
        (None, _) => "april-gan",
    }
}

/// Finds a reference method by its name.
///
/// # Errors
/// [`Error::Setting`] for an unknown name. It lists the known names.
pub fn reference_method(name: &str) -> Result<&'static ReferenceEntry> {
    REFERENCE_METHODS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = REFERENCE_METHODS.iter().map(|entry| entry.name).collect();
        let why = format!("unknown; one of: {}", names.join(", "));
        Error::setting(format!("reference-method {name}"), why)
    })
}

impl ReferenceEntry {
    /// Whether the method can be used with this model.
    pub fn fits(&self, clip: &Clip) -> bool {
        self.refusal(clip).is_none()
    }

    /// Why the method cannot be used with this model.
    pub(crate) fn refusal(&self, clip: &Clip) -> Option<&'static str> {
        match clip.reference() {
            Some(_) if self.name == Association::NAME => {
                Some("compares windows, and a reference model has none; take another method")
            }
            other if self.name == AnomalyDino::MASKED && !other.is_some_and(Dino::is_v2) => {
                Some("is for the patches of DINOv2: give one with --reference-model")
            }
            _ => None,
        }
    }

    /// Whether each position is compared with the same position.
    pub(crate) fn is_by_position(&self) -> bool {
        self.name == Padim::NAME
    }

    /// The features that the method needs from the image tower. `layers`: it compares the patches of these layers.
    pub(crate) fn taps(&self, layers: &Layers) -> Taps {
        if self.takes_blocks {
            layers.taps()
        } else {
            let windows = if self.name == Association::NAME { &WINDOWS[..] } else { &[] };
            Taps { windows: windows.to_vec(), patches: true, ..Taps::default() }
        }
    }

    /// The default layers to compare: the middle block and the last but one, and the trunk if there is one
    /// (`docs/measured.md`). The features of the last block say little about what a place looks like. Empty if the
    /// method compares no layers.
    pub fn default_layers(&self, shape: Shape) -> Layers {
        let mut blocks = vec![shape.blocks.div_ceil(2), shape.blocks.saturating_sub(1).max(1)];
        blocks.dedup();
        let layers = Layers { blocks, trunk: shape.trunk.is_some() };
        if self.takes_blocks { layers } else { Layers::default() }
    }
}

/// Sides of WinCLIP's windows in patches (section 4.2).
pub(crate) const WINDOWS: [usize; 2] = [2, 3];

/// For each patch the harmonic mean of the scores of all windows that contain it. 0 if one of these scores is 0
/// (WinCLIP, section 4.2).
pub(crate) fn harmonic_mean_of_windows(scores: &[f32], grid: usize, side: usize) -> Vec<f32> {
    let per_row = grid - side + 1;
    let mut sums = vec![(0f32, 0f32); grid * grid];
    for (window, score) in scores.iter().enumerate() {
        let (top, left) = (window / per_row, window % per_row);
        for y in top..top + side {
            for (count, sum) in &mut sums[y * grid + left..][..side] {
                *count += 1.0;
                *sum += 1.0 / score;
            }
        }
    }
    sums.into_iter().map(|(count, sum)| count / sum).collect()
}

/// The patches of a block, `[grid^2, width]`: its output without the class token.
fn patches(block: &Tensor) -> Result<Tensor> {
    let patches = block.narrow(0, 1, block.dim(0)? - 1)?;
    Ok(patches.to_device(&Device::Cpu)?.contiguous()?)
}

/// For each patch the mean over the `side` x `side` patches around it, `[grid^2, width]`. Positions beyond the edge
/// count as zeros.
fn neighbourhood_means(patches: &Tensor, grid: usize, side: usize) -> Result<Tensor> {
    let (width, half) = (patches.dim(1)?, side / 2);
    // First the sums along one axis, then along the other.
    let sums = |values: &[f32], stride: usize| {
        let mut sums = vec![0f32; values.len()];
        sums.par_chunks_mut(width).enumerate().for_each(|(patch, sum)| {
            let at = patch / stride % grid;
            for other in at.saturating_sub(half)..(at + half + 1).min(grid) {
                let row = &values[(patch + other * stride - at * stride) * width..][..width];
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        });
        sums
    };
    let sums = sums(&sums(&cpu_slice(patches)?, 1), grid);
    let means = Tensor::from_vec(sums, patches.shape(), patches.device())?;
    Ok((means / (side * side) as f64)?)
}

/// The patches of all blocks side by side, `[grid^2, sum of widths]`.
fn joined_patches(photo: &Features) -> Result<Tensor> {
    let blocks = photo.blocks.iter().map(patches).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&blocks, 1)?)
}

/// The tensors of a reference model, read from a file.
pub(crate) struct Tensors(pub BTreeMap<String, Tensor>);

impl Tensors {
    /// Takes one tensor out. It must have this many dimensions.
    fn take(&mut self, name: &str, dimensions: usize) -> Result<Tensor> {
        let tensor = self.0.remove(name).ok_or_else(|| unfit(name))?;
        if tensor.rank() != dimensions || tensor.elem_count() == 0 {
            return Err(unfit(name));
        }
        Ok(tensor)
    }

    /// Takes `name.0`, `name.1` and so on, until one is missing. At least one must be there.
    fn take_all(&mut self, name: &str, dimensions: usize) -> Result<Vec<Tensor>> {
        let mut all = vec![self.take(&format!("{name}.0"), dimensions)?];
        while self.0.contains_key(&format!("{name}.{}", all.len())) {
            all.push(self.take(&format!("{name}.{}", all.len()), dimensions)?);
        }
        Ok(all)
    }
}

/// The error for tensors that this program did not write.
fn unfit(name: &str) -> Error {
    let why = format!("holds no {name} that fits its reference method; enroll again");
    Error::setting("profile", why)
}

/// `name.0`, `name.1` and so on.
fn numbered<'a>(
    name: &'a str,
    tensors: impl IntoIterator<Item = Tensor> + 'a,
) -> impl Iterator<Item = (String, Tensor)> + 'a {
    tensors.into_iter().enumerate().map(move |(i, tensor)| (format!("{name}.{i}"), tensor))
}

crate::error::opaque_debug!(ReferenceEntry);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A photo with one block. Its patches are these rows, after a class token of zeros.
    pub(crate) fn photo(grid: usize, rows: &[Vec<f32>]) -> Features {
        let width = rows[0].len();
        let mut values = vec![0.0; width];
        rows.iter().for_each(|row| values.extend(row));
        let block = Tensor::from_vec(values, (rows.len() + 1, width), &Device::Cpu).unwrap();
        Features {
            image: block.get(1).unwrap(),
            windows: vec![],
            blocks: vec![block],
            patches: None,
            trunk: None,
            v_v: vec![],
            reference: None,
            grid,
            size: grid * 16,
        }
    }

    /// Compares with a golden.
    pub(crate) fn assert_near(name: &str, ours: &[f32], theirs: &Tensor, tolerance: f32) {
        let theirs = theirs.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
        // A NaN is near nothing.
        let worst = off.fold(0.0, |worst: f32, off| if off <= worst { worst } else { off });
        assert!(worst <= tolerance, "{name}: {worst}");
    }

    pub(crate) const QUIET: FitOptions =
        FitOptions { seed: 0, places: &Places(None), progress: &|_| {} };

    #[test]
    fn harmonic_mean_counts_the_windows_of_each_patch() {
        // With windows of 2x2 on a 3x3 grid, the middle patch lies in all four windows, and a corner lies in one.
        let map = harmonic_mean_of_windows(&[1.0, 0.5, 0.25, 0.5], 3, 2);
        assert_eq!(map[0], 1.0);
        assert_eq!(map[6], 0.25);
        assert!((map[4] - 4.0 / (1.0 + 2.0 + 4.0 + 2.0)).abs() < 1e-7);
        assert_eq!(harmonic_mean_of_windows(&[0.0, 0.5, 0.5, 0.5], 3, 2)[4], 0.0);
    }

    #[test]
    fn every_memory_is_recalled_to_the_same_bits() {
        let noise = |seed: u64| -> Features {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
            };
            // Two channels hardly change within a photo.
            let mut value = |channel: usize| match channel {
                0..4 => next(),
                _ => 0.02 * next() + seed as f32 / 10.0,
            };
            let rows: Vec<Vec<f32>> = (0..25).map(|_| (0..6).map(&mut value).collect()).collect();
            let mut photo = photo(5, &rows);
            photo.patches = Some(photo.blocks[0].narrow(0, 1, 25).unwrap());
            let window = |n| photo.blocks[0].narrow(0, 1, n).unwrap();
            photo.windows = vec![window(16), window(9)];
            photo.blocks.push(photo.blocks[0].affine(2.0, 0.5).unwrap());
            photo
        };
        let references: Vec<Features> = (1..5).map(noise).collect();
        let probe = noise(9);
        for entry in REFERENCE_METHODS {
            let model = (entry.fit)(&references.iter().collect::<Vec<_>>(), QUIET).unwrap();
            let tensors = || Tensors(model.tensors().unwrap().into_iter().collect());
            let again = (entry.from_tensors)(&mut tensors()).unwrap();
            let places = Places::default();
            let (a, b) = (model.compare(&probe, &places), again.compare(&probe, &places));
            let (a, b) = (a.unwrap(), b.unwrap());
            assert_eq!((a.map.len(), &a.map, a.score), (25, &b.map, b.score), "{}", entry.name);
            assert!(a.score > 0.0 && a.score.is_finite(), "{}", entry.name);
            // One photo is enough. It is nearer to itself than another photo is.
            let model = (entry.fit)(&[&references[0]], QUIET).unwrap();
            let itself = model.compare(&references[0], &places).unwrap();
            let other = model.compare(&probe, &places).unwrap();
            assert!(itself.score < other.score, "{}: {} {}", entry.name, itself.score, other.score);
            let mut cut = tensors();
            cut.0.pop_first();
            assert!((entry.from_tensors)(&mut cut).is_err(), "{}", entry.name);
        }
    }

    /// The results of anomalib's own modules and of scikit-learn on the same features (`anomalib_goldens.py`).
    #[test]
    fn distances_and_scores_agree_with_anomalib() {
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reference/expected.safetensors");
        let golden = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let photo = |i: usize| {
            let rows = |block: &str| golden[block].get(i).unwrap().to_vec2::<f32>().unwrap();
            let mut seen = photo(5, &rows("block.0"));
            seen.blocks.extend(photo(5, &rows("block.1")).blocks);
            seen
        };
        let references: Vec<Features> = (0..6).map(photo).collect();
        for name in ["padim", "patchcore", "gaussian"] {
            let entry = reference_method(name).unwrap();
            let model = (entry.fit)(&references.iter().collect::<Vec<_>>(), QUIET).unwrap();
            for i in 0..2 {
                let found = model.compare(&photo(6 + i), &Places::default()).unwrap();
                let expected = golden[&format!("{name}.map")].get(i).unwrap();
                for (ours, theirs) in found.map.iter().zip(expected.to_vec1::<f32>().unwrap()) {
                    assert!(
                        (ours - theirs).abs() < 1e-4 * theirs.max(1.0),
                        "{name}: {ours} {theirs}"
                    );
                }
                if name == "patchcore" {
                    let theirs = golden["patchcore.score"].get(i).unwrap();
                    let theirs = theirs.to_scalar::<f32>().unwrap();
                    assert!((found.score - theirs).abs() < 1e-4, "{} {theirs}", found.score);
                }
            }
        }
    }
}
