//! `blemish score`: an anomaly score and a map for every photo.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use blemish::report::Format;
use blemish::{Error, Folder, Profile, Role};
use clap::ValueEnum;

use super::early::Hashing;
use super::folder::{FolderArgs, HEADING};
use super::inputs::Inputs;
use super::results::Results;
use super::scorer::Scorer;
use super::setup::{Judges, MethodArgs, ProductArgs};
use super::together;

/// Score photos of a product, from its name and from each other.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  blemish score photos/ --product \"metal nut\" --out out/
  blemish score 'line3/*.jpg' --product zipper --format csv > scores.csv
  blemish score photos/ --product \"steel plate\" --prompts inspection --detect scratch,dent --ignore \"mill scale\"
  blemish score photos/ --product \"metal nut\" --model ViT-B-16-plus-240 --out out/ --save-map
  blemish score photos/ --product \"metal nut\" --method mutual --against 200
  blemish score photos/ --profile nut.blemish --out out/

Scores run from 0 to 1, higher is more anomalous; compare them within one product and model, and those of photos that
judged each other (from 8 on; --method fused judges each by words alone) within one run. Exit
code: 0 when every photo was scored; 1 when some could not be, or the model or the output is not to be
had; 2 for a mistake in the command; 130 after Ctrl-C, when photos that judge each other and were looked at are scored by
words.")]
pub struct Args {
    /// Photos, folders (searched with their subfolders) or patterns in quotes. PNG, JPEG, BMP, TIFF, WebP.
    #[arg(required = true)]
    photos: Vec<PathBuf>,
    #[command(flatten)]
    pub product: ProductArgs,
    /// A product that was enrolled (`blemish enroll`): its words, good parts and line between ok and ng.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["product", "prompts", "detect", "ignore",
          "adapter", "blocks", "fit", "size", "activation", "bit_depth", "roi"])]
    pub profile: Option<PathBuf>,
    /// Another share of good parts that may be called ng than the profile's, 0..1.
    #[arg(long, value_name = "RATE")]
    pub false_alarm: Option<f64>,
    /// Write heat-map overlays (PNG, at the photos' size) into this folder, mirroring theirs.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write each map as a float32 TIFF, and one for each kind of defect.
    #[arg(long, requires = "out")]
    pub save_map: bool,
    /// Colours of the overlays: the same for all photos, or stretched for each. With --profile the good parts fix them, and
    /// what hardly goes beyond those stays grey; `image` shows where each photo is hottest.
    #[arg(long, value_enum, default_value = "run", requires = "out")]
    pub scale: ScaleOf,
    /// Score one part of the photos by words alone, or with a profile: I of N from 0; N alone takes I from JOB_COMPLETION_INDEX
    /// or SLURM_ARRAY_TASK_ID. The parts' results one after another are those of all photos.
    #[arg(long, value_name = "I/N", value_parser = super::shard::parse)]
    pub shard: Option<(usize, usize)>,
    /// A picture of the photos' shape, white where to look: what is black never counts.
    #[arg(long, value_name = "MASK")]
    pub roi: Option<PathBuf>,
    /// How to print results; a table by default on a terminal, JSON Lines otherwise.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub method: MethodArgs,
    #[command(flatten)]
    pub folder: FolderArgs,
    /// Where the folder seems to hold two products, compare the photos of each with each other alone.
    #[arg(long, help_heading = HEADING)]
    pub apart: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ScaleOf {
    Run,
    Image,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut depth = args.method.begin()?;
    let profile = args.profile.as_ref().map(Profile::open).transpose()?;
    if let Some(profile) = &profile {
        depth = profile.bit_depth()?;
    }
    if let Some(rate) = args.false_alarm {
        if profile.is_none() {
            let why = "needs --profile: words alone draw no line".to_string();
            return Err(Error::Setting { setting: "--false-alarm".into(), why }.into());
        }
        super::decide::check_rate(rate)?;
    }
    let judges = args.judges()?;
    let mut inputs = Inputs::find(&args.photos, args.out.as_deref());
    inputs.errors.iter().for_each(|error| say!("{error}"));
    if inputs.photos.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    // What cannot work is said before the model is loaded.
    let (prompts, defect_files) = match &profile {
        Some(profile) => {
            let kinds = profile.product().kinds().iter().map(|kind| (kind.role, &*kind.name));
            (None, defect_files(kinds))
        }
        None => {
            let (_, prompts) = args.product.prompts(args.method.words()?)?;
            let groups = prompts.expand(&args.product.names)?;
            let files = defect_files(groups.iter().map(|(role, name, _)| (*role, *name)));
            (Some(prompts), files)
        }
    };
    let targets = match &args.out {
        Some(out) => {
            let mut files = vec!["png"];
            if args.save_map {
                files.push("tiff");
                files.extend(defect_files.iter().map(|file| &**file));
            }
            let targets = inputs.targets(out, &files)?;
            check_writable("--out", out)?;
            targets.into_iter().map(Some).collect()
        }
        None => vec![None; inputs.photos.len()],
    };
    // After the names of all results are known: two parts never give one name to two photos.
    let (part, parts) = args.shard.unwrap_or((0, 1));
    let photos = std::mem::take(&mut inputs.photos).into_iter().zip(targets).enumerate();
    let (photos, targets): (Vec<PathBuf>, Vec<Option<PathBuf>>) =
        photos.filter(|(i, _)| i % parts == part).map(|(_, photo)| photo).unzip();
    let quiet = args.method.model.quiet;
    let is_folder = match judges {
        Judges::Words => false,
        Judges::Auto => photos.len() >= Folder::ENOUGH,
        Judges::Mutual => true,
    };
    // While the photos are read the model is opened.
    let hashing = is_folder.then(|| Hashing::begin(&photos));
    let (scorer, model) = match (profile, &prompts) {
        (Some(profile), _) => (Scorer::enrolled(args, profile, defect_files)?, None),
        (None, Some(prompts)) => {
            let (scorer, model) = Scorer::new(args, prompts, defect_files)?;
            (scorer, Some(model))
        }
        (None, None) => unreachable!("words come from a profile or from prompts"),
    };
    let failed = inputs.errors.len();
    let mut results = Results::new(&scorer, photos, targets, depth, failed);
    let is_done = match (hashing, &model) {
        (Some(hashing), Some(model)) => together::score(&mut results, hashing, model, judges)?,
        _ => false,
    };
    if !is_done {
        if let (Judges::Auto, Some(flag), false) = (judges, args.folder.given(), quiet) {
            let few = Folder::ENOUGH;
            say!(
                "note: {flag} has no effect on fewer than {few} photos, which are judged by words alone"
            );
        }
        results.one_by_one(model.as_ref())?;
    }
    Ok(results.finish())
}

