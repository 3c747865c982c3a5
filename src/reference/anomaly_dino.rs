//! AnomalyDINO (Damm et al., WACV 2025, arXiv 2405.14529; dammsi/AnomalyDINO, Apache-2.0): the distance of every patch
//! to its nearest patch in some good photos, after the tower's last norm. The photo's score is the mean of its farthest
//! patches. On the test photo, a mask can leave out the ground around a centred part.
//!
//! Two things differ on purpose. Photos become square, as for every other method here; the official code keeps the
//! aspect ratio. Maps are not smoothed.

use candle_core::Tensor;
use nalgebra::{DMatrix, DVector};

use super::bank::MemoryBank;
use super::{Distances, FitOptions, Places, ReferenceModel, Tensors, unfit};
use crate::clip::Features;
use crate::error::Result;
use crate::ops::cpu_slice;
use crate::stats::mean_of_highest;

/// The share of the farthest patches in the score.
const FARTHEST: f64 = 0.01;
/// The first component of the patches is above this on the part. It is for DINOv2's features.
const ON_PART: f64 = 10.0;
/// The part covers more than this share of the middle.
const COVERED: f64 = 0.35;
/// Where the middle begins and ends.
const MIDDLE: (f64, f64) = (0.2, 1.0 - 0.2);

pub(super) struct AnomalyDino {
    bank: MemoryBank,
    /// The number of reference photos. 0 if the bank comes from a file.
    photos: usize,
    is_masked: bool,
}

impl AnomalyDino {
    /// The name of the method with a mask.
    pub const MASKED: &str = "anomaly-dino-masked";

    pub fn fit(references: &[&Features], options: FitOptions, is_masked: bool) -> Result<Self> {
        let photos = references.iter().map(|photo| options.places.rows(last_patches(photo)?));
        let photos = photos.collect::<Result<Vec<_>>>()?;
        let bank = MemoryBank::new(&photos.iter().collect::<Vec<_>>())?;
        Ok(Self { bank, photos: references.len(), is_masked })
    }

    pub fn from_tensors(tensors: &mut Tensors, is_masked: bool) -> Result<Self> {
        let bank = MemoryBank { rows: tensors.take("patches", 2)? };
        Ok(Self { bank, photos: 0, is_masked })
    }
}

fn last_patches(photo: &Features) -> Result<&Tensor> {
    photo.patches.as_ref().ok_or_else(|| unfit("patches"))
}

impl ReferenceModel for AnomalyDino {
    /// The cosine distance, 0..2.
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        let patches = last_patches(photo)?;
        let mut map = self.bank.distances(patches)?;
        if self.is_masked {
            blank_ground(&mut map, patches, (photo.grid, photo.grid))?;
        }
        let counting: Vec<f32> =
            map.iter().enumerate().filter(|(i, _)| places.holds(*i)).map(|(_, d)| *d).collect();
        Ok(Distances { map, score: mean_of_farthest(counting) })
    }

    fn without(&self, left_out: &dyn Fn(usize) -> bool) -> Result<Option<Box<dyn ReferenceModel>>> {
        let Some((bank, photos)) = self.bank.without(self.photos, left_out)? else {
            return Ok(None);
        };
        Ok(Some(Box::new(Self { bank, photos, is_masked: self.is_masked })))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(vec![("patches".into(), self.bank.rows.clone())])
    }
}

/// The mean of the largest hundredth of the values, or the largest of fewer than a hundred.
fn mean_of_farthest(values: Vec<f32>) -> f32 {
    let count = (FARTHEST * values.len() as f64) as usize;
    mean_of_highest(values, count)
}

/// Sets the distances of the ground to 0. `patches`: `[rows * columns, width]`.
fn blank_ground(map: &mut [f32], patches: &Tensor, grid: (usize, usize)) -> Result<()> {
    let component = first_component(patches)?;
    let mask = mask_of(&component, grid);
    // Features of another model may have no such part. Without a mask, nothing is overlooked.
    if !mask.contains(&true) {
        return Ok(());
    }
    map.iter_mut().zip(mask).filter(|(_, on_part)| !on_part).for_each(|(value, _)| *value = 0.0);
    Ok(())
}

