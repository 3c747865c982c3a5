//! Components: which there are, how many and where. A patch bank alone does not see that a part is missing, for every
//! patch that is left is good. Patches are put into clusters (ComAD, Liu et al., arXiv 2305.08509), clusters are counted
//! over the photo and over its thirds across and down, and connected components are matched with those of a good
//! photo. Each of these heads, and the patch bank beside them, is put on the scale of its own spread over the good
//! photos before they are joined (PSAD, Kim et al., arXiv 2312.13783): raw heads drown each other.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::association::BlockBanks;
use super::{Distances, FitOptions, Memory, Places, Tensors, patches};
use crate::ops::unit_rows;
use crate::{Features, Result};

/// Clusters of patches: enough for a few kinds of parts, their edges and what they lie on. With more, one kind falls
/// into several clusters, and counts tell less.
const CLUSTERS: usize = 8;
const ROUNDS: usize = 30;
/// Cells that clusters are counted over, across and as many down.
const CELLS: usize = 3;
/// The least that a cluster's share of the photo, and of a cell, is taken to vary.
const LEAST_SHARE: (f32, f32) = (0.004, 0.01);
/// Neighbouring patches of one cluster that make a component; fewer are the ragged edge of another.
const SMALLEST: usize = 2;
/// What a component costs that has no counterpart; a pair costs less.
const UNMATCHED: f32 = 1.0;
/// The least spread a head is taken to have over good photos: few of them agree by chance.
const LEAST_SPREAD: [f32; HEADS] = [0.1, 0.1, 0.05, 0.01];
const HEADS: usize = 4;

pub(super) struct Components {
    clusters: Clusters,
    /// Each good photo's cluster at each patch.
    good: Vec<Layout>,
    banks: BlockBanks,
    /// Mean and spread of each head over the good photos, each left out in turn.
    scales: [(f32, f32); HEADS],
}

#[derive(Clone)]
struct Clusters {
    /// The mean patch, `[1, width]`.
    mean: Tensor,
    /// Directions from there, `[clusters, width]`, at unit length.
    centres: Tensor,
}

/// Which cluster each patch belongs to.
#[derive(Clone)]
struct Layout {
    labels: Vec<u32>,
    grid: usize,
    components: Vec<Component>,
}

/// Neighbouring patches of one cluster.
#[derive(Clone)]
struct Component {
    label: u32,
    patches: Vec<usize>,
    /// The centre, in parts of the photo.
    at: (f32, f32),
}

/// What the heads say of a photo.
struct Heads {
    values: [f32; HEADS],
    /// What each patch's component costs, 0..[`UNMATCHED`].
    costs: Vec<f32>,
    /// Each patch's distance from the bank.
    distances: Vec<f32>,
}

impl Components {
    pub fn fit(good: &[&Features], options: FitOptions) -> Result<Self> {
        let rows =
            good.iter().map(|photo| patches(&photo.blocks[0])).collect::<Result<Vec<_>>>()?;
        let clusters = Clusters::fit(&Tensor::cat(&rows, 0)?, options.seed)?;
        let layouts = good.iter().map(|photo| clusters.layout(photo));
        let mut memory = Self {
            good: layouts.collect::<Result<Vec<_>>>()?,
            clusters,
            banks: BlockBanks::fit(good)?,
            scales: LEAST_SPREAD.map(|spread| (0.0, spread)),
        };
        if good.len() > 1 {
            memory.scales = memory.measure(good, options)?;
        }
        Ok(memory)
    }

    pub fn recall(tensors: &mut Tensors) -> Result<Self> {
        let clusters =
            Clusters { mean: tensors.take("mean", 2)?, centres: tensors.take("centres", 2)? };
        let labels = tensors.take("labels", 2)?;
        let grid = labels.dim(1)?.isqrt();
        let layout = |labels| Layout::new(labels, grid);
        let scales = tensors.take("scales", 2)?.flatten_all()?.to_vec1::<f32>()?;
        let scale = |head: usize| {
            (
                scales.get(2 * head).copied().unwrap_or(0.0),
                scales.get(2 * head + 1).copied().unwrap_or(1.0),
            )
        };
        Ok(Self {
            clusters,
            good: labels.to_vec2()?.into_iter().map(layout).collect(),
            scales: std::array::from_fn(scale),
            banks: BlockBanks::recall(tensors)?,
        })
    }

