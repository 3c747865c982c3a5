//! Finds the photos that a command line names, and the paths of their results.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use blemish::Error;
use blemish::data::{ENDINGS, has_photo_ending};

use super::terminal::message;

/// The photos to score, in order, and the inputs that cannot be used.
#[derive(Default)]
pub struct Inputs {
    pub photos: Vec<PathBuf>,
    pub errors: Vec<String>,
    /// Photos that were given more than once.
    pub repeated: Vec<PathBuf>,
    /// How many files of each kind the folders hold that are not read.
    skipped: BTreeMap<String, usize>,
    /// Output paths are relative to this folder.
    base: PathBuf,
    /// The real places of the photos, so that a photo that is given twice is scored once.
    places: HashSet<PathBuf>,
}

impl Inputs {
    /// Finds files, folders (with their subfolders, in order of name) and glob patterns. Skips folders of
    /// results unless an argument points into one: a second run should not score the pictures of the first run. These are
    /// the folders of this run (`results`), and those that an earlier run marked.
    pub fn find(arguments: &[PathBuf], results: &[&Path]) -> Self {
        let results: Vec<PathBuf> = results.iter().map(|folder| real(folder)).collect();
        let mut inputs = Self::default();
        for argument in arguments {
            if argument.is_dir() {
                inputs.add_folder(argument, &results);
            } else if argument.exists() || !is_pattern(argument) {
                // If the file does not exist, opening it reports that.
                inputs.add(argument.clone());
            } else {
                inputs.add_matches(argument, &results);
            }
        }
        inputs.base = match arguments {
            [folder] if folder.is_dir() => clean(folder),
            _ => common_folder(&inputs.photos),
        };
        inputs
    }

    fn add(&mut self, photo: PathBuf) {
        if self.places.insert(place(&photo)) {
            self.photos.push(photo);
        } else {
            self.repeated.push(photo);
        }
    }

    fn add_folder(&mut self, folder: &Path, results: &[PathBuf]) {
        // Who asks for a folder inside such a folder gets it.
        let own = real(folder);
        let results: Vec<&PathBuf> = results.iter().filter(|out| !own.starts_with(out)).collect();
        let walk = walkdir::WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
        let earlier = Cell::new(0);
        let wanted = |entry: &walkdir::DirEntry| {
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if entry.depth() == 0 || is_hidden || !entry.file_type().is_dir() {
                return entry.depth() == 0 || !is_hidden;
            }
            if results.contains(&&real(entry.path())) {
                return false;
            }
            let is_marked = entry.path().join(RESULTS).exists();
            earlier.set(earlier.get() + usize::from(is_marked));
            !is_marked
        };
        let mut found = false;
        for entry in walk.filter_entry(wanted) {
            match entry {
                Ok(entry) if !entry.file_type().is_file() => {}
                Ok(entry) => match kind_of_other(folder, entry.path()) {
                    None => {
                        found = true;
                        self.add(entry.into_path());
                    }
                    Some(kind) => *self.skipped.entry(kind).or_default() += 1,
                },
                Err(error) => {
                    found = true;
                    self.errors.push(format!("{}: cannot read: {error}", folder.display()));
                }
            }
        }
        if earlier.get() > 0 {
            *self.skipped.entry("folders of results".into()).or_default() += earlier.get();
        }
        if !found {
            let kinds = ENDINGS.join(", ");
            self.errors.push(format!("{}: no photos in this folder ({kinds})", folder.display()));
        }
    }

    /// Prints what cannot be used, and unless `quiet`, what is not read.
    pub fn report(&self, quiet: bool) {
        self.errors.iter().for_each(|error| say!("{error}"));
        self.skipped().iter().filter(|_| !quiet).for_each(|note| say!("{note}"));
    }

    /// A note about the files that are not read, if there are any.
    fn skipped(&self) -> Option<String> {
        let kinds: Vec<String> =
            self.skipped.iter().map(|(kind, count)| counted(kind, *count)).collect();
        let others =
            (!kinds.is_empty()).then(|| format!("note: not read: {}", kinds.join(", ")))?;
        let is_heic = |kind: &String| [".heic", ".heif"].contains(&&**kind);
        let advice = match self.skipped.keys().any(is_heic) {
            true => "; save HEIC as JPEG (`heif-convert photo.heic photo.jpg`)",
            false => "",
        };
        Some(format!("{others}{advice}"))
    }