/// Each patch on the first principal component of all of them. The entry of the component that is largest by magnitude
/// is positive.
fn first_component(patches: &Tensor) -> Result<Vec<f64>> {
    let (count, width) = patches.dims2()?;
    let patches = patches.contiguous()?;
    let values: Vec<f64> = cpu_slice(&patches)?.iter().map(|value| f64::from(*value)).collect();
    let mut rows = DMatrix::from_row_slice(count, width, &values);
    let mean = rows.row_mean();
    rows.row_iter_mut().for_each(|mut row| row -= &mean);
    let scatter = rows.transpose() * &rows;
    // Power iteration. It starts at the row that is farthest from the mean.
    let farthest = (0..count).max_by(|a, b| rows.row(*a).norm().total_cmp(&rows.row(*b).norm()));
    let mut axis: DVector<f64> = rows.row(farthest.unwrap_or_default()).transpose();
    for _ in 0..1000 {
        let before = axis.clone();
        axis = &scatter * &axis;
        let norm = axis.norm();
        if norm == 0.0 {
            return Ok(vec![0.0; count]);
        }
        axis /= norm;
        if (&axis - &before).norm() < 1e-9 {
            break;
        }
    }
    if axis[axis.icamax()] < 0.0 {
        axis.neg_mut();
    }
    Ok((rows * axis).iter().copied().collect())
}

/// Which patches are on the part, from their first component: those above a threshold, on the side that covers the
/// middle. Then the mask is grown by a patch, and its gaps are closed. The official code does both along the rows only,
/// and across their ends.
fn mask_of(component: &[f64], (rows, columns): (usize, usize)) -> Vec<bool> {
    let side = |sign: f64| component.iter().map(|c| sign * c > ON_PART).collect::<Vec<bool>>();
    let part = |count: usize, share: f64| (count as f64 * share) as usize;
    let middle = |count: usize| part(count, MIDDLE.0)..part(count, MIDDLE.1);
    let mut mask = side(1.0);
    let inside: Vec<bool> = middle(rows)
        .flat_map(|row| middle(columns).map(move |column| row * columns + column))
        .map(|patch| mask[patch])
        .collect();
    let covered = inside.iter().filter(|on_part| **on_part).count() as f64 / inside.len() as f64;
    if covered <= COVERED {
        mask = side(-1.0);
    }
    let grown = |mask: &[bool]| -> Vec<bool> {
        let near = |i: usize| i.saturating_sub(1)..(i + 2).min(mask.len());
        (0..mask.len()).map(|i| mask[near(i)].contains(&true)).collect()
    };
    let shrunk = |mask: &[bool]| -> Vec<bool> {
        let near = |i: usize| i.saturating_sub(1)..(i + 2).min(mask.len());
        (0..mask.len()).map(|i| !mask[near(i)].contains(&false)).collect()
    };
    shrunk(&grown(&grown(&mask)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_near;
    use super::*;
    use candle_core::Device;
    use std::collections::HashMap;

    /// Rows and columns of the golden photos.
    const GRID: (usize, usize) = (14, 18);
    const TESTS: [&str; 4] = ["good_2.png", "hole.png", "scratch.png", "stain.png"];

    fn golden() -> HashMap<String, Tensor> {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/anomaly_dino/expected.safetensors"
        );
        candle_core::safetensors::load(file, &Device::Cpu).unwrap()
    }

    #[test]
    fn masks_agree_with_the_official_code() {
        let golden = golden();
        for photo in TESTS.into_iter().chain(["good_0.png", "good_1.png"]) {
            let component = first_component(&golden[&format!("{photo}.features")]).unwrap();
            let single: Vec<f32> = component.iter().map(|c| *c as f32).collect();
            assert_near(photo, &single, &golden[&format!("{photo}.first_pc")], 2e-3);
            let expected = golden[&format!("{photo}.mask")].to_vec1::<u8>().unwrap();
            let expected: Vec<bool> = expected.into_iter().map(|on| on != 0).collect();
            assert_eq!(mask_of(&component, GRID), expected, "{photo}");
        }
    }

    #[test]
    fn distances_and_scores_agree_with_the_official_code() {
        let golden = golden();
        let features = |photo: &str| &golden[&format!("{photo}.features")];
        for (shots, mask) in [(1, "none"), (1, "test"), (2, "none"), (2, "test")] {
            let names = ["good_0.png", "good_1.png"];
            let references: Vec<&Tensor> = names[..shots].iter().map(|n| features(n)).collect();
            let bank = MemoryBank::new(&references).unwrap();
            for (i, photo) in TESTS.iter().enumerate() {
                let run = format!("shots_{shots}.rotation_false.mask_{mask}");
                let mut map = bank.distances(features(photo)).unwrap();
                if mask == "test" {
                    blank_ground(&mut map, features(photo), GRID).unwrap();
                }
                let expected = |name: &str| golden[&format!("{run}.{name}")].get(i).unwrap();
                assert_near(&run, &map, &expected("distances"), 2e-5);
                assert_near(&run, &[mean_of_farthest(map)], &expected("scores"), 2e-5);
            }
        }
    }

    #[test]
    fn few_patches_are_scored_by_the_farthest() {
        assert_eq!(mean_of_farthest(vec![0.1, 0.7, 0.3]), 0.7);
        assert_eq!(mean_of_farthest((0..200).map(|i| i as f32).collect()), 198.5);
    }
}