    /// Mean and spread of each head over the good photos, each compared with the others.
    fn measure(&self, good: &[&Features], options: FitOptions) -> Result<[(f32, f32); HEADS]> {
        let mut values = Vec::new();
        for i in 0..good.len() {
            let others = |j: &usize| *j != i;
            let rest: Vec<&Features> = (0..good.len()).filter(others).map(|j| good[j]).collect();
            let layouts = (0..good.len()).filter(others).map(|j| self.good[j].clone());
            let memory = Self {
                clusters: self.clusters.clone(),
                good: layouts.collect(),
                banks: BlockBanks::fit(&rest)?,
                scales: self.scales,
            };
            values.push(memory.heads(good[i], &Places::default())?.values);
            (options.progress)((i + 1) as f64 / good.len() as f64);
        }
        Ok(std::array::from_fn(|head| {
            let (mean, spread) = mean_and_spread(values.iter().map(|v| v[head]));
            (mean, spread.max(LEAST_SPREAD[head]))
        }))
    }

    fn heads(&self, photo: &Features, places: &Places) -> Result<Heads> {
        let layout = self.clusters.layout(photo)?;
        let clusters = self.clusters.centres.dim(0)?;
        // How far the shares of the clusters lie from the good photos', in their spreads.
        let far = |count: &dyn Fn(&Layout) -> Vec<f32>, least: f32| {
            let good: Vec<Vec<f32>> = self.good.iter().map(count).collect();
            let own = count(&layout);
            let squares = own.iter().enumerate().map(|(i, share)| {
                let (mean, spread) = mean_and_spread(good.iter().map(|good| good[i]));
                ((share - mean) / spread.max(least)).powi(2)
            });
            (squares.sum::<f32>() / own.len() as f32).sqrt()
        };
        let matched = self.good.iter().map(|good| layout.matched(good, places));
        let better = |a: (f32, Vec<f32>), b: (f32, Vec<f32>)| if b.0 < a.0 { b } else { a };
        let (cost, costs) = matched.reduce(better).unwrap_or_default();
        let near = self.banks.compare(photo, places)?;
        let values = [
            far(&|layout| layout.shares(clusters), LEAST_SHARE.0),
            far(&|layout| layout.shares_of_cells(clusters), LEAST_SHARE.1),
            cost,
            near.score,
        ];
        Ok(Heads { values, costs, distances: near.map })
    }

    /// In spreads above the mean over the good photos.
    fn scaled(&self, head: usize, value: f32) -> f32 {
        let (mean, spread) = self.scales[head];
        (value - mean) / spread
    }
}

impl Memory for Components {
    /// The score: the root of the heads' mean square, each on its own scale as far as it lies above what most good
    /// photos show, so that one that is sure is not outvoted. The map: the bank's distances, and where a component
    /// is odd, missing or extra, as much as the heads of components say.
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

    fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let labels = self.good.iter().map(|good| Tensor::new(&good.labels[..], &Device::Cpu));
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

impl Layout {
    fn new(labels: Vec<u32>, grid: usize) -> Self {
        let mut components = Vec::new();
        let mut free = vec![true; labels.len()];
        for start in 0..labels.len() {
            if !std::mem::take(&mut free[start]) {
                continue;
            }
            let (mut patches, mut next) = (vec![start], 0);
            while let Some(&patch) = patches.get(next) {
                next += 1;
                let (x, y) = (patch % grid, patch / grid);
                for ny in y.saturating_sub(1)..(y + 2).min(grid) {
                    for nx in x.saturating_sub(1)..(x + 2).min(grid) {
                        let other = ny * grid + nx;
                        if labels[other] == labels[start] && std::mem::take(&mut free[other]) {
                            patches.push(other);
                        }
                    }
                }
            }
            if patches.len() >= SMALLEST {
                let size = (patches.len() * grid) as f32;
                let x = patches.iter().map(|p| (p % grid) as f32).sum::<f32>() / size;
                let y = patches.iter().map(|p| (p / grid) as f32).sum::<f32>() / size;
                components.push(Component { label: labels[start], patches, at: (x, y) });
            }
        }
        Self { labels, grid, components }
    }

    /// The share of each cluster of the photo.
    fn shares(&self, clusters: usize) -> Vec<f32> {
        self.count(clusters, 1, |_| 0)
    }

    /// The same of each third across, and of each down.
    fn shares_of_cells(&self, clusters: usize) -> Vec<f32> {
        let across = self.count(clusters, CELLS, |patch| patch % self.grid * CELLS / self.grid);
        let down = self.count(clusters, CELLS, |patch| patch / self.grid * CELLS / self.grid);
        [across, down].concat()
    }

    fn count(&self, clusters: usize, cells: usize, cell: impl Fn(usize) -> usize) -> Vec<f32> {
        let mut shares = vec![0f32; clusters * cells];
        let one = cells as f32 / self.labels.len() as f32;
        for (patch, &label) in self.labels.iter().enumerate() {
            shares[cell(patch) * clusters + label as usize] += one;
        }
        shares
    }

    /// What it costs to match the components with a good photo's, the nearest pairs first; and the cost at each
    /// patch, also where one is missing.
    fn matched(&self, good: &Layout, places: &Places) -> (f32, Vec<f32>) {
        let mut pairs = Vec::new();
        for (i, own) in self.components.iter().enumerate() {
            for (j, other) in good.components.iter().enumerate() {
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
        for (components, matched) in [(&self.components, own), (&good.components, others)] {
            for (i, component) in components.iter().enumerate() {
                let cost = matched.get(&i).copied().unwrap_or(UNMATCHED);
                let seen = component.patches.iter().filter(|p| places.holds(**p));
                // A large part weighs more than a small one, but not by its whole area.
                total += cost * (seen.clone().count() as f32).sqrt() / self.grid as f32;
                seen.for_each(|&patch| costs[patch] = costs[patch].max(cost));
            }
        }
        (total, costs)
    }
}

impl Component {
    /// How far two components are from each other, in place and in size.
    fn cost(&self, other: &Self) -> f32 {
        let (x, y) = (self.at.0 - other.at.0, self.at.1 - other.at.1);
        let ratio = self.patches.len() as f32 / other.patches.len() as f32;
        2.0 * (x * x + y * y).sqrt() + 0.5 * ratio.ln().abs()
    }
}

fn mean_and_spread(values: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let n = values.clone().count() as f32;
    let mean = values.clone().sum::<f32>() / n;
    let squares = values.map(|v| (v - mean).powi(2)).sum::<f32>();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

impl Clusters {
    fn fit(rows: &Tensor, seed: u64) -> Result<Self> {
        let mean = rows.mean_keepdim(0)?;
        let centres = k_means(&unit_rows(&rows.broadcast_sub(&mean)?)?, seed)?;
        Ok(Self { mean, centres })
    }

    /// Of the patches of the first block that is compared.
    fn layout(&self, photo: &Features) -> Result<Layout> {
        let rows = patches(&photo.blocks[0])?.broadcast_sub(&self.mean)?;
        let labels = rows.matmul(&self.centres.t()?)?.argmax(D::Minus1)?.to_vec1()?;
        Ok(Layout::new(labels, photo.grid))
    }
}

/// Spherical k-means of unit rows: centres at unit length. The first are drawn far apart (k-means++).
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
        // A cluster that nothing belongs to stays where it was.
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
