//! Resolves and checks the flags of `blemish score` before a model is opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use blemish::data::Part;
use blemish::image::BitDepth;
use blemish::profile::Fuse;
use blemish::prompt::Role;
use blemish::scorer::ScaleOf;
use blemish::{Error, Profile};

use super::args::{Args, FailOn};
use super::copies::{Copies, VERDICTS};
use super::resume::ResultFile;
use super::source::{Source, by_prompts, comparison};
use super::table::{Order, TableStyle};
use crate::cli::inputs::{Inputs, PAGE, check_page, check_writable, mark_results, place};
use crate::cli::printer::{Format, default_format};

/// Larger files are refused: a million paths need about 100 MB.
const LONGEST_LIST: u64 = 256 << 20;

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
    /// The parts whose first photos these are. Empty if each photo is a part of its own.
    pub parts: Vec<Part>,
    /// The lights of all parts, and how they are joined.
    pub lights: Option<(Vec<String>, Fuse)>,
    /// The photos of all shards, and those that an earlier run scored.
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
            parts: vec![],
            lights: None,
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
    let source = match Source::of_profiles(args)? {
        Some(source) => Ok(source),
        None => Err(comparison(args)?),
    };
    let photos = given(args)?;
    let results: Vec<&Path> =
        [&args.out, &args.copy_to].into_iter().flatten().map(|p| &**p).collect();
    let mut inputs = Inputs::find(&photos, &results);
    let (with_lights, lights) = parts(args, &source, &mut inputs)?;
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
    let with_lights = of_part(with_lights, own);
    let table = table_style(args, part == 0);
    let format = if args.resume.is_some() { Some(Format::Jsonl) } else { args.format };
    let format = format.unwrap_or(default_format());
    let plan = Plan {
        photos,
        parts: with_lights,
        lights,
        found,
        targets,
        copies,
        drawing,
        format,
        table,
        fail_on: args.fail_on,
        resume,
        depth,
        quiet,
        failed,
    };
    Ok(Some((plan, source)))
}

/// With `--shard`, only the first part prints a header.
fn table_style(args: &Args, has_header: bool) -> TableStyle {
    TableStyle {
        order: args.sort.unwrap_or(Order::Score),
        top: args.top.unwrap_or(usize::MAX),
        has_header,
    }
}

/// The parts, if the photos of one part belong together, their lights, and how these are joined. Then `inputs` has the first photo of
/// each part.
#[expect(clippy::type_complexity, reason = "used once")]
fn parts<T>(
    args: &Args,
    source: &Result<Source, T>,
    inputs: &mut Inputs,
) -> anyhow::Result<(Vec<Part>, Option<(Vec<String>, Fuse)>)> {
    let quiet = args.method.model.quiet;
    let (views, lights, fuse) = match source {
        Ok(Source::Lights(by)) => {
            let about = by.profile.about();
            (by.views.clone(), Some(about.lights.clone()), about.fuse)
        }
        Ok(_) => return Ok((vec![], None)),
        Err(_) => match args.views.resolve()? {
            Some((views, fuse)) => (views, None, fuse),
            None => return Ok((vec![], None)),
        },
    };
    let parts = inputs.parts(&views, lights.as_deref(), quiet);
    let lights = lights.unwrap_or_else(|| Part::lights(&parts));
    if !parts.is_empty() && lights.len() < 2 {
        let why = "finds one light only; without --views each photo is a part of its own";
        return Err(Error::setting(format!("views {}", views.pattern()), why).into());
    }
    Ok((parts, Some((lights, fuse))))
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
        Source::Lights(by) => {
            let first = by.profile.first();
            let kinds = first.product().kinds().iter().map(|kind| (kind.role, &*kind.name));
            (defect_files(kinds), first.bit_depth()?, by.model.quiet)
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
