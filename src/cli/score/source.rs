//! What the photos of `blemish score` are scored with: a profile, several, or prompts.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use blemish::data::Views;
use blemish::mutual::MutualOptions;
use blemish::profile::LightsProfile;
use blemish::reference::{RegionShape, Repeated};
use blemish::{Error, Profile};

use super::args::Args;
use crate::cli::args::method::{MethodChoice, ScoringMode};
use crate::cli::args::model::ModelChoice;
use crate::cli::args::product::ProductChoice;
use crate::cli::args::rate::check_rate;
use crate::cli::inputs::PAGE;
use crate::cli::printer::Format;

/// What the photos are scored with.
pub enum Source {
    /// A profile, which brings everything but the model.
    Profile(Box<ByProfile>),
    /// A profile of parts that have several photos.
    Lights(Box<ByLights>),
    /// Several profiles, one of which fits a photo.
    Profiles(Box<ByProfiles>),
    /// Prompts, and the other photos of the folder.
    Prompts(Box<ByPrompts>),
}

pub struct ByProfile {
    pub file: PathBuf,
    pub profile: Profile,
    pub model: ModelChoice,
    /// Replaces the profile's own rate.
    pub false_alarm: Option<f64>,
}

pub struct ByLights {
    pub file: PathBuf,
    pub profile: LightsProfile,
    /// Which photos show one part: as given, or as enrolled.
    pub views: Views,
    pub model: ModelChoice,
    pub false_alarm: Option<f64>,
}

pub struct ByProfiles {
    pub folder: PathBuf,
    /// With the names of their files without ending.
    pub profiles: Vec<(String, PathBuf, Profile)>,
    pub model: ModelChoice,
    pub false_alarm: Option<f64>,
    pub out: Option<PathBuf>,
}

pub struct ByPrompts {
    pub product: ProductChoice,
    pub method: MethodChoice,
    /// How the photos are compared with each other. None: each photo is scored by itself.
    pub mutual: Option<MutualOptions>,
    /// The first flag that was given for the comparison.
    pub mutual_flag: Option<&'static str>,
    pub roi: Option<RegionShape>,
    /// Whether two products in the folder are scored apart.
    pub apart: bool,
    /// What is said of groups of photos that share something odd.
    pub repeated: Vec<(PathBuf, Repeated)>,
}

impl Source {
    /// A profile or several. None for prompts.
    pub fn of_profiles(args: &Args) -> anyhow::Result<Option<Self>> {
        Ok(match (&args.profile, &args.profiles) {
            (Some(file), _) if LightsProfile::is_one(file) => {
                Some(Self::Lights(Box::new(by_lights(args, file.clone())?)))
            }
            (Some(file), _) => Some(Self::Profile(Box::new(by_profile(args, file.clone())?))),
            (None, Some(folder)) => Some(Self::Profiles(Box::new(by_profiles(args, folder)?))),
            (None, None) => None,
        })
    }
}

fn by_lights(args: &Args, file: PathBuf) -> anyhow::Result<ByLights> {
    let model = model_for_profiles(args)?;
    let given = args.views.for_profile()?;
    if args.copy_to.is_some() {
        let why = "copies single photos, and this profile is of parts with several";
        return Err(Error::setting("copy-to", why).into());
    }
    let profile = LightsProfile::open(&file)?;
    let views = given.map_or_else(|| Views::parse(&profile.about().views), Ok)?;
    Ok(ByLights { file, profile, views, model, false_alarm: args.false_alarm })
}

fn by_profile(args: &Args, file: PathBuf) -> anyhow::Result<ByProfile> {
    let model = model_for_profiles(args)?;
    let profile = Profile::open(&file)?;
    if args.views.views.is_some() {
        let why = "the profile is of single photos; enroll again with --views";
        return Err(Error::setting("views", why).into());
    }
    Ok(ByProfile { file, profile, model, false_alarm: args.false_alarm })
}

/// The model of a profile, after the flags that go with one were checked.
fn model_for_profiles(args: &Args) -> anyhow::Result<ModelChoice> {
    let model = args.method.resolve_for_profile()?;
    if let Some(flag) = mutual_flag(args) {
        return Err(refuse_alone(flag));
    }
    args.false_alarm.map_or(Ok(()), check_rate)?;
    Ok(model.comparing_by(args.reference_model.resolve()))
}

