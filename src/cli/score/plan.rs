//! Resolves and checks the flags of `blemish score` before a model is opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use blemish::image::BitDepth;
use blemish::mutual::MutualOptions;
use blemish::prompt::Role;
use blemish::reference::{RegionShape, Repeated};
use blemish::scorer::ScaleOf;
use blemish::{Error, Profile};

use super::args::{Args, FailOn};
use super::copies::{Copies, VERDICTS};
use super::resume::ResultFile;
use super::table::{Order, TableStyle};
use crate::cli::args::method::{MethodChoice, ScoringMode};
use crate::cli::args::model::ModelChoice;
use crate::cli::args::product::ProductChoice;
use crate::cli::args::rate::check_rate;
use crate::cli::inputs::{Inputs, PAGE, check_page, check_writable, mark_results, place};
use crate::cli::printer::{Format, default_format};

/// Larger files are refused: a million paths need about 100 MB.
const LONGEST_LIST: u64 = 256 << 20;

/// What the photos are scored with.
pub enum Source {
    /// A profile, which brings everything but the model.
    Profile(Box<ByProfile>),
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

/// Which pictures and maps are written, and how.
#[derive(Clone)]
pub struct Drawing {
    pub scale: ScaleOf,
    pub has_strip: bool,
    pub save_map: bool,
    /// The page. None for a part of a run.
    pub page: Option<PathBuf>,
    /// For each kind of defect, the end of its map's file name.
    pub defect_files: Vec<String>,
}

/// The photos of this run, and where their results go.
pub struct Plan {
    pub photos: Vec<PathBuf>,
    /// The photos of all parts, and those that an earlier run scored.
    pub found: Vec<PathBuf>,
    /// For each photo, the path of its pictures without extension. None without `--out`.
    pub targets: Vec<Option<PathBuf>>,
    pub copies: Option<Copies>,
    pub drawing: Drawing,
    pub format: Format,
    pub table: TableStyle,
    pub fail_on: Option<FailOn>,
    /// The file of `--resume`. Photos that it has are not in `photos`.
    pub resume: Option<ResultFile>,
    pub depth: BitDepth,
    pub quiet: bool,
    /// The number of inputs that cannot be used. They were reported.
    pub failed: usize,
}

impl Plan {
    /// The same photos, with results in a folder of their own for one of several profiles.
    /// `out`: the folder of all results, and the profile's own.
    pub fn of_profile(
        &self,
        profile: &Profile,
        out: Option<(&Path, PathBuf)>,
    ) -> anyhow::Result<Self> {
        let kinds = profile.product().kinds().iter().map(|kind| (kind.role, &*kind.name));
        let has_page = self.drawing.page.is_some();
        let page = out.as_ref().filter(|_| has_page).map(|(_, own)| own.join(PAGE));
        page.as_deref().map_or(Ok(()), |page| check_page("out", page))?;
        let target = |target: &Option<PathBuf>| {
            let (all, own) = out.as_ref()?;
            Some(own.join(target.as_ref()?.strip_prefix(all).ok()?))
        };
        Ok(Self {
            photos: self.photos.clone(),
            found: vec![],
            targets: self.targets.iter().map(target).collect(),
            copies: None,
            drawing: Drawing { page, defect_files: defect_files(kinds), ..self.drawing.clone() },
            format: self.format,
            table: self.table,
            fail_on: self.fail_on,
            resume: None,
            depth: self.depth,
            quiet: self.quiet,
            failed: 0,
        })
    }
}

/// Resolves the flags. None if no photo was found, which was reported.
pub fn resolve(args: &Args) -> anyhow::Result<Option<(Plan, Source)>> {
    // Wrong flags are reported before missing photos, and these before mistakes in the prompt file.
    check_table(args)?;
    let source = match (&args.profile, &args.profiles) {
        (Some(file), _) => Ok(Source::Profile(Box::new(by_profile(args, file.clone())?))),
        (None, Some(folder)) => Ok(Source::Profiles(Box::new(by_profiles(args, folder)?))),
        (None, None) => Err(comparison(args)?),
    };
    let photos = given(args)?;
    let results: Vec<&Path> =
        [&args.out, &args.copy_to].into_iter().flatten().map(|p| &**p).collect();
    let inputs = Inputs::find(&photos, &results);
    inputs.report(args.method.model.quiet);
    if inputs.photos.is_empty() {
        return Ok(None);
    }
    let source = match source {
        Ok(source) => source,
        Err(comparison) => Source::Prompts(Box::new(by_prompts(args, comparison, &inputs.photos)?)),
    };
    let (defect_files, depth, quiet) = settings(&source)?;
    let drawing = Drawing {
        scale: args.scale,
        has_strip: !args.no_strip,
        save_map: args.save_map,
        page: args.out.as_ref().filter(|_| args.shard.is_none()).map(|out| out.join(PAGE)),
        defect_files,
    };
    let targets = targets(args, &inputs, &drawing)?;
    let copies = args.copy_to.as_ref().map(|to| copies(to, &inputs)).transpose()?;
    // The names of all results are known before the part is taken, so two parts never use one name for two photos.
    let (part, parts) = args.shard.unwrap_or((0, 1));
    let failed = inputs.errors.len();
    let (resume, is_done) = resumed(args, &inputs)?;
    let own = |i: &usize| i % parts == part && !is_done[*i];
    mark(args, &inputs)?;
    let found = inputs.photos.clone();
    let copies = copies.map(|all| Copies { below: of_part(all.below, own), ..all });
    let (photos, targets) = (of_part(inputs.photos, own), of_part(targets, own));
    // With `--shard`, only the first part prints a header.
    let table = TableStyle {
        order: args.sort.unwrap_or(Order::Score),
        top: args.top.unwrap_or(usize::MAX),
        has_header: part == 0,
    };
    let format = if args.resume.is_some() { Some(Format::Jsonl) } else { args.format };
    let (format, fail_on) = (format.unwrap_or(default_format()), args.fail_on);
    let plan = Plan {
        photos,
        found,
        targets,
        copies,
        drawing,
        format,
        table,
        fail_on,
        resume,
        depth,
        quiet,
        failed,
    };
    Ok(Some((plan, source)))
}

/// The file of `--resume`, with its results of these photos, and for each photo whether it has one.
fn resumed(args: &Args, inputs: &Inputs) -> anyhow::Result<(Option<ResultFile>, Vec<bool>)> {
    let mut resume = args.resume.as_deref().map(ResultFile::open).transpose()?;
    let places: Vec<PathBuf> = inputs.photos.iter().map(|photo| place(photo)).collect();
    let done: HashSet<PathBuf> = resume.iter().flat_map(|file| file.places()).collect();
    let is_done = places.iter().map(|place| done.contains(place)).collect();
    if let Some(file) = &mut resume {
        file.keep_only(&places.iter().collect());
    }
    Ok((resume, is_done))
}

/// The photos that the command line and the list name.
fn given(args: &Args) -> anyhow::Result<Vec<PathBuf>> {
    let mut photos = args.photos.clone();
    if let Some(list) = &args.files_from {
        if args.product.reads_stdin() && list.as_os_str() == "-" {
            let why = "standard input cannot hold the prompts too; give a file for one of them";
            return Err(Error::setting("files-from -", why).into());
        }
        photos.extend(listed(list)?);
    }
    Ok(photos)
}

/// The ends of the file names of the defects' maps, the bit depth, and whether notes are left out.
fn settings(source: &Source) -> anyhow::Result<(Vec<String>, BitDepth, bool)> {
    Ok(match source {
        Source::Profile(by) => {
            let kinds = by.profile.product().kinds().iter().map(|kind| (kind.role, &*kind.name));
            (defect_files(kinds), by.profile.bit_depth()?, by.model.quiet)
        }
        Source::Profiles(by) => {
            let depth = by.profiles[0].2.bit_depth()?;
            // Each profile has names of its own; none may be the end of another photo's file.
            let kinds = by.profiles.iter().flat_map(|(.., profile)| profile.product().kinds());
            let names: HashSet<String> = kinds
                .flat_map(|kind| defect_files([(kind.role, &*kind.name)].into_iter()))
                .collect();
            (names.into_iter().collect(), depth, by.model.quiet)
        }
        Source::Prompts(by) => {
            let groups = by.product.prompts.expand(&by.product.names)?;
            let kinds = groups.iter().map(|(role, name, _)| (*role, *name));
            (defect_files(kinds), by.method.depth, by.method.quiet)
        }
    })
}

/// Only those whose place belongs to the part.
fn of_part<T>(all: Vec<T>, is_own: impl Fn(&usize) -> bool) -> Vec<T> {
    all.into_iter().enumerate().filter(|(i, _)| is_own(i)).map(|(_, one)| one).collect()
}

/// Where the copies of all photos go.
fn copies(to: &Path, inputs: &Inputs) -> anyhow::Result<Copies> {
    check_writable("copy-to", to)?;
    let photos = inputs.photos.iter().map(|photo| place(photo)).collect();
    Ok(Copies { to: to.to_path_buf(), below: inputs.relative("copy-to", to)?, photos })
}

/// Marks the folders of results.
fn mark(args: &Args, inputs: &Inputs) -> anyhow::Result<()> {
    let mut folders = Vec::new();
    if let Some(out) = &args.out {
        check_page("out", &out.join(PAGE))?;
        folders.push(out.clone());
        if args.profiles.is_none() {
            folders.push(blemish::page::folder(&out.join(PAGE)));
        }
    }
    if let Some(to) = &args.copy_to {
        folders.extend(VERDICTS.map(|verdict| to.join(verdict.name())));
    }
    Ok(mark_results(&folders, &inputs.photos)?)
}

/// The paths in a file, one on each line.
fn listed(list: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let bytes = blemish::files::read_text(list, LONGEST_LIST)
        .map_err(|source| Error::Read { path: list.to_path_buf(), source })?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| Error::setting("files-from", "a path in it is not UTF-8"))?;
    let lines = text.lines().filter(|line| !line.is_empty());
    let paths: Vec<PathBuf> = lines.map(PathBuf::from).collect();
    if paths.is_empty() {
        let why = "holds no path; give one on each line";
        return Err(Error::setting(format!("files-from {}", list.display()), why).into());
    }
    Ok(paths)
}

