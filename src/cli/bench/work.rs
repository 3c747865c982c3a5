//! What is timed: each photo by itself, or a folder as a whole.

use std::path::PathBuf;
use std::time::Instant;

use blemish::detect::Finding;
use blemish::image::BitDepth;
use blemish::mutual::{MutualOptions, MutualOutcome, MutualScores, MutualSetup, Watch};
use blemish::performance::{Differences, StageTimes, peak_memory, photos_per_second, stages};
use blemish::{Detector, Error, Photo, Product};

use super::measured::{Machine, Measured, Stages};
use crate::cli::args::method::OpenModel;
use crate::cli::args::mutual::mutual_setup;
use crate::cli::progress::progress_bar;

/// A model with a method, and the photos to score.
pub struct Work<'a> {
    product: Product,
    photos: &'a [PathBuf],
    depth: BitDepth,
    how: How,
}

enum How {
    PerPhoto(Box<Detector>),
    Folder(Box<MutualSetup>),
}

impl<'a> Work<'a> {
    /// `mutual`: how photos are compared with each other, if they are.
    pub fn new(
        model: &OpenModel,
        product: Product,
        mutual: Option<&MutualOptions>,
        photos: &'a [PathBuf],
        depth: BitDepth,
    ) -> anyhow::Result<Self> {
        let how = match mutual {
            None => How::PerPhoto(model.detector()?.into()),
            Some(options) => {
                How::Folder(mutual_setup(options.clone(), model, &product, false)?.into())
            }
        };
        Ok(Self { product, photos, depth, how })
    }

    /// `prompts`: the time that the product's prompts took, in milliseconds.
    pub fn measure(
        &self,
        model: &OpenModel,
        machine: &Machine,
        prompts: f64,
        rounds: u16,
        quiet: bool,
    ) -> anyhow::Result<Measured> {
        let stages = match &self.how {
            How::PerPhoto(detector) => {
                Some(self.stages(detector, machine, rounds.into(), quiet)?)
            }
            How::Folder(_) => None,
        };
        let bar = progress_bar(rounds.into(), quiet);
        let rates = (0..rounds).map(|_| {
            bar.inc(1);
            self.rate()
        });
        let photos_per_second = median(rates.collect::<anyhow::Result<_>>()?);
        bar.finish_and_clear();
        Ok(Measured {
            model: model.clip.name().into(),
            size: model.clip.size(),
            precision: model.clip.precision().name(),
            method: match &self.how {
                How::PerPhoto(detector) => detector.method().name(),
                How::Folder(setup) if setup.options.with_prompts => "auto",
                How::Folder(_) => "mutual",
            },
            photos: self.photos.len(),
            rounds: rounds.into(),
            stages,
            photos_per_second,
            prompts,
            prompt_count: self.product.all_kinds().map(|kind| kind.prompts.len()).sum(),
            peak_memory: peak_memory(),
        })
    }

    fn stages(
        &self,
        detector: &Detector,
        machine: &Machine,
        rounds: usize,
        quiet: bool,
    ) -> anyhow::Result<Stages> {
        // The first photo pays for the first touch of the memory.
        stages(detector, &self.product, &self.photos[0], self.depth)?;
        let bar = progress_bar(self.photos.len() * rounds, quiet);
        let mut times = Vec::new();
        for path in self.photos.iter().cycle().take(self.photos.len() * rounds) {
            times.push(stages(detector, &self.product, path, self.depth)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let median = |of: fn(&StageTimes) -> f64| median(times.iter().map(of).collect());
        let (encode, gflop) = (median(|t| t.encode), median(|t| t.operations as f64) / 1e9);
        let counted = (gflop > 0.0).then_some(gflop);
        let gflops = counted.map(|gflop| gflop / encode * 1e3);
        Ok(Stages {
            read: median(|t| t.read),
            prepare: median(|t| t.prepare),
            encode,
            score: median(|t| t.score),
            encode_gflop: counted,
            encode_gflops: gflops,
            encode_share: gflops.map(|gflops| gflops / machine.product_gflops),
        })
    }

    /// Photos per second of one round.
    fn rate(&self) -> anyhow::Result<f64> {
        let start = Instant::now();
        match &self.how {
            How::PerPhoto(detector) => {
                return Ok(photos_per_second(detector, &self.product, self.photos, self.depth)?);
            }
            How::Folder(setup) => self.folder(setup)?,
        };
        Ok(self.photos.len() as f64 / start.elapsed().as_secs_f64())
    }

    /// The results of a folder. Every photo must have one.
    fn folder(&self, setup: &MutualSetup) -> anyhow::Result<MutualScores> {
        let outcome = blemish::mutual::score_photos(self.photos, setup, Watch::default())?;
        let MutualOutcome::Scored(scores) = outcome else {
            return Err(blemish::reference::Musc::too_few().into());
        };
        let without = (0..self.photos.len()).find(|photo| scores.find(*photo).is_none());
        match without {
            None => Ok(scores),
            Some(photo) => {
                Photo::open(&self.photos[photo], self.depth)?;
                let name = self.photos[photo].display().to_string();
                Err(Error::setting(name, "has no result; leave this photo out").into())
            }
        }
    }

    /// Adds the differences of all photos to `differences`. `other`: the same photos and method.
    pub fn compare(
        &self,
        other: &Self,
        quiet: bool,
        differences: &mut Differences,
    ) -> anyhow::Result<()> {
        let bar = progress_bar(self.photos.len(), quiet);
        let mut add = |a: &Finding, b: &Finding| {
            differences.add(a, b);
            bar.inc(1);
        };
        match (&self.how, &other.how) {
            (How::PerPhoto(a), How::PerPhoto(b)) => {
                for path in self.photos {
                    let photo = Photo::open(path, self.depth)?;
                    let score = |detector: &Detector| {
                        let encoded = detector.encode(&detector.prepare(&photo))?;
                        detector.score(&encoded, &self.product)
                    };
                    add(&score(a)?, &score(b)?);
                }
            }
            (How::Folder(a), How::Folder(b)) => {
                let (a, b) = (self.folder(a)?, self.folder(b)?);
                for photo in 0..self.photos.len() {
                    if let (Some((a, i)), Some((b, j))) = (a.find(photo), b.find(photo)) {
                        add(&a.results.finding(i), &b.results.finding(j));
                    }
                }
            }
            _ => return Err(Error::setting("compare", "needs the same method twice").into()),
        }
        bar.finish_and_clear();
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
