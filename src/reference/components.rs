//! Components: which there are, how many, and where. A bank of patches alone does not notice a missing part, because
//! all patches that are left are normal.
//!
//! Patches are put into clusters (ComAD, Liu et al., arXiv 2305.08509). The clusters are counted over the photo and
//! over its thirds across and down. Connected components are matched with those of a reference photo. These three heads
//! and the patch bank give four values. Each value becomes a z-score over the reference photos before they are joined
//! (PSAD, Kim et al., arXiv 2312.13783). Without this, one head would hide the others.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::association::BlockBanks;
use super::{Distances, FitOptions, Places, ReferenceModel, Tensors, patches, unfit};
use crate::clip::Features;
use crate::error::Result;
use crate::metrics::regions;
use crate::ops::unit_rows;
use crate::stats::mean_and_spread;

/// Number of clusters of patches. It is enough for a few kinds of parts, their edges and the background. With more
/// clusters, one kind of part falls into several clusters, and the counts say less.
const CLUSTERS: usize = 8;
const ROUNDS: usize = 30;
/// Number of cells that clusters are counted over: this many across, and this many down.
const CELLS: usize = 3;
/// Lower limits of the spread of a cluster's share: of the photo, and of a cell.
const LEAST_SHARE: (f32, f32) = (0.004, 0.01);
/// The smallest component, in patches. Fewer neighbouring patches of one cluster are the ragged edge of another
/// cluster.
const SMALLEST: usize = 2;
/// Cost of a component without a counterpart. A matched pair costs less.
const UNMATCHED: f32 = 1.0;
/// Lower limit of the spread of each head. A few reference photos may have nearly the same value by chance.
const LEAST_SPREAD: [f32; HEADS] = [0.1, 0.1, 0.05, 0.01];
const HEADS: usize = 4;

pub(super) struct Components {
    clusters: Clusters,
    /// The cluster at each patch, for each reference photo.
    references: Vec<FeatureLayout>,
    banks: BlockBanks,
    /// Mean and spread of each head over the reference photos, each left out in turn.
    scales: [(f32, f32); HEADS],
}

#[derive(Clone)]
struct Clusters {
    /// The mean patch, `[1, width]`.
    mean: Tensor,
    /// Directions from the mean patch, `[clusters, width]`, at unit length.
    centres: Tensor,
}

/// The cluster of each patch, and the components that they form.
#[derive(Clone)]
struct FeatureLayout {
    labels: Vec<u32>,
    grid: usize,
    components: Vec<Component>,
}

/// Neighbouring patches of one cluster.
#[derive(Clone)]
struct Component {
    label: u32,
    patches: Vec<usize>,
    /// The centre (x, y), 0..1 of the photo.
    at: (f32, f32),
}

/// The values of all heads for one photo.
struct Heads {
    values: [f32; HEADS],
    /// The cost of each patch's component, 0..[`UNMATCHED`].
    costs: Vec<f32>,
    /// The distance of each patch from the bank.
    distances: Vec<f32>,
}

impl Components {
    pub fn fit(references: &[&Features], options: FitOptions) -> Result<Self> {
        let rows = references.iter().map(|photo| options.places.rows(&patches(&photo.blocks[0])?));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let clusters = Clusters::fit(&Tensor::cat(&rows, 0)?, options.seed)?;
        let layouts = references.iter().map(|photo| clusters.layout(photo));
        let mut model = Self {
            references: layouts.collect::<Result<Vec<_>>>()?,
            clusters,
            banks: BlockBanks::fit(references, options)?,
            scales: LEAST_SPREAD.map(|spread| (0.0, spread)),
        };
        if references.len() > 1 {
            model.scales = model.measure(references, options)?;
        }
        Ok(model)
    }

    pub fn from_tensors(tensors: &mut Tensors) -> Result<Self> {
        let clusters =
            Clusters { mean: tensors.take("mean", 2)?, centres: tensors.take("centres", 2)? };
        let labels = tensors.take("labels", 2)?;
        let grid = labels.dim(1)?.isqrt();
        let clusters_known = clusters.centres.dim(0)? as u32;
        let labels = labels.to_vec2::<u32>()?;
        let is_known = labels.iter().flatten().all(|label| *label < clusters_known);
        if !is_known || grid * grid != labels[0].len() {
            return Err(unfit("labels"));
        }
        let layout = |labels| FeatureLayout::new(labels, grid);
        let scales = tensors.take("scales", 2)?;
        if scales.dims() != [HEADS, 2] {
            return Err(unfit("scales"));
        }
        let scales = scales.flatten_all()?.to_vec1::<f32>()?;
        let scale = |head: usize| (scales[2 * head], scales[2 * head + 1]);
        Ok(Self {
            clusters,
            references: labels.into_iter().map(layout).collect(),
            scales: std::array::from_fn(scale),
            banks: BlockBanks::from_tensors(tensors)?,
        })
    }

