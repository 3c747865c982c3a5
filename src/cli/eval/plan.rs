//! Resolves and checks the flags of `blemish eval` before a model is opened.

use std::path::PathBuf;

use blemish::data::{Layout, Part, Sample, Views, good_training_photos, parts, stray, whole_parts};
use blemish::mutual::{ENOUGH, MutualOptions};
use blemish::profile::Fuse;
use blemish::{Error, Prompts};

use super::args::RunArgs;
use super::set::{by_product, paths_of};
use crate::cli::args::method::{MethodChoice, ScoringMode};
use crate::cli::inputs::{check_writable, mark_results};

pub struct Plan<'a> {
    pub args: &'a RunArgs,
    pub layout: Layout,
    pub samples: Vec<Sample>,
    /// Files that are not part of the set.
    pub strays: Vec<PathBuf>,
    pub method: MethodChoice,
    /// How photos are compared with each other. None: each photo is scored by itself.
    pub mutual: Option<MutualOptions>,
    /// Which photos show one part, if parts have several.
    pub views: Option<(Views, Fuse)>,
    /// The prompt file as it was given, and its prompts.
    pub prompt_file: String,
    pub prompts: Prompts,
}

pub fn resolve(args: &RunArgs, layout: Layout) -> anyhow::Result<Plan<'_>> {
    if args.false_alarm.is_some() {
        return Err(Error::setting("false-alarm", "needs --profile").into());
    }
    let mut method = args.method.resolve(default_mode(args, layout))?;
    let compares = method.mode != ScoringMode::PerPhoto || args.profile_from.is_some();
    args.reference_model.check(compares, "needs --profile-from, or --method mutual or auto")?;
    let views = views(args, layout)?;
    let mut mutual = mutual(args, &method, views.is_some())?;
    let samples = args.samples(layout)?;
    let is_few = by_product(&samples).values().any(|photos| photos.len() < ENOUGH);
    let is_asked = args.mutual.given().is_some() || args.reference_model.is_given();
    if args.method.is_default() && !is_asked && is_few {
        (method.mode, mutual) = (ScoringMode::PerPhoto, None);
    }
    // Who marked some photos left the others out on purpose.
    let mut strays = match args.marks {
        Some(_) => vec![],
        None => stray(&args.set.root, layout, &samples)?,
    };
    if args.profile_from.is_some() || args.baseline.is_some() {
        // The photos are compared with these.
        strays.retain(|path| !path.starts_with("train/good"));
    }
    let samples = match &views {
        Some((views, _)) => parts(samples, views)?,
        None => samples,
    };
    let products = by_product(&samples).len();
    if products > 1 && !args.product.is_empty() {
        let why = format!(
            "the photos are of {products} products; leave the flag out: the folders name them"
        );
        return Err(Error::setting("product", why).into());
    }
    if let Some(folder) = &args.out {
        check_writable("out", folder)?;
        mark_results(std::slice::from_ref(folder), &paths_of(&samples))?;
    }
    let method = method.comparing_by(args.reference_model.resolve());
    let tiles = args.tiles.resolve(&paths_of(&samples), method.fit)?;
    let method = method.tiled(tiles);
    let file = args.prompts.clone().unwrap_or(method.entry.prompts.into());
    let prompts = Prompts::open(&file)?;
    let prompt_file = file.display().to_string();
    Ok(Plan { args, layout, samples, strays, method, mutual, views, prompt_file, prompts })
}

/// How photos are compared with each other, if they are.
fn mutual(
    args: &RunArgs,
    method: &MethodChoice,
    has_views: bool,
) -> anyhow::Result<Option<MutualOptions>> {
    Ok(match (method.mode, args.mutual.given()) {
        (ScoringMode::Mutual | ScoringMode::Auto, _) if has_views => {
            let why =
                "parts with several photos are not compared with each other; leave --method out";
            return Err(Error::setting("views", why).into());
        }
        (ScoringMode::PerPhoto, Some(flag)) => {
            return Err(Error::setting(flag, "is for --method mutual and auto").into());
        }
        (ScoringMode::PerPhoto, None) => None,
        _ if args.shard.is_some() => {
            return Err(Error::setting(
                "shard",
                "a part of the photos cannot be compared with all others",
            )
            .into());
        }
        _ if args.profile_from.is_some() => {
            return Err(Error::setting(
                "profile-from",
                "good parts take the place of the other photos",
            )
            .into());
        }
        _ => Some(args.mutual.resolve(method)?),
    })
}

/// Which photos show one part.
fn views(args: &RunArgs, layout: Layout) -> blemish::Result<Option<(Views, Fuse)>> {
    match (args.views.resolve()?, layout) {
        (None, Layout::Eyecandies) => {
            Ok(Some((Views::parse("{part}_image_{light}.png")?, Fuse::default())))
        }
        (given, _) => Ok(given),
    }
}

/// How photos are scored without `--method`. Your own photos are scored as `score` does it. On a published set the
/// numbers are zero-shot, so they must not depend on other photos.
fn default_mode(args: &RunArgs, layout: Layout) -> ScoringMode {
    let has_parts = args.views.views.is_some();
    let is_alone =
        has_parts || args.shard.is_some() || args.profile_from.is_some() || args.baseline.is_some();
    match layout {
        Layout::Folder if !is_alone => ScoringMode::Auto,
        _ => ScoringMode::PerPhoto,
    }
}

impl RunArgs {
    /// The labelled photos: by their folders, or by a person's marks.
    pub fn samples(&self, layout: Layout) -> anyhow::Result<Vec<Sample>> {
        match &self.marks {
            None => self.set.samples(layout),
            Some(_) if layout != Layout::Folder => {
                Err(Error::setting("marks", "is for `eval folder`").into())
            }
            Some(marks) => self.set.marked(marks),
        }
    }

    /// The first `count` good training photos of a product.
    pub fn references(
        &self,
        count: usize,
        layout: Layout,
        product: &str,
    ) -> anyhow::Result<Vec<PathBuf>> {
        let mut photos = good_training_photos(&self.set.root, layout, product)?;
        self.check_count(count, photos.len(), product)?;
        photos.truncate(count);
        Ok(photos)
    }

    /// The first `count` good training parts of a product.
    pub fn reference_parts(
        &self,
        count: usize,
        (layout, views): (Layout, &Views),
        product: &str,
    ) -> anyhow::Result<Vec<Part>> {
        let photos = good_training_photos(&self.set.root, layout, product)?;
        let mut parts = whole_parts(&photos, views)?;
        self.check_count(count, parts.len(), product)?;
        parts.truncate(count);
        Ok(parts)
    }

    fn check_count(&self, wanted: usize, found: usize, product: &str) -> blemish::Result<()> {
        if found >= wanted {
            return Ok(());
        }
        let why = format!("has {found} good training photos of {product}, fewer than {wanted}");
        Err(Error::Data { path: self.set.root.clone(), why })
    }
}
