//! CLIP-AD's dual path without trained layers (SDP; Chen et al., arXiv 2311.00453, sections 3.1 and 3.2), as the
//! official code computes it (ByChelsea/CLIP-AD, which has no licence: nothing of it is copied). One pass of the tower
//! gives the map, where WinCLIP needs ten times the work for its windows.
//!
//! Two things differ on purpose. The map and the photo's score are probabilities here, as those of the other methods, and
//! with WinCLIP's factor on cosines. The official factor, 100, makes nearly all of them 0 or 1. The order stays.
//! The official score needs the whole test set (its lowest and highest values). A photo alone adds the log-odds of the
//! map's peak to those of its class score.

use candle_core::{Device, Tensor};

use super::{KindScore, Method, PatchMap};
use crate::clip::{Features, Taps};
use crate::error::Result;
use crate::image::{Blur, Border, enlarge};
use crate::ops::unit_rows;
use crate::prompt::{Product, Role};
use crate::stats::logistic;

/// Stages of the tower. Each gives a map.
const STAGES: usize = 4;
/// The factor on cosines in the official class score.
const LOGIT_SCALE: f32 = 100.0;
/// The factor on cosines in what is shown.
const SHOWN: f32 = 1.0 / 0.07;
/// Smoothing of the map, in pixels of the input.
const BLUR: Blur = Blur { sigma: 8.0, radius: 32, border: Border::Edge };
/// DBSCAN: prompts within this distance are neighbours, and so many of them make a cluster.
const EPS: f32 = 0.5;
const MIN_SAMPLES: usize = 15;

/// CLIP-AD, zero-shot.
#[derive(Clone, Debug)]
pub struct ClipAd {
    stages: usize,
}

impl Default for ClipAd {
    fn default() -> Self {
        Self { stages: STAGES }
    }
}

impl Method for ClipAd {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn taps(&self) -> Taps {
        Taps { v_v_stages: self.stages, ..Taps::default() }
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        let sets = product.all_kinds().map(|set| representative(&set.embeddings));
        let text = Tensor::stack(&sets.collect::<Result<Vec<_>>>()?, 0)?;
        let score = |photo: &&Features| {
            let kinds = self.similarities(photo, &text)?.into_iter().zip(product.kinds());
            let score = |(Similarities { class_logit, patches }, kind): (_, &_)| {
                let kind: &crate::prompt::Kind = kind;
                // At equal weights of both texts, a value is half of the difference of the cosines.
                let scale = 2.0 * SHOWN / photo.v_v.len() as f32;
                let map = smoothed(&patches, photo);
                let values = map.into_iter().map(|value| logistic(scale * value)).collect();
                KindScore {
                    score: logistic(class_logit / LOGIT_SCALE * SHOWN),
                    map: PatchMap { side: photo.size, values },
                    adds_peak: kind.role != Role::Ignore,
                }
            };
            Ok(kinds.map(score).collect())
        };
        photos.iter().map(score).collect()
    }
}

/// How much more a photo is like one kind than like the normal prompts.
struct Similarities {
    /// Of the whole photo, times [`LOGIT_SCALE`].
    class_logit: f32,
    /// Of each patch: the sum over the stages, `[grid^2]`. 0 is no threshold.
    patches: Vec<f32>,
}

impl ClipAd {
    pub(super) const NAME: &str = "clip-ad";

    /// `text`: `[1 + kinds, embedding]` at unit length, normal first. The result has one entry per kind.
    fn similarities(&self, photo: &Features, text: &Tensor) -> Result<Vec<Similarities>> {
        let text = text.to_device(&Device::Cpu)?;
        let kinds = text.dim(0)? - 1;
        let mut found: Vec<Similarities> = (0..kinds)
            .map(|_| Similarities { class_logit: 0.0, patches: vec![0.0; photo.grid * photo.grid] })
            .collect();
        for tokens in &photo.v_v {
            let tokens = unit_rows(&tokens.to_device(&Device::Cpu)?)?;
            // `[1 + kinds][class, then patches]`.
            let cosines = text.matmul(&tokens.t()?)?.to_vec2::<f32>()?;
            let normal = &cosines[0];
            for (kind, cosines) in found.iter_mut().zip(&cosines[1..]) {
                let difference = cosines[0] - normal[0];
                // The last stage's stays.
                kind.class_logit = LOGIT_SCALE * difference;
                // The weights of both texts: a softmax without a factor.
                let p = logistic(difference);
                let patches = cosines[1..].iter().zip(&normal[1..]);
                for (sum, (own, normal)) in kind.patches.iter_mut().zip(patches) {
                    *sum += p * own - (1.0 - p) * normal;
                }
            }
        }
        Ok(found)
    }
}

