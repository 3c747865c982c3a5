//! Measures a model and a method on labelled photos.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blemish::adapter::Adapter;
use blemish::data::{Layout, Part, Sample, Views, good_training_photos};
use blemish::eval::{EvalPrediction, Run, RunAbout, evaluate};
use blemish::files::files_sha256;
use blemish::image::BitDepth;
use blemish::mutual::{MutualOptions, MutualResults, UniquePhotos};
use blemish::profile::{Fuse, ReferenceModelAbout, TilesAbout};
use blemish::prompt::TextCache;
use blemish::reference::ReferenceEntry;
use blemish::scorer::LightScorer;
use blemish::{Detector, Error, Photo, Product, Prompts};
use indicatif::ProgressBar;

use super::about::{EvalAbout, Named, Protocol};
use super::args::{Names, RunArgs};
use super::plan::Plan;
use super::report::{EvalReport, Row};
use super::set::by_product;
use crate::cli::args::method::{OpenModel, ScoringMode};
use crate::cli::args::mutual::as_text;
use crate::cli::progress::{Notes, progress_bar};

pub fn run(plan: Plan) -> anyhow::Result<ExitCode> {
    let Plan { args, layout, samples, strays, method, mutual, views, prompt_file, prompts } = plan;
    let (mode, depth, quiet) = (method.mode, method.depth, method.quiet);
    let model = method.open()?;
    let reference =
        args.profile_from.map(|_| model.reference_method(args.reference_method.as_deref()));
    let setup = Setup {
        args,
        layout,
        model,
        mode,
        mutual,
        views,
        reference: reference.transpose()?,
        depth,
        quiet,
    };
    // Refuses what the model cannot do before anything is written.
    setup.model.detector()?;
    if let Some(references) = setup.reference {
        setup.enroll_options(references).check(&setup.model.clip)?;
    }
    let products = setup.products(&samples, &prompts)?;
    let about = setup.about(&products, prompt_file);
    let (part, parts) = args.shard.unwrap_or((0, 1));
    let mut measuring = Measuring {
        run: setup.begin_run(&about, &products, &samples)?,
        bar: progress_bar(samples.len().div_ceil(parts), quiet),
        notes: Notes::new(quiet),
        depth,
    };
    let (mut rows, mut first) = (Vec::new(), 0);
    for under_test in &products {
        let scoring = setup.scoring(under_test, &mut measuring)?;
        let mut look = |sample: &Sample| measuring.look(sample, &scoring, &under_test.product);
        let samples = &under_test.samples;
        if args.shard.is_none() {
            let scores = evaluate(samples, layout, args.set.curve, look)?;
            rows.push(Row { named: under_test.named.clone(), scores });
        } else {
            let own = samples.iter().enumerate().filter(|(i, _)| (first + i) % parts == part);
            own.map(|(_, sample)| look(sample)).try_for_each(|found| found.map(|_| ()))?;
        }
        first += samples.len();
    }
    measuring.bar.finish_and_clear();
    if args.shard.is_some() {
        return Ok(ExitCode::SUCCESS);
    }
    let report = EvalReport::new(about, args.set.curve, rows, strays);
    if let Some(run) = &measuring.run {
        report.write(layout, run, &samples)?;
    }
    report.print(layout, args.set.format, quiet)?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that is the same for all products.
pub struct Setup<'a> {
    pub args: &'a RunArgs,
    pub layout: Layout,
    pub model: OpenModel,
    pub mode: ScoringMode,
    pub mutual: Option<MutualOptions>,
    /// Which photos show one part, if parts have several.
    pub views: Option<(Views, Fuse)>,
    /// How photos are compared with references, with `--profile-from`.
    pub reference: Option<&'static ReferenceEntry>,
    pub depth: BitDepth,
    pub quiet: bool,
}

/// A product that is measured.
pub struct UnderTest<'a> {
    pub folder: &'a str,
    pub samples: Vec<&'a Sample>,
    pub product: Product,
    pub named: Named,
    /// The good training photos that its test photos are compared with.
    pub references: Vec<PathBuf>,
    /// The same, if parts have several photos.
    pub parts: Vec<Part>,
    /// Its test photos, if they are compared with each other.
    pub photos: Option<UniquePhotos>,
}

/// How a product's photos are scored.
pub enum Scoring {
    /// Each photo by itself.
    PerPhoto(Box<Detector>),
    /// Each part by its photos.
    Parts(Box<LightScorer>),
    /// Compared with each other: the results, and each photo's index in them and its hash.
    Mutual(Box<MutualResults>, HashMap<PathBuf, (usize, String)>),
    /// All results are known from an earlier run.
    Known,
}

