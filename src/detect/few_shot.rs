//! A method that scores by prompts, together with reference photos. It is fitted once and is then a [`Method`] like the
//! others.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use super::combined::Combined;
use super::finding::Outcome;
use super::fusion::{Fusion, Measured, values_inside};
use super::{AprilGan, KindScore, Method, WinClip, add_peaks};
use crate::clip::{Features, Taps};
use crate::error::{Error, Result};
use crate::prompt::Product;
use crate::reference::{
    Distances, FitOptions, Layers, Places, ReferenceEntry, ReferenceModel, Tensors,
};

/// The number of hold-out groups. With at most this many reference photos, each photo is a group of its own.
const GROUPS: usize = 16;

/// A method that scores by prompts, and a method that compares with reference photos. Until [`FewShotMethod::fit`] it
/// scores by prompts alone.
#[derive(Clone)]
pub struct FewShotMethod {
    combined: Combined,
    references: &'static ReferenceEntry,
}

impl Method for FewShotMethod {
    fn name(&self) -> &'static str {
        self.combined.name()
    }

    fn taps(&self) -> Taps {
        self.combined.taps()
    }

    fn project(&self, photo: Features) -> Result<Features> {
        self.combined.project(photo)
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        self.combined.score(photos, product)
    }
}

impl FewShotMethod {
    /// `prompts`: the method that scores by prompts. `layers`: the reference method compares the patches of these
    /// layers ([`ReferenceEntry::default_layers`]).
    pub fn new(
        prompts: impl Into<Arc<dyn Method>>,
        references: &'static ReferenceEntry,
        layers: impl Into<Layers>,
    ) -> Self {
        let other = references.taps(&layers.into());
        let combined = Combined { prompts: prompts.into(), other, by_reference_model: false };
        Self { combined, references }
    }

    /// The same method, but photos are compared by the reference model
    /// ([`Clip::with_reference`](crate::Clip::with_reference)). `yes`: whether there is one.
    pub fn by_reference_model(mut self, yes: bool) -> Self {
        self.combined.by_reference_model = yes;
        self
    }

    /// The method, fitted to at least two reference photos. Encode them with [`Method::taps`] and then project them.
    /// Enrolment (`profile::enroll`) also takes a single photo, and draws the threshold between ok and ng.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer photos. Otherwise as [`Method::score`].
    pub fn fit(&self, references: &[&Features], product: &Product) -> Result<Box<dyn Method>> {
        if references.len() < 2 {
            return Err(Error::setting("references", "give at least two photos of good parts"));
        }
        let places = Places::default();
        let quiet = FitOptions { seed: 0, places: &places, progress: &|_| {} };
        let known = Known { photos: references, copies: &[], held_out: references.len() };
        let (method, _) = FittedFewShot::fit(self.clone(), known, &[], product, quiet)?;
        Ok(Box::new(method))
    }

    /// What the reference method compares of a photo's projected features, one entry for each source.
    pub(crate) fn compared(&self, photo: &Features) -> Vec<Features> {
        self.combined.split(photo).1
    }

    /// The sources of [`Combined::split`], as prefixes of names.
    fn sources(&self) -> Vec<&'static str> {
        let Taps { blocks, trunk, .. } = &self.combined.other;
        match (blocks.is_empty(), trunk) {
            (true, true) => vec![TRUNK],
            (false, true) => vec![BLOCKS, TRUNK],
            _ => vec![BLOCKS],
        }
    }

    /// How prompts and references come together: as the paper says where one pairs these two methods.
    fn fusion(&self, on: &Measured) -> Fusion {
        let prompts = self.combined.prompts.prompt_weight();
        match (self.combined.name(), self.references.name) {
            // No paper compares a trunk, or joins CLIP's prompts with another model.
            _ if self.combined.by_reference_model => Fusion::balanced(on),
            _ if self.combined.taps().trunk => Fusion::balanced(on),
            (WinClip::NAME, WinClip::NAME) => Fusion::Mean { prompts, references: 1.0, line: None },
            (AprilGan::NAME, AprilGan::NAME) => Fusion::Mean {
                prompts,
                references: self.combined.other.blocks.len() as f32,
                line: Some(on.score().0),
            },
            _ => Fusion::balanced(on),
        }
    }
}

