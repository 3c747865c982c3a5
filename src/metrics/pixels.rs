//! Pixels of many photos, four bytes each. All metrics are computed in one pass from the highest score to the lowest.

use rayon::slice::ParallelSliceMut;

/// The scores of the pixels of some photos. Good and defective pixels are kept apart.
#[derive(Clone, Debug, Default)]
pub struct Pixels {
    good: Vec<f32>,
    bad: Vec<f32>,
    regions: Vec<Region>,
}

/// A defective region.
#[derive(Clone, Debug)]
struct Region {
    /// The scores of its pixels, in ascending order after [`Pixels::sorted`].
    scores: Vec<f32>,
    /// How many pixels have to be found.
    saturation: usize,
}

/// [`Pixels`] in ascending order of their scores.
#[derive(Clone, Debug)]
pub struct SortedPixels(Pixels);

/// How well the scores of pixels separate good from defective. `None` without both good and defective pixels, and if a
/// score is NaN.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Area under the ROC curve.
    pub auroc: Option<f64>,
    /// Area under the precision-recall curve, as steps.
    pub average_precision: Option<f64>,
    /// The highest F1 of all thresholds.
    pub f1_max: Option<f64>,
    /// For each limit: the area under the curve of (saturated) per-region overlap up to this false-positive rate,
    /// divided by this rate. `None` without regions.
    pub au_pro: Option<Vec<f64>>,
}

impl Pixels {
    /// Adds a photo's map. `is_defective`: which pixels are defective. `regions`: the pixels of each region (indices
    /// into the map), and how many of them have to be found so that it counts as found. That is all of them, or fewer
    /// in MVTec LOCO.
    ///
    /// # Panics
    /// If the mask is not of the map's size.
    pub fn add(
        &mut self,
        map: &[f32],
        is_defective: &[bool],
        regions: impl IntoIterator<Item = (Vec<usize>, usize)>,
    ) {
        assert_eq!(map.len(), is_defective.len(), "a mask of the map's size");
        for (&score, &is_bad) in map.iter().zip(is_defective) {
            if is_bad { self.bad.push(score) } else { self.good.push(score) }
        }
        for (pixels, saturation) in regions {
            let scores = pixels.into_iter().map(|pixel| map[pixel]).collect();
            self.regions.push(Region { scores, saturation: saturation.max(1) });
        }
    }

    /// Adds a photo's map. Each 8-connected region of the mask has to be found as a whole (PRO: Bergmann et al., IJCV
    /// 2021, section 5.2).
    ///
    /// # Panics
    /// If the mask is not of the map's size.
    pub fn add_masked(&mut self, map: &[f32], is_defective: &[bool], width: usize) {
        let labels: Vec<u32> = is_defective.iter().map(|is_bad| u32::from(*is_bad)).collect();
        let whole = |region: Vec<usize>| {
            let size = region.len();
            (region, size)
        };
        self.add(map, is_defective, super::regions(&labels, width).into_iter().map(whole));
    }

    /// Sorts the pixels, so that they can be measured.
    pub fn sorted(mut self) -> SortedPixels {
        self.good.par_sort_unstable_by(f32::total_cmp);
        self.bad.par_sort_unstable_by(f32::total_cmp);
        for region in &mut self.regions {
            region.scores.sort_unstable_by(f32::total_cmp);
        }
        SortedPixels(self)
    }
}

impl SortedPixels {
    /// The scores of good pixels and of defective pixels, in ascending order.
    pub(super) fn scores(&self) -> (&[f32], &[f32]) {
        (&self.0.good, &self.0.bad)
    }

    /// For each region: its scores in ascending order, and how many pixels have to be found.
    pub(super) fn regions(&self) -> impl Iterator<Item = (&[f32], usize)> {
        self.0.regions.iter().map(|region| (&region.scores[..], region.saturation))
    }

    /// Whether a score is NaN. Then nothing can be measured. The sort puts NaN at an end.
    fn has_nan(&self) -> bool {
        let ends = |scores: &[f32]| [scores.first().copied(), scores.last().copied()];
        let (good, bad) = self.scores();
        [ends(good), ends(bad)].iter().flatten().flatten().any(|score| score.is_nan())
    }

    /// The number of pixels.
    pub fn count(&self) -> usize {
        self.0.good.len() + self.0.bad.len()
    }
}

/// The pixels with one score, over all parts.
#[derive(Default)]
struct Step {
    good: f64,
    bad: f64,
    /// How much the sum of the regions' overlaps grows.
    overlap: f64,
}

/// Computes every metric over the pixels of all parts. `limits`: the false-positive rates that AU-PRO is integrated up
/// to, in ascending order.
pub fn measure(parts: &[&SortedPixels], limits: &[f64]) -> Measured {
    if parts.iter().any(|part| part.has_nan()) {
        return Measured::default();
    }
    let count = |of: fn(&SortedPixels) -> &[f32]| parts.iter().map(|p| of(p).len()).sum::<usize>();
    let (good, bad) = (count(|p| p.scores().0) as f64, count(|p| p.scores().1) as f64);
    let regions = parts.iter().map(|p| p.regions().count()).sum::<usize>() as f64;
    let (mut seen_good, mut seen_bad, mut overlap) = (0.0, 0.0, 0.0);
    let (mut wins, mut precision, mut f1) = (0.0, 0.0, 0.0f64);
    let mut pro = Area::new(limits);
    walk(parts, |step| {
        // Each of these defective pixels wins against every good pixel with a lower score, and half against those with
        // the same score.
        wins += step.bad * (good - seen_good - step.good / 2.0);
        seen_good += step.good;
        seen_bad += step.bad;
        precision += step.bad * seen_bad / (seen_bad + seen_good);
        f1 = f1.max(2.0 * seen_bad / (seen_bad + seen_good + bad));
        overlap += step.overlap;
        pro.to(seen_good / good, overlap / regions);
    });
    let both = good > 0.0 && bad > 0.0;
    Measured {
        auroc: both.then(|| wins / (good * bad)),
        average_precision: both.then(|| precision / bad),
        f1_max: both.then_some(f1),
        au_pro: (good > 0.0 && regions > 0.0).then(|| pro.finish()),
    }
}