impl Setup<'_> {
    /// The products with their prompts. Refuses an adapter that was trained on one of them.
    fn products<'s>(
        &self,
        samples: &'s [Sample],
        prompts: &Prompts,
    ) -> anyhow::Result<Vec<UnderTest<'s>>> {
        let by_product = by_product(samples);
        let leaks = self.leaks(&by_product)?;
        let several = by_product.len() > 1;
        let cache = TextCache::from_env();
        let under_test = |(folder, samples): (&'s str, Vec<&'s Sample>)| {
            let names = match self.args.names {
                _ if !self.args.product.is_empty() => self.args.product.clone(),
                _ if !several && prompts.names_product() => vec![],
                Names::Folder => vec![folder.to_string()],
                Names::Spaced => vec![folder.replace('_', " ")],
            };
            let product = self.model.product(&names, prompts, &cache)?;
            let parts = match (self.args.profile_from, &self.views) {
                (Some(count), Some((views, _))) => {
                    self.args.reference_parts(count, (self.layout, views), folder)?
                }
                _ => vec![],
            };
            let references = match (self.args.profile_from, self.args.baseline) {
                (Some(_), _) if self.views.is_some() => {
                    parts.iter().flat_map(|part| &part.photos).map(|(_, p)| p.clone()).collect()
                }
                (Some(count), _) => self.args.references(count, self.layout, folder)?,
                (None, Some(_)) => good_training_photos(&self.args.set.root, self.layout, folder)?,
                (None, None) => vec![],
            };
            let photos = self.mutual.as_ref().map(|mutual| self.read(&samples, mutual));
            let compared_sha256 = match &photos {
                Some(photos) => Some(photos.sha256()),
                None if references.is_empty() => None,
                None => Some(files_sha256(&references)?),
            };
            let is_known = self.model.adapter().is_none_or(|adapter| adapter.knows_products());
            let named = Named {
                name: product.name().to_string(),
                words_sha256: product.words_sha256(),
                leak: is_known.then(|| leaks.contains(&folder)),
                compared_sha256,
            };
            Ok(UnderTest { folder, samples, product, named, references, parts, photos })
        };
        by_product.into_iter().map(under_test).collect()
    }

    /// The products that the adapter was trained on, by their names or by their photos.
    fn leaks<'p>(
        &self,
        products: &BTreeMap<&'p str, Vec<&Sample>>,
    ) -> anyhow::Result<Vec<&'p str>> {
        let Some(adapter) = self.model.adapter() else { return Ok(vec![]) };
        let mut leaks = adapter.trained_on(products.keys().copied());
        for (product, samples) in products.iter().filter(|_| adapter.knows_photos()) {
            let has_learned = |sample: &&Sample| {
                // A photo that cannot be read is reported when it is scored.
                let hash = files_sha256(std::slice::from_ref(&sample.photo)).ok();
                hash.is_some_and(|hash| adapter.learned_from(&hash))
            };
            if !leaks.contains(product) && samples.iter().any(has_learned) {
                leaks.push(product);
            }
        }
        if leaks.is_empty() || self.args.allow_leak {
            return Ok(leaks);
        }
        let why = format!(
            "was trained on {}, so the result would not be zero-shot; use another adapter or --method winclip, or \
             mark the numbers with --allow-leak",
            leaks.join(", ")
        );
        Err(Error::setting(format!("the adapter {}", adapter.name()), why).into())
    }

    /// Reads a product's photos, because their contents decide the order of comparison.
    fn read(&self, samples: &[&Sample], mutual: &MutualOptions) -> UniquePhotos {
        let paths: Vec<PathBuf> = samples.iter().map(|sample| sample.photo.clone()).collect();
        let bar = progress_bar(paths.len(), self.quiet);
        let progress = |read| bar.set_position(read as u64);
        let photos = UniquePhotos::read(&paths, mutual.seed, &progress);
        bar.finish_and_clear();
        photos
    }

    /// What the numbers depend on.
    fn about(&self, products: &[UnderTest], prompts: String) -> EvalAbout {
        if let Some(baseline) = self.args.baseline {
            return EvalAbout {
                method: Some(baseline.name().into()),
                protocol: Some(Protocol::Trained),
                training_steps: Some(self.args.baseline_steps),
                fit: Some(self.model.fit.name().into()),
                bit_depth: Some(self.depth.bits()),
                ..EvalAbout::default()
            };
        }
        let (model, name) = (&self.model, self.model.entry.name);
        // Without prompts the adapter is not used.
        let has_prompts = self.mode != ScoringMode::Mutual
            || products.iter().any(|under_test| under_test.product.kinds().len() > 1);
        let adapter = model.adapter().filter(|_| has_prompts);
        let described = adapter.map(|adapter| Adapter::about(adapter));
        EvalAbout {
            maps: None,
            method: Some(match self.mode {
                ScoringMode::PerPhoto => name.into(),
                ScoringMode::Mutual => "mutual".into(),
                ScoringMode::Auto => format!("{name}+mutual"),
            }),
            protocol: Some(match (self.mode, self.args.profile_from) {
                (ScoringMode::PerPhoto, None) => Protocol::ZeroShot,
                (ScoringMode::PerPhoto, Some(_)) => Protocol::FewShot,
                _ => Protocol::Transductive,
            }),
            neighbours: self.mutual.as_ref().map(as_text),
            reference_method: self.reference.map(|entry| entry.name.into()),
            reference_blocks: self.reference.map(|entry| {
                let default = || entry.default_layers(model.clip.compared_shape());
                self.args.reference_blocks.clone().unwrap_or_else(default)
            }),
            references: self.args.profile_from.unwrap_or(0),
            augment: self.args.augment.iter().map(|augment| augment.name().into()).collect(),
            views: self.views.as_ref().map(|(views, fuse)| (views.pattern().into(), *fuse)),
            calibration: self
                .args
                .profile_from
                .map(|_| "the references, each held out in turn".into()),
            model: Some(model.clip.name().into()),
            model_sha256: Some(model.clip.sha256().into()),
            reference_model: model.clip.reference().map(ReferenceModelAbout::of),
            size: Some(model.clip.input_size()),
            training_steps: None,
            tiles: TilesAbout::of(model.clip.tiles()),
            fit: Some(model.fit.name().into()),
            activation: Some(model.clip.activation().name().into()),
            precision: Some(model.clip.precision().name().into()),
            bit_depth: Some(self.depth.bits()),
            prompts: Some(prompts),
            adapter: adapter.map(|a| a.name().into()),
            adapter_sha256: adapter.map(|a| a.sha256().into()),
            adapter_training_data: described.and_then(|a| a.training_data.clone()),
            adapter_licence: described.and_then(|a| a.licence.clone()),
        }
    }

    /// The folder of the run, with `--out`. It keeps the results.
    fn begin_run(
        &self,
        about: &EvalAbout,
        products: &[UnderTest],
        samples: &[Sample],
    ) -> anyhow::Result<Option<Run>> {
        let Some(folder) = &self.args.out else { return Ok(None) };
        if folder.join("run.json").exists() && !self.args.resume {
            let why = "holds a run; continue it with --resume, or give another folder";
            return Err(Error::setting(format!("out {}", folder.display()), why).into());
        }
        let root = &self.args.set.root;
        let named = |under_test: &UnderTest| {
            Ok((under_test.folder.to_string(), serde_json::to_value(&under_test.named)?))
        };
        let about = RunAbout {
            root: std::path::absolute(root)?,
            layout: self.layout.name().into(),
            products: products.iter().map(named).collect::<serde_json::Result<_>>()?,
            settings: serde_json::to_value(about)?,
            shard: self.args.shard,
        };
        let run = Run::begin(folder, &about, (root, samples), self.args.resume)?;
        if run.stale() > 0 && !self.quiet {
            say!(
                "note: {} results no longer hold (a line, photo or map was changed or cut); they are computed again",
                run.stale()
            );
        }
        Ok(Some(run))
    }
}