/// Refuses the flags of the table for other formats.
fn check_table(args: &Args) -> blemish::Result<()> {
    let flag = if args.sort.is_some() { "sort" } else { "top" };
    let is_given = args.sort.is_some() || args.top.is_some();
    match args.format.unwrap_or(default_format()) {
        Format::Table => Ok(()),
        _ if !is_given => Ok(()),
        _ => Err(Error::setting(flag, "is for the table; add --format table")),
    }
}

fn by_profile(args: &Args, file: PathBuf) -> anyhow::Result<ByProfile> {
    let model = model_for_profiles(args)?;
    let profile = Profile::open(&file)?;
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
fn comparison(args: &Args) -> anyhow::Result<(MethodChoice, Option<MutualOptions>)> {
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
    if args.resume.is_some() && method.mode != ScoringMode::PerPhoto {
        let why = "each score depends on the other photos; add --profile, or --method april-gan";
        return Err(Error::setting("resume", why).into());
    }
    let is_alone = match method.mode {
        ScoringMode::Mutual if args.shard.is_some() => {
            let why = "--method mutual needs all photos at once";
            return Err(Error::setting("shard", why).into());
        }
        ScoringMode::PerPhoto => true,
        ScoringMode::Mutual => false,
        ScoringMode::Auto => args.shard.is_some(),
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

fn by_prompts(
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

const ALONE: &str = "is for --method mutual and auto, without --profile and --shard";

fn refuse_alone(flag: &str) -> anyhow::Error {
    Error::setting(flag, ALONE).into()
}

/// For each photo, the path of its pictures without extension. None without `--out`.
fn targets(
    args: &Args,
    inputs: &Inputs,
    drawing: &Drawing,
) -> anyhow::Result<Vec<Option<PathBuf>>> {
    let Some(out) = &args.out else { return Ok(vec![None; inputs.photos.len()]) };
    let mut files = vec!["png"];
    if drawing.save_map {
        files.push("tiff");
        files.extend(drawing.defect_files.iter().map(|file| &**file));
    }
    let targets = inputs.targets(out, &files)?;
    check_writable("out", out)?;
    Ok(targets.into_iter().map(Some).collect())
}

/// For each kind of defect, the end of its map's file name. No two are equal.
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