    /// Mean and spread of each head over the reference photos, each compared with the others.
    fn measure(
        &self,
        references: &[&Features],
        options: FitOptions,
    ) -> Result<[(f32, f32); HEADS]> {
        let mut values = Vec::new();
        for (i, photo) in references.iter().enumerate() {
            if let Some(model) = self.leaving_out(&|other| other == i)? {
                values.push(model.heads(photo, options.places)?.values);
            }
            (options.progress)((i + 1) as f64 / references.len() as f64);
        }
        Ok(std::array::from_fn(|head| {
            let (mean, spread) = mean_and_spread(values.iter().map(|v| v[head]));
            (mean, spread.max(LEAST_SPREAD[head]))
        }))
    }

    /// The same model without some reference photos. The scales do not change.
    fn leaving_out(&self, left_out: &dyn Fn(usize) -> bool) -> Result<Option<Self>> {
        let Some(banks) = self.banks.leaving_out(left_out)? else { return Ok(None) };
        let layouts = self.references.iter().enumerate().filter(|(i, _)| !left_out(*i));
        let references = layouts.map(|(_, layout)| layout.clone()).collect();
        Ok(Some(Self { clusters: self.clusters.clone(), references, banks, scales: self.scales }))
    }

    fn heads(&self, photo: &Features, places: &Places) -> Result<Heads> {
        let layout = self.clusters.layout(photo)?;
        if self.references[0].grid != layout.grid {
            return Err(unfit("labels"));
        }
        let clusters = self.clusters.centres.dim(0)?;
        // The root mean square of the z-scores of the cluster shares, against the reference photos.
        let far = |count: &dyn Fn(&FeatureLayout) -> Vec<f32>, least: f32| {
            let references: Vec<Vec<f32>> = self.references.iter().map(count).collect();
            let own = count(&layout);
            let squares = own.iter().enumerate().map(|(i, share)| {
                let (mean, spread) =
                    mean_and_spread(references.iter().map(|reference| reference[i]));
                ((share - mean) / spread.max(least)).powi(2)
            });
            (squares.sum::<f32>() / own.len() as f32).sqrt()
        };
        let matched = self.references.iter().map(|reference| layout.matched(reference, places));
        let better = |a: (f32, Vec<f32>), b: (f32, Vec<f32>)| if b.0 < a.0 { b } else { a };
        let (cost, costs) = matched.reduce(better).unwrap_or_default();
        let near = self.banks.compare(photo, places)?;
        let values = [
            far(&|layout| layout.shares(clusters, places), LEAST_SHARE.0),
            far(&|layout| layout.shares_of_cells(clusters, places), LEAST_SHARE.1),
            cost,
            near.score,
        ];
        Ok(Heads { values, costs, distances: near.map })
    }

    /// The z-score of a head's value over the reference photos.
    fn scaled(&self, head: usize, value: f32) -> f32 {
        let (mean, spread) = self.scales[head];
        (value - mean) / spread
    }
}

impl ReferenceModel for Components {
    /// The score: each head's z-score plus 1, at least 0. Then the root mean square over the heads. So one head with a
    /// high value is not outvoted.
    ///
    /// The map: the bank's distances in spreads. Where a component is odd, missing or extra, its cost is added, times
    /// the highest z-score of the first three heads (at least 0).
    fn compare(&self, photo: &Features, places: &Places) -> Result<Distances> {
        const ROOM: f32 = 1.0;
        let Heads { values, costs, distances } = self.heads(photo, places)?;
        let scaled: Vec<f32> = (0..HEADS).map(|head| self.scaled(head, values[head])).collect();
        let squares = scaled.iter().map(|z| (z + ROOM).max(0.0).powi(2)).sum::<f32>();
        let score = (squares / HEADS as f32).sqrt();
        let (_, bank_spread) = self.scales[3];
        let odd = scaled[..3].iter().fold(0.0, |most: f32, z| most.max(*z));
        let both = distances.iter().zip(&costs);
        let map = both.map(|(distance, cost)| distance / bank_spread + odd * cost).collect();
        Ok(Distances { map, score })
    }