impl Args {
    /// How the photos are judged: never by each other where a profile's line between ok and ng has to hold, or where
    /// only a part of them is there.
    fn judges(&self) -> anyhow::Result<Judges> {
        let judges = self.method.judges(Judges::Auto);
        let refuse = |setting: &str, why: &str| {
            Err(Error::Setting { setting: setting.into(), why: why.into() }.into())
        };
        if self.profile.is_some() && self.method.is_given() && judges != Judges::Auto {
            return refuse("--method", "a profile brings its own; leave it out, or take auto");
        }
        if self.shard.is_some() && judges == Judges::Mutual {
            return refuse("--shard", "--method mutual needs all photos at once");
        }
        let judges = match judges {
            Judges::Auto if self.profile.is_some() || self.shard.is_some() => Judges::Words,
            judges => judges,
        };
        let given = self.folder.given().or(self.apart.then_some("--apart"));
        if let (Judges::Words, Some(flag)) = (judges, given) {
            return refuse(flag, "is for --method mutual and auto, without --profile and --shard");
        }
        self.folder.check()?;
        Ok(judges)
    }
}

/// For each kind of defect the end of its map's name, each another.
fn defect_files<'a>(kinds: impl Iterator<Item = (Role, &'a str)>) -> Vec<String> {
    let mut used = HashSet::new();
    let defects = kinds.filter(|(role, _)| *role == Role::Defect);
    let name = |(_, name): (Role, &str)| {
        let plain = name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
        let mut name: String = plain.take(60).collect();
        while !used.insert(name.to_lowercase()) {
            name.push('-');
        }
        format!("defects/{name}.tiff")
    };
    defects.map(name).collect()
}

/// Finds out before the run whether results can be kept in a folder.
pub fn check_writable(flag: &str, out: &Path) -> blemish::Result<()> {
    if out.exists() && !out.is_dir() {
        let why = "is a file; give a folder".to_string();
        return Err(Error::Setting { setting: format!("{flag} {}", out.display()), why });
    }
    blemish::files::check_folder(out)
}