/// Calls `step` for each distinct score, from the highest down.
fn walk(parts: &[&SortedPixels], mut step: impl FnMut(Step)) {
    let mut lists: Vec<(&[f32], bool)> = Vec::new();
    // The overlap of a region does not grow any more when the region counts as found.
    let mut growth: Vec<(f32, f64)> = Vec::new();
    for part in parts {
        lists.extend([(part.scores().0, false), (part.scores().1, true)]);
        for (scores, saturation) in part.regions() {
            let found = scores.iter().rev().take(saturation);
            growth.extend(found.map(|score| (*score, 1.0 / saturation as f64)));
        }
    }
    growth.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    while let Some(score) =
        lists.iter().filter_map(|(scores, _)| scores.last()).copied().reduce(f32::max)
    {
        let mut here = Step::default();
        for (scores, is_bad) in &mut lists {
            let rest = scores.iter().rev().take_while(|s| **s == score).count();
            *scores = &scores[..scores.len() - rest];
            *(if *is_bad { &mut here.bad } else { &mut here.good }) += rest as f64;
        }
        while growth.last().is_some_and(|(s, _)| *s == score) {
            here.overlap += growth.pop().map_or(0.0, |(_, grows)| grows);
        }
        step(here);
    }
}

/// The area under a rising curve from (0, 0) up to each limit, by trapezoids.
pub(super) struct Area<'a> {
    limits: &'a [f64],
    found: Vec<f64>,
    at: (f64, f64),
    area: f64,
}

impl<'a> Area<'a> {
    pub fn new(limits: &'a [f64]) -> Self {
        Self { limits, found: vec![], at: (0.0, 0.0), area: 0.0 }
    }

    /// Adds the next point of the curve.
    pub fn to(&mut self, x: f64, y: f64) {
        let (from_x, from_y) = self.at;
        while let Some(&limit) = self.limits.get(self.found.len()).filter(|limit| x > **limit) {
            // The step crosses the limit. Add the part before the limit.
            let rest = limit - from_x;
            let reached = from_y + (y - from_y) * rest / (x - from_x);
            self.found.push((self.area + rest * (from_y + reached) / 2.0) / limit);
        }
        self.area += (x - from_x) * (from_y + y) / 2.0;
        self.at = (x, y);
    }

    /// For each limit: the area up to it, divided by the limit.
    pub fn finish(mut self) -> Vec<f64> {
        while let Some(limit) = self.limits.get(self.found.len()) {
            self.found.push(self.area / limit);
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn au_pro_of_a_perfect_and_of_a_blind_map() {
        let mask = [true, true, false, false, false, false, false, false, true];
        let pro = |map: &[f32], limit: f64| {
            let mut pixels = Pixels::default();
            pixels.add_masked(map, &mask, 3);
            measure(&[&pixels.sorted()], &[limit]).au_pro.unwrap()[0]
        };
        let perfect: Vec<f32> = mask.iter().map(|m| f32::from(*m)).collect();
        assert_eq!(pro(&perfect, 1.0), 1.0);
        assert_eq!(pro(&[0.5; 9], 1.0), 0.5);
        assert!((pro(&[0.5; 9], 0.3) - 0.15).abs() < 1e-12);
        assert_eq!(measure(&[&Pixels::default().sorted()], &[0.3]), Measured::default());
        let mut nan = Pixels::default();
        nan.add_masked(&[0.5, f32::NAN, 0.1, 0.2], &[true, true, false, false], 2);
        assert_eq!(measure(&[&nan.sorted()], &[0.3]), Measured::default());
    }

    #[test]
    fn parts_together_are_as_one_and_a_saturated_region_grows_no_more() {
        let maps = [[0.9f32, 0.1, 0.4, 0.4], [0.3, 0.8, 0.2, 0.4]];
        let masks = [[true, true, false, false], [false, true, true, true]];
        let regions = |i: usize| {
            let pixels: Vec<usize> = (0..4).filter(|p| masks[i][*p]).collect();
            [(pixels, 1 + i)]
        };
        let (mut both, mut one, mut other) =
            (Pixels::default(), Pixels::default(), Pixels::default());
        both.add(&maps[0], &masks[0], regions(0));
        both.add(&maps[1], &masks[1], regions(1));
        one.add(&maps[0], &masks[0], regions(0));
        other.add(&maps[1], &masks[1], regions(1));
        let limits = [0.1, 0.5, 1.0];
        let together = measure(&[&both.sorted()], &limits);
        assert_eq!(measure(&[&one.sorted(), &other.sorted()], &limits), together);
        // The first region is found at 0.9, the second at 0.8 and 0.4. Two of the three good pixels score 0.4.
        let pro = together.au_pro.unwrap();
        assert!((pro[2] - (2.0 / 3.0 * (0.75 + 1.0) / 2.0 + 1.0 / 3.0)).abs() < 1e-12, "{pro:?}");
    }
}