    fn add_matches(&mut self, pattern: &Path, results: &[PathBuf]) {
        let plain = pattern.components().take_while(|part| !is_pattern(Path::new(part)));
        let plain = real(&plain.collect::<PathBuf>());
        let results: Vec<PathBuf> =
            results.iter().filter(|out| !plain.starts_with(out)).cloned().collect();
        // As in a shell, `*` does not match hidden files.
        let options =
            glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let Some(Ok(paths)) = pattern.to_str().map(|text| glob::glob_with(text, options)) else {
            let why = "not a pattern; use * ? and [a-z] for parts of names";
            return self.errors.push(format!("{}: {why}", pattern.display()));
        };
        let mut found = false;
        for path in paths {
            found = true;
            match path {
                Ok(path) if results.iter().any(|out| real(&path).starts_with(out)) => {}
                Ok(path) if path.is_dir() => self.add_folder(&path, &results),
                Ok(path) => self.add(path),
                Err(error) => {
                    let (path, why) = (error.path().display(), error.error());
                    self.errors.push(format!("{path}: cannot read: {why}"));
                }
            }
        }
        if !found {
            self.errors.push(format!("{}: no file matches", pattern.display()));
        }
    }

    /// For each photo, its path below the folder of all photos.
    fn below(&self) -> impl Iterator<Item = PathBuf> {
        self.photos.iter().map(|photo| {
            let photo = clean(photo);
            let below = photo.strip_prefix(&self.base).map(Path::to_path_buf);
            below.unwrap_or_else(|_| photo.file_name().unwrap_or_default().into())
        })
    }

    /// For each photo, its path below the folder of all photos. `setting` is the flag that needs it.
    ///
    /// # Errors
    /// If two photos have the same path.
    pub fn relative(&self, setting: &str, to: &Path) -> Result<Vec<PathBuf>, Error> {
        let paths: Vec<PathBuf> = self.below().collect();
        match first_repeated(&paths) {
            None => Ok(paths),
            Some(path) => {
                let why = format!("two photos would be {}; score them in two runs", path.display());
                Err(Error::setting(format!("{setting} {}", to.display()), why))
            }
        }
    }

    /// For each photo, a path below `out` without extension, in the same subfolders. If two photos differ only in their
    /// extension, all paths keep the extension.
    ///
    /// # Errors
    /// If a result would overwrite one of the photos, or another result.
    pub fn targets(&self, out: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let refuse = |why: String| Err(Error::setting(format!("out {}", out.display()), why));
        let whole: Vec<PathBuf> = self.below().map(|path| out.join(path)).collect();
        let stems: Vec<PathBuf> = whole.iter().map(|path| path.with_extension("")).collect();
        let targets = if first_repeated(&stems).is_none() { stems } else { whole };
        let files: Vec<PathBuf> = targets
            .iter()
            .flat_map(|target| extensions.iter().map(|extension| with_suffix(target, extension)))
            .collect();
        let pages = blemish::page::folder(&out.join(PAGE));
        if targets.iter().any(|target| target.starts_with(&pages)) {
            let why = "the page's pictures are in index_files; rename that folder of photos, or give another folder";
            return refuse(why.into());
        }
        if let Some(file) = first_repeated(&files) {
            return refuse(format!(
                "two photos would share the result file {}; score them in two runs",
                file.display()
            ));
        }
        if let Some(file) = files.iter().find(|file| self.places.contains(&place(file))) {
            let file = file.display();
            return refuse(format!("would overwrite the photo {file}; choose another folder"));
        }
        Ok(targets)
    }
}

/// A number of files of a kind. Kinds with a name are plural.
fn counted(kind: &str, count: usize) -> String {
    let kind = if count == 1 {
        kind.replace("masks", "mask").replace("folders", "folder")
    } else {
        kind.into()
    };
    format!("{count} {kind}")
}

/// The file that marks a folder as results.
const RESULTS: &str = ".blemish";