/// What is kept from photo to photo.
pub struct Measuring {
    pub run: Option<Run>,
    pub bar: ProgressBar,
    pub notes: Notes,
    pub depth: BitDepth,
}

impl Measuring {
    /// The score and the map of a photo. New ones are kept in the folder of the run.
    fn look(
        &mut self,
        sample: &Sample,
        scoring: &Scoring,
        product: &Product,
    ) -> blemish::Result<EvalPrediction> {
        // The bar counts encoded photos. Photos that are compared with each other were encoded before.
        if !matches!(scoring, Scoring::Mutual(..)) {
            self.bar.inc(1);
        }
        if let Some(known) = self.run.as_ref().map(|run| run.known(sample)).transpose()?.flatten() {
            return Ok(known);
        }
        let (finding, sha256) = match scoring {
            Scoring::Mutual(results, index) => {
                let (at, sha256) = &index[&sample.photo];
                (results.finding(*at), sha256.clone())
            }
            Scoring::Parts(scorer) => {
                let sha256 = self.sha256(sample)?;
                let part = sample.part.as_ref().ok_or_else(|| gone(&sample.photo))?;
                (scorer.score(part, self.depth)?.finding, sha256)
            }
            Scoring::PerPhoto(detector) => {
                let sha256 = self.sha256(sample)?;
                let photo = Photo::open(&sample.photo, self.depth)?;
                self.notes.say(&self.bar, &sample.photo, &photo);
                (detector.inspect(&photo, product)?, sha256)
            }
            Scoring::Known => return Err(gone(&sample.photo)),
        };
        let found = EvalPrediction { score: finding.score, map: finding.map };
        if let Some(run) = &mut self.run {
            run.keep(sample, &found, sha256, blemish::render::tiff)?;
        }
        Ok(found)
    }
}

impl Measuring {
    /// The hash of the photos, if it is kept. It is computed before they are opened, because a file may be replaced meanwhile.
    fn sha256(&self, sample: &Sample) -> blemish::Result<String> {
        match &self.run {
            Some(_) => files_sha256(&sample.files()),
            None => Ok(String::new()),
        }
    }
}

/// The error when a result has disappeared since the run began.
fn gone(photo: &Path) -> Error {
    Error::Data { path: photo.into(), why: "its result is gone; resume the run again".into() }
}