/// A reference photo, scored as if it were not among the references.
#[derive(Clone, Debug)]
pub(crate) struct HeldOutScore {
    pub score: f32,
    /// The highest value of the map.
    pub peak: f32,
    /// The position of the highest value: x and y, 0..1 of the model's square input.
    pub peak_at: (f32, f32),
    /// The median of the map.
    pub median: f32,
}

impl HeldOutScore {
    /// From the outcome of one photo. Only the places that count are used.
    pub fn new(outcome: &Outcome, places: &Places, grid: usize) -> Self {
        let (map, places) = (&outcome.map, places.at(grid, outcome.map.side));
        let mut values: Vec<f32> = values_inside(&map.values, &places).collect();
        values.sort_by(f32::total_cmp);
        let median = values.get(values.len() / 2).copied().unwrap_or_default();
        let (hottest, peak) = map.peak();
        let at = ((hottest % map.side) as f32 + 0.5, (hottest / map.side) as f32 + 0.5);
        let side = map.side as f32;
        Self { score: outcome.score, peak, peak_at: (at.0 / side, at.1 / side), median }
    }
}

/// What a method is fitted to.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// The reference photos.
    pub photos: &'a [&'a Features],
    /// Other versions of them that photos are also compared with.
    pub copies: &'a [Variant],
    /// So many of the photos are scored as if they were not among the references.
    pub held_out: usize,
}

/// Another version of a reference photo. It is held out together with that photo.
pub(crate) struct Variant {
    /// The index of the reference photo.
    pub of: usize,
    pub features: Features,
}

/// A method after it was fitted to reference photos.
pub(crate) struct FittedFewShot {
    pub pair: FewShotMethod,
    /// What compares each of the sources of [`Combined::split`].
    parts: Vec<Part>,
    pub fusion: Fusion,
    pub places: Places,
    /// The highest [`Method::reference_distance`] of the references, each held out. None if it was not fitted but recalled.
    pub farthest: Option<f32>,
}

/// A reference model of one source, and the factor that puts its distances on one scale with the other source's.
struct Part {
    model: Box<dyn ReferenceModel>,
    factor: f32,
}

impl Method for FittedFewShot {
    fn name(&self) -> &'static str {
        self.pair.name()
    }

    fn taps(&self) -> Taps {
        self.pair.taps()
    }

    fn project(&self, photo: Features) -> Result<Features> {
        self.pair.project(photo)
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        let by_prompts = self.pair.score(photos, product)?;
        let join = |(mut scores, photo): (Vec<KindScore>, &&Features)| {
            add_peaks(&mut scores, &self.places, photo.grid);
            let sources = self.pair.combined.split(photo).1;
            let distances = self.parts.iter().zip(&sources).map(|(part, source)| {
                let places = self.places.at(photo.grid, source.grid);
                Ok((part.model.compare(source, &places)?, part.factor))
            });
            let distances = distances.collect::<Result<Vec<_>>>()?;
            let by_peak = self.pair.references.by_peak;
            let distances = Distances::sum(&distances, by_peak, &self.places, photo.grid);
            Ok(self.fusion.join(scores, &distances, photo.grid, product, &self.places))
        };
        by_prompts.into_iter().zip(photos).map(join).collect()
    }

    fn reference_distance(&self, photo: &Features) -> Result<Option<f32>> {
        let sources = self.pair.combined.split(photo).1;
        let last = self.parts.last().zip(sources.last());
        let distance = |(part, source): (&Part, &Features)| {
            let places = self.places.at(photo.grid, source.grid);
            Ok(median(part.model.compare(source, &places)?))
        };
        last.map(distance).transpose()
    }
}