/// Marks folders as results, so that a later run does not score what is in them. A folder with photos of this run stays
/// one of photos.
///
/// # Errors
/// If a folder cannot be written.
pub fn mark_results(folders: &[PathBuf], photos: &[PathBuf]) -> Result<(), Error> {
    let photos: Vec<PathBuf> = photos.iter().map(|photo| place(photo)).collect();
    for folder in folders {
        let own = real(folder);
        if !photos.iter().any(|photo| photo.starts_with(&own)) {
            blemish::files::write_whole(&folder.join(RESULTS), b"results of blemish\n")?;
        }
    }
    Ok(())
}

/// Checks before the run that a page can be written, and that it replaces only a page.
///
/// # Errors
/// [`Error::Setting`] or [`Error::Write`].
pub fn check_page(setting: &str, page: &Path) -> Result<(), Error> {
    if page.exists() && !blemish::page::is_one(page) {
        let why =
            format!("{} is there and is no page of blemish; give another name", page.display());
        return Err(Error::setting(setting, why));
    }
    Ok(())
}

/// The name of the page of `score`.
pub const PAGE: &str = "index.html";

/// Appends `.suffix` to the name. Dots in the name stay.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Checks before the run that results can be written to a folder. `setting` is the flag that gave the folder.
pub fn check_writable(setting: &str, out: &Path) -> Result<(), Error> {
    if out.exists() && !out.is_dir() {
        let why = "is a file; give a folder";
        return Err(Error::setting(format!("{setting} {}", out.display()), why));
    }
    blemish::files::check_folder(out)
}

/// Checks before the work that a profile can be written, and that it replaces only a profile.
pub fn check_profile_target(out: &Path) -> Result<(), Error> {
    check_writable("out", folder_of(out))?;
    if out.exists() && !blemish::Profile::is_one(out) {
        let why = "is there and is no product file; give another name";
        return Err(Error::setting(format!("out {}", out.display()), why));
    }
    Ok(())
}

/// The folder of a file.
pub fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// The error of a photo, with its own name. A copy gets the error of its original, and that error names the original.
pub fn named(photo: &Path, error: &Error) -> String {
    match error {
        Error::Photo { why, .. } => format!("{}: {why}", photo.display()),
        Error::Read { source, .. } => format!("{}: cannot read: {source}", photo.display()),
        other => format!("{}: {}", photo.display(), message(other)),
    }
}

/// What a file in `folder` is, if it is no photo: its ending, or a mask in the layouts of data sets.
fn kind_of_other(folder: &Path, file: &Path) -> Option<String> {
    if !has_photo_ending(file) {
        let ending = file.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        return Some(ending.map_or("without an ending".into(), |ending| format!(".{ending}")));
    }
    let is_truth = |path: &Path| path.components().any(|part| part.as_os_str() == "ground_truth");
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let is_mask = is_truth(file) || stem.ends_with("_mask");
    // Who asks for a folder of masks gets them.
    (is_mask && !is_truth(folder)).then(|| "masks".into())
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn first_repeated(paths: &[PathBuf]) -> Option<&PathBuf> {
    let mut seen = HashSet::new();
    paths.iter().find(|path| !seen.insert(*path))
}

/// The deepest folder that holds all photos.
fn common_folder(photos: &[PathBuf]) -> PathBuf {
    let mut folders = photos.iter().map(|p| clean(p).parent().map(Path::to_path_buf));
    let Some(Some(mut common)) = folders.next() else { return PathBuf::new() };
    for folder in folders.flatten() {
        while !folder.starts_with(&common) && common.pop() {}
    }
    common
}

/// The absolute path, without `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).components() {
        match part {
            Component::ParentDir => _ = clean.pop(),
            part => clean.push(part),
        }
    }
    clean
}

/// The real path of a folder, with all links resolved. Its last parts need not exist yet.
pub fn real(folder: &Path) -> PathBuf {
    if let Ok(real) = folder.canonicalize() {
        return real;
    }
    let folder = clean(folder);
    match (folder.parent(), folder.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => folder,
    }
}