/// A map of the patches at the size of the input, smoothed.
fn smoothed(patches: &[f32], photo: &Features) -> Vec<f32> {
    BLUR.apply(&enlarge(patches, photo.grid, photo.size), photo.size)
}

/// The representative vector of prompts (section 3.1), `[embedding]`, at unit length: the mean of their largest cluster.
/// If there is no cluster: of all.
fn representative(embeddings: &Tensor) -> Result<Tensor> {
    let unit = unit_rows(embeddings)?;
    let cosines = unit.matmul(&unit.t()?)?.to_vec2::<f32>()?;
    let largest: Vec<u32> = largest_cluster(&cosines).into_iter().map(|row| row as u32).collect();
    let chosen = match largest.is_empty() {
        true => unit,
        false => unit.index_select(&Tensor::new(largest, unit.device())?, 0)?,
    };
    Ok(unit_rows(&chosen.mean_keepdim(0)?)?.squeeze(0)?)
}

/// DBSCAN (Ester et al. 1996) over unit vectors, from their cosines: the members of the largest cluster, the first of
/// equal ones. A border point belongs to the first cluster that reaches it.
fn largest_cluster(cosines: &[Vec<f32>]) -> Vec<usize> {
    // The squared distance of unit vectors is 2 - 2 cos.
    let lowest = 1.0 - EPS * EPS / 2.0;
    let near: Vec<Vec<usize>> = cosines
        .iter()
        .map(|row| (0..row.len()).filter(|other| row[*other] >= lowest).collect())
        .collect();
    let is_core = |row: usize| near[row].len() >= MIN_SAMPLES;
    let mut is_taken = vec![false; cosines.len()];
    let mut largest = Vec::new();
    for start in 0..cosines.len() {
        if is_taken[start] || !is_core(start) {
            continue;
        }
        is_taken[start] = true;
        let mut cluster = vec![start];
        let mut next = 0;
        while let Some(&row) = cluster.get(next) {
            next += 1;
            for &other in near[row].iter().filter(|_| is_core(row)) {
                if !std::mem::replace(&mut is_taken[other], true) {
                    cluster.push(other);
                }
            }
        }
        if cluster.len() > largest.len() {
            largest = cluster;
        }
    }
    largest.sort_unstable();
    largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::tests::assert_near;
    use std::collections::HashMap;

    fn golden() -> HashMap<String, Tensor> {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/sdp/gelu.safetensors");
        candle_core::safetensors::load(file, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_representative_of_prompts_agrees_with_the_official_code() {
        let golden = golden();
        for (side, prompts) in [(0, "prompts.normal"), (1, "prompts.anomalous")] {
            let found = representative(&golden[prompts]).unwrap().to_vec1::<f32>().unwrap();
            let expected = golden["text.dbscan_mvtec"].narrow(1, side, 1).unwrap();
            assert_near(prompts, &found, &expected, 1e-5);
        }
        // A few prompts make no cluster. Then all of them count.
        let few = golden["prompts.normal"].narrow(0, 0, 3).unwrap();
        let mean = unit_rows(&unit_rows(&few).unwrap().mean_keepdim(0).unwrap()).unwrap();
        let found = representative(&few).unwrap().to_vec1::<f32>().unwrap();
        assert_near("few", &found, &mean, 1e-6);
    }

    #[test]
    fn maps_and_class_scores_agree_with_the_official_code() {
        let golden = golden();
        let text = golden["text.dbscan_mvtec"].t().unwrap().contiguous().unwrap();
        for (run, blocks) in [("stages_3", &[3, 6][..]), ("stages_2", &[2, 4, 6])] {
            for photo in 0..3 {
                let tokens = |block: &usize| golden[&format!("{run}.block_{block}")].get(photo);
                let seen = Features {
                    v_v: blocks.iter().map(tokens).collect::<candle_core::Result<_>>().unwrap(),
                    ..crate::reference::tests::photo(7, &vec![vec![0.0]; 49])
                };
                let found = ClipAd::default().similarities(&seen, &text).unwrap().remove(0);
                let expected =
                    |name: &str| golden[&format!("{run}.dbscan_mvtec.{name}")].get(photo).unwrap();
                let logits = expected("class_logits").to_vec1::<f32>().unwrap();
                assert!((found.class_logit - (logits[1] - logits[0])).abs() < 1e-3);
                assert_near(
                    "score",
                    &[logistic(found.class_logit)],
                    &expected("class_score"),
                    2e-5,
                );
                assert_near("map", &smoothed(&found.patches, &seen), &expected("map"), 2e-5);
            }
        }
    }
}