    fn without(&self, left_out: &dyn Fn(usize) -> bool) -> Result<Option<Box<dyn ReferenceModel>>> {
        Ok(self.leaving_out(left_out)?.map(|rest| Box::new(rest) as Box<dyn ReferenceModel>))
    }

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let labels = self
            .references
            .iter()
            .map(|reference| Tensor::new(&reference.labels[..], &Device::Cpu));
        let labels = labels.collect::<candle_core::Result<Vec<_>>>()?;
        let scales: Vec<f32> =
            self.scales.iter().flat_map(|(mean, spread)| [*mean, *spread]).collect();
        let mut tensors = self.banks.tensors()?;
        tensors.push(("mean".into(), self.clusters.mean.clone()));
        tensors.push(("centres".into(), self.clusters.centres.clone()));
        tensors.push(("labels".into(), Tensor::stack(&labels, 0)?));
        tensors.push(("scales".into(), Tensor::from_vec(scales, (HEADS, 2), &Device::Cpu)?));
        Ok(tensors)
    }
}

impl FeatureLayout {
    fn new(labels: Vec<u32>, grid: usize) -> Self {
        // The label 0 means no region.
        let marked: Vec<u32> = labels.iter().map(|label| label + 1).collect();
        let regions = regions(&marked, grid).into_iter().filter(|r| r.len() >= SMALLEST);
        let component = |patches: Vec<usize>| {
            let size = (patches.len() * grid) as f32;
            let x = patches.iter().map(|p| (p % grid) as f32).sum::<f32>() / size;
            let y = patches.iter().map(|p| (p / grid) as f32).sum::<f32>() / size;
            Component { label: labels[patches[0]], patches, at: (x, y) }
        };
        let components = regions.map(component).collect();
        Self { labels, grid, components }
    }

    /// The share of each cluster in the photo.
    fn shares(&self, clusters: usize, places: &Places) -> Vec<f32> {
        self.count(clusters, places, 1, |_| 0)
    }

    /// The share of each cluster in each third across, and in each third down.
    fn shares_of_cells(&self, clusters: usize, places: &Places) -> Vec<f32> {
        let across =
            self.count(clusters, places, CELLS, |patch| patch % self.grid * CELLS / self.grid);
        let down =
            self.count(clusters, places, CELLS, |patch| patch / self.grid * CELLS / self.grid);
        [across, down].concat()
    }

    /// The share of each cluster in each cell, times the number of cells. Only the places that count are used.
    fn count(
        &self,
        clusters: usize,
        places: &Places,
        cells: usize,
        cell: impl Fn(usize) -> usize,
    ) -> Vec<f32> {
        let mut shares = vec![0f32; clusters * cells];
        let counting = || (0..self.labels.len()).filter(|patch| places.holds(*patch));
        let one = cells as f32 / counting().count() as f32;
        for patch in counting() {
            shares[cell(patch) * clusters + self.labels[patch] as usize] += one;
        }
        shares
    }