/// The place of a file: the real path of its folder, and its name. A link to a file counts as a separate file.
pub fn place(file: &Path) -> PathBuf {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    match (file.parent(), file.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => real(&file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(out: &str, photos: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let mut inputs = Inputs::default();
        photos.iter().for_each(|photo| inputs.add(photo.into()));
        inputs.base = common_folder(&inputs.photos);
        inputs.targets(Path::new(out), &["png"])
    }

    #[test]
    fn results_mirror_the_folders_of_the_photos() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let cases: [(&[&str], &[&str]); 5] = [
            (&["/p/test/crack/1.png", "/p/test/good/1.png"], &["/o/crack/1", "/o/good/1"]),
            (&["/p/a.b.png"], &["/o/a.b"]),
            (&["/p/a.png", "/p/a.jpg", "/p/b.png"], &["/o/a.png", "/o/a.jpg", "/o/b.png"]),
            (&["/p/a/1.png", "/p/a/../b/2.png"], &["/o/a/1", "/o/b/2"]),
            (&["/p/1.png", "/p/./x/../1.png"], &["/o/1"]),
        ];
        for (photos, expected) in cases {
            assert_eq!(targets("/o", photos).unwrap(), paths(expected), "{photos:?}");
        }
    }

    #[test]
    fn a_photo_is_never_overwritten() {
        for out in ["/p", "/p/x/..", "/q/../p"] {
            let error = targets(out, &["/p/a.png"]).unwrap_err().to_string();
            assert!(error.contains("would overwrite the photo"), "{error}");
        }
        assert!(targets("/p/x", &["/p/a.png"]).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn links_to_folders_are_seen_through() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("photos/out")).unwrap();
        for name in ["photos/1.png", "photos/out/1.png", "photos/.hidden.png"] {
            std::fs::write(at(name), "").unwrap();
        }
        std::os::unix::fs::symlink(at("photos"), at("link")).unwrap();

        let twice = Inputs::find(&[at("photos"), at("link")], &[]);
        assert_eq!(twice.photos, [at("photos/1.png"), at("photos/out/1.png")]);
        assert!(twice.targets(&at("link"), &["png"]).is_err());

        // Results of an earlier run are skipped under any name of their folder, unless an argument points into it.
        for out in [at("photos/out"), at("link/out")] {
            for inputs in [at("photos"), at("photos/*"), at("link/**/*.png")] {
                let found = Inputs::find(std::slice::from_ref(&inputs), &[&out]);
                assert_eq!((found.photos.len(), found.errors.len()), (1, 0), "{inputs:?}");
            }
            assert_eq!(Inputs::find(&[at("photos/out/*.png")], &[&out]).photos.len(), 1);
        }
    }

    #[test]
    fn files_that_are_not_read_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("set/ground_truth/hole")).unwrap();
        let photos = ["set/1.png", "set/1_mask.png", "set/ground_truth/hole/1_mask.png"];
        let others = ["set/2.HEIC", "set/3.heic", "set/clip.mp4", "set/notes", "set/.hidden.raw"];
        photos.iter().chain(&others).for_each(|name| std::fs::write(at(name), "").unwrap());
        let found = Inputs::find(&[at("set")], &[]);
        assert_eq!(found.photos, [at("set/1.png")]);
        let said = found.skipped().unwrap();
        assert!(
            said.starts_with(
                "note: not read: 2 .heic, 1 .mp4, 2 masks, 1 without an ending; save HEIC"
            ),
            "{said}"
        );
        // Who asks for masks gets them.
        assert_eq!(Inputs::find(&[at("set/ground_truth")], &[]).photos.len(), 1);
        assert_eq!(Inputs::find(&[at("set/*_mask.png")], &[]).photos.len(), 1);
        assert_eq!(Inputs::find(&[at("set/1.png")], &[]).skipped(), None);
    }

    #[test]
    fn what_leads_to_no_photo_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let arguments =
            [folder.path().to_path_buf(), folder.path().join("*.png"), folder.path().join("[")];
        let errors = Inputs::find(&arguments, &[]).errors;
        for (error, said) in errors.iter().zip(["no photos in", "no file matches", "not a pattern"])
        {
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(errors.len(), 3);
    }
}