/// The median distance of a photo's patches. A defect covers less than half of them.
fn median(mut distances: Distances) -> f32 {
    distances.map.sort_by(f32::total_cmp);
    distances.map.get(distances.map.len() / 2).copied().unwrap_or_default()
}

impl FittedFewShot {
    /// Fits the reference method. Scores the first [`Known::held_out`] photos, and all variants, as if they were not among
    /// the references.
    ///
    /// A single reference photo cannot be held out. Then its variants, which are slightly different views of it, give
    /// the means and spreads, and no scores are returned.
    pub fn fit(
        pair: FewShotMethod,
        known: Known,
        variants: &[Variant],
        product: &Product,
        options: FitOptions,
    ) -> Result<(Self, Vec<HeldOutScore>)> {
        let (places, grid) = (options.places, known.photos[0].grid);
        let held_out = known.held_out.min(known.photos.len());
        let own = known.photos[..held_out].iter().copied().enumerate();
        let others = variants.iter().map(|variant| (variant.of, &variant.features));
        let (of, photos): (Vec<usize>, Vec<&Features>) = own.chain(others).unzip();
        let is_single = known.photos.len() == 1;
        let measured = if is_single { 1.min(variants.len())..photos.len() } else { 0..held_out };
        let (parts, distances, farthest) =
            fit_parts(&pair, known, (&photos, &of), &measured, options)?;
        let mut by_prompts = pair.score(&photos, product)?;
        by_prompts.iter_mut().for_each(|scores| add_peaks(scores, places, grid));
        let measured = Measured {
            prompts: &by_prompts[measured.clone()],
            distances: &distances[measured],
            product,
            places,
            grid,
        };
        let fusion = pair.fusion(&measured);
        let held_out = by_prompts.into_iter().zip(&distances).map(|(scores, distances)| {
            let joined = fusion.join(scores, distances, grid, product, places);
            HeldOutScore::new(&Outcome::new(joined, product, places, grid), places, grid)
        });
        let held_out = if is_single { vec![] } else { held_out.collect() };
        let (places, farthest) = (places.clone(), Some(farthest));
        Ok((Self { pair, parts, fusion, places, farthest }, held_out))
    }

    /// Makes the method again from [`FittedFewShot::tensors`] and [`FittedFewShot::factors`].
    pub fn recall(
        pair: FewShotMethod,
        tensors: &[(String, Tensor)],
        factors: &[f32],
        fusion: Fusion,
        places: Places,
    ) -> Result<Self> {
        let part = |(source, factor): (&str, f32)| -> Result<Part> {
            let of_source = |name: &str| match source {
                BLOCKS => (!name.starts_with(TRUNK)).then(|| name.to_string()),
                prefix => name.strip_prefix(prefix).map(String::from),
            };
            let own = tensors.iter().filter_map(|(name, t)| Some((of_source(name)?, t.clone())));
            let model = (pair.references.from_tensors)(&mut Tensors(own.collect()))?;
            Ok(Part { model, factor })
        };
        let factors = if factors.is_empty() { &[1.0] } else { factors };
        let parts = pair.sources().into_iter().zip(factors.iter().copied());
        let parts = parts.map(part).collect::<Result<_>>()?;
        Ok(Self { pair, parts, fusion, places, farthest: None })
    }

    /// All tensors of the reference models, by name.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for (source, part) in self.pair.sources().into_iter().zip(&self.parts) {
            let named = part.model.tensors()?.into_iter();
            all.extend(named.map(|(name, tensor)| (format!("{source}{name}"), tensor)));
        }
        Ok(all)
    }

    /// The factors on the distances of the sources. Empty for a single source.
    pub fn factors(&self) -> Vec<f32> {
        match &self.parts[..] {
            [_] => vec![],
            parts => parts.iter().map(|part| part.factor).collect(),
        }
    }
}