fn by_profiles(args: &Args, folder: &Path) -> anyhow::Result<ByProfiles> {
    let model = model_for_profiles(args)?;
    let refuse = |why: &str| Error::setting(format!("profiles {}", folder.display()), why);
    if args.format == Some(Format::Csv) {
        return Err(
            Error::setting("format csv", "profiles have different columns; give jsonl").into()
        );
    }
    let files = std::fs::read_dir(folder)
        .map_err(|source| Error::Read { path: folder.to_path_buf(), source })?;
    let files = files.collect::<std::io::Result<Vec<_>>>();
    let files = files.map_err(|source| Error::Read { path: folder.to_path_buf(), source })?;
    let files = files.into_iter().map(|entry| entry.path());
    // A file with this ending that is no profile is an error: its product would be missing.
    let is_meant = |file: &PathBuf| {
        file.extension().is_some_and(|ending| ending == "blemish") || Profile::is_one(file)
    };
    let mut files: Vec<PathBuf> = files.filter(is_meant).collect();
    files.sort();
    if files.is_empty() {
        return Err(refuse("has no profile; `blemish enroll` writes them").into());
    }
    let mut profiles = Vec::<(String, PathBuf, Profile)>::new();
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        // Each profile has a folder of results.
        let is_taken = ["index_files", PAGE].contains(&&*name.to_lowercase());
        if name.starts_with('.') || is_taken {
            let why =
                format!("has {}, which cannot be the name of a folder; rename it", file.display());
            return Err(refuse(&why).into());
        }
        if profiles.iter().any(|(other, ..)| other.to_lowercase() == name.to_lowercase()) {
            return Err(
                refuse(&format!("has two profiles with the name {name}; rename one")).into()
            );
        }
        let profile = Profile::open(&file)?;
        profiles.push((name, file, profile));
    }
    let depths: HashSet<u8> = profiles.iter().map(|(.., p)| p.about().bit_depth).collect();
    if depths.len() > 1 {
        return Err(refuse("has profiles with different --bit-depth; score them one by one").into());
    }
    let (folder, out) = (folder.to_path_buf(), args.out.clone());
    Ok(ByProfiles { folder, profiles, model, false_alarm: args.false_alarm, out })
}

/// The method, and how photos are compared with each other. None: each photo is scored alone.
pub fn comparison(args: &Args) -> anyhow::Result<(MethodChoice, Option<MutualOptions>)> {
    let for_profiles = [
        ("false-alarm", args.false_alarm.is_some()),
        ("fail-on", args.fail_on.is_some()),
        ("copy-to", args.copy_to.is_some()),
    ];
    if let Some((flag, _)) = for_profiles.iter().find(|(_, is_given)| *is_given) {
        let why = "needs --profile: prompts alone cannot tell ok from ng";
        return Err(Error::setting(*flag, why).into());
    }
    let method = args.method.resolve(ScoringMode::Auto)?;
    let method = method.comparing_by(args.reference_model.resolve());
    let is_by_parts = args.views.views.is_some() && method.mode == ScoringMode::Auto;
    if args.resume.is_some() && method.mode != ScoringMode::PerPhoto && !is_by_parts {
        let why = "each score depends on the other photos; add --profile, or --method april-gan";
        return Err(Error::setting("resume", why).into());
    }
    let is_alone = match method.mode {
        ScoringMode::Mutual if args.shard.is_some() => {
            let why = "--method mutual needs all photos at once";
            return Err(Error::setting("shard", why).into());
        }
        ScoringMode::PerPhoto => true,
        ScoringMode::Mutual if args.views.views.is_some() => {
            let why = "parts with several photos are not compared with each other; add --profile, or leave --method mutual out";
            return Err(Error::setting("views", why).into());
        }
        ScoringMode::Mutual => false,
        ScoringMode::Auto => args.shard.is_some() || args.views.views.is_some(),
    };
    args.reference_model.check(!is_alone, ALONE)?;
    let mutual = match (is_alone, mutual_flag(args)) {
        (true, Some(flag)) => return Err(refuse_alone(flag)),
        (true, None) => None,
        (false, _) => {
            let mut options = args.mutual.resolve(&method)?;
            options.musc.groups = args.repeats.given().is_some();
            Some(options)
        }
    };
    Ok((method, mutual))
}

pub fn by_prompts(
    args: &Args,
    (method, mutual): (MethodChoice, Option<MutualOptions>),
    photos: &[PathBuf],
) -> anyhow::Result<ByPrompts> {
    let tiles = args.tiles.resolve(photos, method.fit)?;
    let method = method.tiled(tiles);
    Ok(ByPrompts {
        product: args.product.resolve(method.entry)?,
        method,
        mutual,
        mutual_flag: mutual_flag(args)
            .or(args.reference_model.is_given().then_some("reference-model")),
        roi: args.roi.clone(),
        apart: args.apart,
        repeated: args.repeats.resolve(photos)?,
    })
}

/// The first given flag of those for photos that are compared with each other.
fn mutual_flag(args: &Args) -> Option<&'static str> {
    args.mutual.given().or(args.repeats.given()).or(args.apart.then_some("apart"))
}

const ALONE: &str = "is for --method mutual and auto, without --profile, --shard and --views";

fn refuse_alone(flag: &str) -> anyhow::Error {
    Error::setting(flag, ALONE).into()
}
