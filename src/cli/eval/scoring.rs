//! How the photos of a product are scored: each by itself, part by part, or compared with each other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use blemish::Detector;
use blemish::autoencoder::{self, Autoencoder, AutoencoderOptions};
use blemish::data::Views;
use blemish::eval::Run;
use blemish::mutual::Watch;
use blemish::profile::{EnrollOptions, EnrollParts, EnrollPhotos, Fuse, enroll, enroll_lights};
use blemish::reference::ReferenceEntry;
use blemish::scorer::{Context, LightScorer};

use super::measure::{Measuring, Scoring, Setup, UnderTest};
use crate::cli::args::mutual::mutual_setup;
use crate::cli::progress::StepBar;

impl Setup<'_> {
    /// Prepares the scoring of a product's photos. If they are compared with each other, this encodes them.
    pub fn scoring(
        &self,
        under_test: &UnderTest,
        measuring: &mut Measuring,
    ) -> anyhow::Result<Scoring> {
        if let Some((views, fuse)) = &self.views {
            return Ok(Scoring::Parts(Box::new(self.by_parts(under_test, (views, *fuse))?)));
        }
        let (Some(mutual), Some(photos)) = (&self.mutual, &under_test.photos) else {
            let detector = match (self.reference, self.args.baseline) {
                (Some(entry), _) => self.enrolled(under_test, entry)?,
                (None, Some(baseline)) => self.trained(under_test, baseline)?,
                (None, None) => self.model.detector()?,
            };
            return Ok(Scoring::PerPhoto(Box::new(detector)));
        };
        let is_known = |run: &Run| under_test.samples.iter().all(|sample| run.has(sample));
        if measuring.run.as_ref().is_some_and(is_known) {
            return Ok(Scoring::Known);
        }
        let setup = mutual_setup(mutual.clone(), &self.model, &under_test.product, false)?;
        let mut scorer = setup.scorer(photos.count())?;
        let watch = Watch { progress: &|_| measuring.bar.inc(1), ..Watch::default() };
        let encoded = scorer.add_photos(photos, watch);
        encoded.note.iter().for_each(|note| measuring.notes.once(&measuring.bar, note));
        let mut index = HashMap::new();
        for (i, path) in photos.paths().iter().enumerate() {
            match encoded.index(photos, i) {
                Some(Ok(at)) => {
                    index.insert(path.clone(), (at, photos.sha256_of(i).to_string()));
                }
                Some(Err(error)) => anyhow::bail!("{error}"),
                None => {}
            }
        }
        Ok(Scoring::Mutual(Box::new(scorer.finish()?), index))
    }

    pub fn enroll_options(&self, references: &'static ReferenceEntry) -> EnrollOptions<'_> {
        EnrollOptions {
            method: self.model.entry,
            inputs: self.model.inputs.clone(),
            references,
            layers: self.args.reference_blocks.clone(),
            augment: &self.args.augment,
            fit: self.model.fit,
            depth: self.depth,
            simulates_damage: false,
            ..EnrollOptions::default()
        }
    }

    /// Scores parts by prompts, or compares them with a product's good training parts.
    fn by_parts(
        &self,
        under_test: &UnderTest,
        (views, fuse): (&Views, Fuse),
    ) -> anyhow::Result<LightScorer> {
        let (model, product) = (&self.model, &under_test.product);
        let Some(entry) = self.reference else {
            let first = under_test.samples.iter().find_map(|sample| sample.part.as_ref());
            let detector = |(light, _): &(String, PathBuf)| Ok((light.clone(), model.detector()?));
            let lights = first.map_or(&[][..], |part| &part.photos).iter().map(detector);
            let lights = lights.collect::<anyhow::Result<Vec<_>>>()?;
            let (clip, adapter) = (model.clip.clone(), model.adapter().cloned());
            let context = Context::by_prompts(product.clone(), clip, adapter, model.fit, None);
            return Ok(LightScorer::by_prompts(context, lights, fuse));
        };
        let options = self.enroll_options(entry);
        let parts = EnrollParts { references: &under_test.parts, calibration: &[] };
        let mut enrolled = enroll_lights(&model.clip, product, parts, (views, fuse), &options)?;
        match enrolled.unusable.pop() {
            Some(error) => Err(error.into()),
            None => {
                let (name, clip) = (PathBuf::from(under_test.folder), model.clip.clone());
                Ok(LightScorer::by_profile(name, enrolled.profile, clip, None)?)
            }
        }
    }

    /// A detector that compares photos with a product's good training photos.
    fn trained(&self, under_test: &UnderTest, baseline: Autoencoder) -> anyhow::Result<Detector> {
        let (bar, start) = (StepBar::new(self.quiet), Instant::now());
        let options = AutoencoderOptions {
            steps: self.args.baseline_steps,
            fit: self.model.fit,
            depth: self.depth,
            seed: 0,
            progress: &|share, loss| bar.show(&format!("training, loss {loss:.4}"), share),
        };
        let detector = autoencoder::train(baseline, &under_test.references, &options);
        bar.finish();
        if !self.quiet {
            let (name, photos) = (under_test.folder, under_test.references.len());
            let seconds = start.elapsed().as_secs_f64();
            say!("{name}: {} trained on {photos} photos in {seconds:.0} s", baseline.name());
        }
        Ok(detector?)
    }

    fn enrolled(
        &self,
        under_test: &UnderTest,
        references: &'static ReferenceEntry,
    ) -> anyhow::Result<Detector> {
        let options = self.enroll_options(references);
        let photos = EnrollPhotos { references: &under_test.references, calibration: &[] };
        let (clip, product) = (self.model.clip.clone(), under_test.product.clone());
        let mut enrolled = enroll(clip.clone(), product, photos, &options)?;
        match enrolled.unreadable.pop() {
            Some(error) => Err(error.into()),
            None => Ok(enrolled.profile.detector(clip)?),
        }
    }
}