    /// The cost of matching the components with the components of a reference photo, nearest pairs first. Also the cost
    /// at each patch. A missing component has its cost at the patches where the reference photo has it.
    fn matched(&self, reference: &FeatureLayout, places: &Places) -> (f32, Vec<f32>) {
        let mut pairs = Vec::new();
        for (i, own) in self.components.iter().enumerate() {
            for (j, other) in reference.components.iter().enumerate() {
                let cost = own.cost(other);
                if own.label == other.label && cost < UNMATCHED {
                    pairs.push((cost, i, j));
                }
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let (mut own, mut others) = (BTreeMap::new(), BTreeMap::new());
        for (cost, i, j) in pairs {
            if !own.contains_key(&i) && !others.contains_key(&j) {
                own.insert(i, cost);
                others.insert(j, cost);
            }
        }
        let mut costs = vec![0f32; self.labels.len()];
        let mut total = 0.0;
        for (components, matched) in [(&self.components, own), (&reference.components, others)] {
            for (i, component) in components.iter().enumerate() {
                let cost = matched.get(&i).copied().unwrap_or(UNMATCHED);
                let seen = component.patches.iter().filter(|p| places.holds(**p));
                // The weight grows with the root of the area: a large part counts more than a small one, but not in
                // proportion.
                total += cost * (seen.clone().count() as f32).sqrt() / self.grid as f32;
                seen.for_each(|&patch| costs[patch] = costs[patch].max(cost));
            }
        }
        (total, costs)
    }
}

impl Component {
    /// The difference of two components in place and in size.
    fn cost(&self, other: &Self) -> f32 {
        let (x, y) = (self.at.0 - other.at.0, self.at.1 - other.at.1);
        let ratio = self.patches.len() as f32 / other.patches.len() as f32;
        2.0 * (x * x + y * y).sqrt() + 0.5 * ratio.ln().abs()
    }
}

impl Clusters {
    fn fit(rows: &Tensor, seed: u64) -> Result<Self> {
        let mean = rows.mean_keepdim(0)?;
        let centres = k_means(&unit_rows(&rows.broadcast_sub(&mean)?)?, seed)?;
        Ok(Self { mean, centres })
    }

    /// The clusters of the patches of the first compared block.
    fn layout(&self, photo: &Features) -> Result<FeatureLayout> {
        let rows = patches(&photo.blocks[0])?.broadcast_sub(&self.mean)?;
        let labels = rows.matmul(&self.centres.t()?)?.argmax(D::Minus1)?.to_vec1()?;
        Ok(FeatureLayout::new(labels, photo.grid))
    }
}

/// Spherical k-means of rows at unit length. The centres have unit length too. The first centres are drawn far apart
/// (k-means++).
fn k_means(rows: &Tensor, seed: u64) -> Result<Tensor> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let count = rows.dim(0)?;
    let mut centres = vec![rows.get(random.random_range(0..count))?];
    let mut far = vec![f32::INFINITY; count];
    while centres.len() < CLUSTERS.min(count) {
        let cosines = rows.matmul(&centres[centres.len() - 1].unsqueeze(1)?)?;
        let cosines = cosines.flatten_all()?.to_vec1::<f32>()?;
        far.iter_mut().zip(cosines).for_each(|(far, c)| *far = far.min((1.0 - c).max(0.0)));
        let mut left = random.random::<f32>() * far.iter().sum::<f32>();
        let next = far.iter().position(|far| {
            left -= far;
            left <= 0.0
        });
        centres.push(rows.get(next.unwrap_or(count - 1))?);
    }
    let mut centres = Tensor::stack(&centres, 0)?;
    for _ in 0..ROUNDS {
        let labels = rows.matmul(&centres.t()?)?.argmax(D::Minus1)?;
        let sums = centres.zeros_like()?.index_add(&labels, rows, 0)?;
        // An empty cluster keeps its centre.
        let lengths = sums.sqr()?.sum_keepdim(1)?.sqrt()?;
        let next = sums.broadcast_div(&lengths.maximum(1e-12f64)?)?;
        let is_empty = lengths.lt(1e-6f64)?.broadcast_as(centres.shape())?;
        let next = is_empty.where_cond(&centres, &next)?;
        let moved = (&next - &centres)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
        centres = next;
        if moved < 1e-8 {
            break;
        }
    }
    Ok(centres)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{QUIET, photo};
    use super::*;

    /// A plain ground with parts of other kinds at some places. Each part has two by two patches.
    fn tray(parts: &[(usize, usize, usize)]) -> Features {
        let grid = 9;
        let row = |i: usize| {
            let (x, y) = (i % grid, i / grid);
            let on = |part: &&(usize, usize, usize)| {
                (part.0..part.0 + 2).contains(&x) && (part.1..part.1 + 2).contains(&y)
            };
            let colour = parts.iter().find(on).map_or(0, |part| part.2);
            (0..3)
                .map(|c| if c == colour { 1.0 } else { 0.01 * ((i * 7 + c) % 5) as f32 })
                .collect()
        };
        photo(grid, &(0..grid * grid).map(row).collect::<Vec<_>>())
    }

    #[test]
    fn missing_extra_and_moved_parts_are_odd_though_every_patch_is_good() {
        // One part on the left, two parts on the right. Each may lie at any height.
        let references = [(0, 4, 1), (1, 0, 2), (0, 2, 0), (1, 5, 1), (0, 6, 2), (1, 1, 0)];
        let references = references.map(|(x, y, z)| tray(&[(x, y, 1), (6, z, 2), (7, z + 4, 2)]));
        let all: Vec<&Features> = references.iter().collect();
        let model = Components::fit(&all[..5], QUIET).unwrap();
        let score = |photo: &Features| model.compare(photo, &Places::default()).unwrap().score;
        let fine = score(&references[5]);
        let missing = tray(&[(0, 3, 1), (7, 1, 2)]);
        let extra = tray(&[(0, 3, 1), (6, 0, 2), (7, 3, 2), (6, 6, 2)]);
        let moved = tray(&[(4, 3, 1), (6, 1, 2), (0, 6, 2)]);
        for (name, photo) in [("missing", missing), ("extra", extra), ("moved", moved)] {
            let odd = score(&photo);
            assert!(odd > fine, "{name}: {odd}, and {fine} for a good one");
        }
    }
}