/// What the names of the tensors of each source begin with.
const BLOCKS: &str = "";
const TRUNK: &str = "trunk.";

/// Fits the reference method to each source of the references. Returns the distances of the photos, each compared
/// with a model without its own reference photo (`of`), and [`FittedFewShot::farthest`]. The `measured` photos put the sources on one scale.
fn fit_parts(
    pair: &FewShotMethod,
    known: Known,
    (photos, of): (&[&Features], &[usize]),
    measured: &Range<usize>,
    options: FitOptions,
) -> Result<(Vec<Part>, Vec<Distances>, f32)> {
    let count = pair.sources().len();
    let grid = known.photos[0].grid;
    let copies = known.copies.iter().map(|copy| (copy.of, &copy.features));
    let (owners, references): (Vec<usize>, Vec<&Features>) =
        known.photos.iter().copied().enumerate().chain(copies).unzip();
    let split = |photos: &[&Features]| {
        let mut sources: Vec<Vec<Features>> = vec![vec![]; count];
        for photo in photos {
            let split = pair.combined.split(photo).1;
            sources.iter_mut().zip(split).for_each(|(source, part)| source.push(part));
        }
        sources
    };
    let (mut models, mut means, mut farthest) = (Vec::new(), Vec::new(), 0.0);
    let mut distances = vec![Vec::with_capacity(count); photos.len()];
    for (known, source) in split(&references).iter().zip(split(photos)) {
        let places = options.places.at(grid, known[0].grid);
        let options = FitOptions { places: &places, ..options };
        let known: Vec<&Features> = known.iter().collect();
        let model = (pair.references.fit)(&known, options)?;
        let known = (&known[..], &owners[..]);
        let found = held_out_distances(pair.references, &*model, known, (&source, of), options)?;
        means.push(Distances::mean(&found[measured.clone()], &places));
        farthest = found[measured.clone()].iter().cloned().map(median).fold(0.0, f32::max);
        models.push(model);
        distances.iter_mut().zip(found).for_each(|(all, found)| all.push(found));
    }
    let factors = Distances::factors(&means);
    let sum = |parts: Vec<Distances>| {
        let parts: Vec<_> = parts.into_iter().zip(factors.iter().copied()).collect();
        Distances::sum(&parts, pair.references.by_peak, options.places, grid)
    };
    let distances = distances.into_iter().map(sum).collect();
    let parts = models.into_iter().zip(&factors);
    Ok((parts.map(|(model, &factor)| Part { model, factor }).collect(), distances, farthest))
}

/// The distances of each photo from a model without its own reference photo. `known`: all that the model is fitted to.
/// `owners` and `of`: the index of the reference photo that each belongs to.
fn held_out_distances(
    entry: &ReferenceEntry,
    model: &dyn ReferenceModel,
    (known, owners): (&[&Features], &[usize]),
    (photos, of): (&[Features], &[usize]),
    options: FitOptions,
) -> Result<Vec<Distances>> {
    let groups = owners.iter().max().map_or(0, |last| last + 1).min(GROUPS);
    let mut distances = vec![None; photos.len()];
    for group in 0..groups {
        let rest: Vec<&Features> = known
            .iter()
            .zip(owners)
            .filter(|(_, owner)| *owner % groups != group)
            .map(|(photo, _)| *photo)
            .collect();
        let without = match model.without(&|i| owners[i] % groups == group)? {
            None if rest.is_empty() => None,
            None => Some((entry.fit)(&rest, FitOptions { progress: &|_| {}, ..options })?),
            found => found,
        };
        let model = without.as_deref().unwrap_or(model);
        for (i, slot) in distances.iter_mut().enumerate().filter(|(i, _)| of[*i] % groups == group)
        {
            *slot = Some(model.compare(&photos[i], options.places)?);
        }
        (options.progress)((group + 1) as f64 / groups as f64);
    }
    Ok(distances.into_iter().flatten().collect())
}

crate::error::opaque_debug!(FewShotMethod);
