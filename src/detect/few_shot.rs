//! A method by prompts together with reference photos: fitted once, then a method like the others.

use std::sync::Arc;

use super::combined::Combined;
use super::finding::Outcome;
use super::fusion::{Fusion, Measured, values_inside};
use super::{AprilGan, KindScore, Method, WinClip};
use crate::clip::{Features, Taps};
use crate::error::{Error, Result};
use crate::prompt::Product;
use crate::reference::{Distances, FitOptions, Places, ReferenceEntry, ReferenceModel};

/// Photos are held out one by one up to this many, and in as many groups when there are more.
const GROUPS: usize = 16;

/// A method by prompts and one by references. It scores by prompts alone until [`FewShotMethod::fit`].
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
    /// `prompts`: the method by prompts. `blocks`: those whose patches the reference method compares
    /// ([`ReferenceEntry::default_blocks`]).
    pub fn new(
        prompts: impl Into<Arc<dyn Method>>,
        references: &'static ReferenceEntry,
        blocks: Vec<usize>,
    ) -> Self {
        let other = references.taps(&blocks);
        Self { combined: Combined { prompts: prompts.into(), other }, references }
    }

    /// The same, fitted to reference photos: at least two, encoded through its [`Method::taps`] and projected.
    /// Enrolment also takes a single one, and draws the line to defective parts.
    ///
    /// # Errors
    /// [`Error::Setting`] for fewer photos, and as [`Method::score`].
    pub fn fit(&self, references: &[&Features], product: &Product) -> Result<Box<dyn Method>> {
        if references.len() < 2 {
            return Err(Error::setting("references", "give at least two photos of good parts"));
        }
        let places = Places::default();
        let quiet = FitOptions { seed: 0, places: &places, progress: &|_| {} };
        let (method, _) = FittedFewShot::fit(self.clone(), references, &[], product, quiet)?;
        Ok(Box::new(method))
    }

    /// How prompts and references come together: as the paper says where one pairs these two methods.
    fn fusion(&self, on: &Measured) -> Fusion {
        let prompts = self.combined.prompts.prompt_weight();
        match (self.combined.name(), self.references.name) {
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
    /// The map's highest value.
    pub peak: f32,
    /// Where it is, 0..1 of the model's square.
    pub peak_at: (f32, f32),
    /// The map's median.
    pub median: f32,
}

impl HeldOutScore {
    /// Of what was found in a photo, in the places that count.
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

/// A further version of one of the reference photos, held out together with it.
pub(crate) struct Variant {
    /// Index of the reference photo.
    pub of: usize,
    pub features: Features,
}

/// A method that knows reference photos.
pub(crate) struct FittedFewShot {
    pub pair: FewShotMethod,
    pub model: Box<dyn ReferenceModel>,
    pub fusion: Fusion,
    pub places: Places,
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
        let join = |(scores, photo): (Vec<KindScore>, &&Features)| {
            let distances = self.model.compare(&self.pair.combined.split(photo).1, &self.places)?;
            Ok(self.fusion.join(scores, &distances, photo.grid, product, &self.places))
        };
        by_prompts.into_iter().zip(photos).map(join).collect()
    }
}

impl FittedFewShot {
    /// Fits the reference method, and scores each reference photo and its variants as if they were not among the
    /// references. A single photo cannot be held out: its variants, slightly other views of it, then say how far
    /// reference photos lie, and no score is returned.
    pub fn fit(
        pair: FewShotMethod,
        references: &[&Features],
        variants: &[Variant],
        product: &Product,
        options: FitOptions,
    ) -> Result<(Self, Vec<HeldOutScore>)> {
        let (places, grid) = (options.places, references[0].grid);
        let own = references.iter().copied().enumerate();
        let others = variants.iter().map(|variant| (variant.of, &variant.features));
        let (of, photos): (Vec<usize>, Vec<&Features>) = own.chain(others).unzip();
        let compared: Vec<Features> =
            photos.iter().map(|photo| pair.combined.split(photo).1).collect();
        let known: Vec<&Features> = compared[..references.len()].iter().collect();
        let model = (pair.references.fit)(&known, options)?;
        let distances =
            held_out_distances(pair.references, &*model, &known, &of, &compared, options)?;
        let by_prompts = pair.score(&photos, product)?;
        let is_single = references.len() == 1;
        let measured =
            if is_single { 1.min(variants.len())..photos.len() } else { 0..references.len() };
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
            HeldOutScore::new(&Outcome::new(joined, product), places, grid)
        });
        let held_out = if is_single { vec![] } else { held_out.collect() };
        Ok((Self { pair, model, fusion, places: places.clone() }, held_out))
    }
}

/// Of each photo the distances from a model that does not know the reference photo that it is `of`. `known`: the
/// reference photos.
fn held_out_distances(
    entry: &ReferenceEntry,
    model: &dyn ReferenceModel,
    known: &[&Features],
    of: &[usize],
    photos: &[Features],
    options: FitOptions,
) -> Result<Vec<Distances>> {
    let groups = known.len().min(GROUPS);
    let mut distances = vec![None; photos.len()];
    for group in 0..groups {
        let rest: Vec<&Features> = known
            .iter()
            .enumerate()
            .filter(|(i, _)| i % groups != group)
            .map(|(_, p)| *p)
            .collect();
        let without = match model.without(&|i| i % groups == group)? {
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
