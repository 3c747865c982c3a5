//! Which photos a command line means, and where their results go.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use blemish::Error;

/// What a folder is searched for; a file that is named outright may be called anything.
const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// The photos to score, in order, and the inputs that led to none.
pub struct Inputs {
    pub photos: Vec<PathBuf>,
    pub errors: Vec<String>,
    /// What output paths are relative to.
    base: PathBuf,
}

impl Inputs {
    /// Files, folders (with their subfolders, in order of name) and glob patterns. Nothing below
    /// `out` is taken, so that a second run does not score the first one's pictures.
    pub fn find(arguments: &[PathBuf], out: Option<&Path>) -> Self {
        let out = out.map(absolute);
        let mut seen = HashSet::new();
        let mut photos = Vec::new();
        let mut errors = Vec::new();
        let mut add = |path: PathBuf| {
            if seen.insert(absolute(&path)) {
                photos.push(path);
            }
        };
        for argument in arguments {
            if argument.is_dir() {
                let before = errors.len();
                let (found, problems) = photos_below(argument, out.as_deref());
                errors.extend(problems);
                if found.is_empty() && errors.len() == before {
                    errors.push(format!(
                        "{}: no photos in this folder ({})",
                        argument.display(),
                        EXTENSIONS.join(", ")
                    ));
                }
                found.into_iter().for_each(&mut add);
            } else if argument.exists() || !is_pattern(argument) {
                // A file that is not there is reported when it is opened.
                add(argument.clone());
            } else {
                match matches(argument) {
                    Ok(found) if found.is_empty() => {
                        errors.push(format!("{}: no file matches", argument.display()));
                    }
                    Ok(found) => found.into_iter().for_each(&mut add),
                    Err(why) => errors.push(format!("{}: {why}", argument.display())),
                }
            }
        }
        let base = match arguments {
            [folder] if folder.is_dir() => absolute(folder),
            _ => common_folder(&photos),
        };
        Self { photos, errors, base }
    }

    /// For each photo a path below `out` without extension, mirroring the photos' folders. Photos that
    /// differ only in their extension keep it.
    ///
    /// # Errors
    /// When a result would overwrite one of the photos.
    pub fn targets(&self, out: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let relative: Vec<PathBuf> = self
            .photos
            .iter()
            .map(|photo| {
                let photo = absolute(photo);
                let below = photo.strip_prefix(&self.base).map(Path::to_path_buf);
                below.unwrap_or_else(|_| photo.file_name().unwrap_or_default().into())
            })
            .collect();
        let mut count: HashMap<PathBuf, usize> = HashMap::new();
        for path in &relative {
            *count.entry(path.with_extension("")).or_default() += 1;
        }
        let targets: Vec<PathBuf> = relative
            .into_iter()
            .map(|path| {
                let stem = path.with_extension("");
                out.join(if count[&stem] > 1 { path } else { stem })
            })
            .collect();
        let photos: HashSet<PathBuf> = self.photos.iter().map(|p| absolute(p)).collect();
        for target in &targets {
            for extension in extensions {
                let file = absolute(&with_suffix(target, extension));
                if photos.contains(&file) {
                    return Err(Error::Setting {
                        setting: format!("--out {}", out.display()),
                        why: format!(
                            "would overwrite the photo {}; choose another folder",
                            file.display()
                        ),
                    });
                }
            }
        }
        Ok(targets)
    }
}

/// `name` to `name.suffix`, whatever dots the name holds.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn photos_below(folder: &Path, out: Option<&Path>) -> (Vec<PathBuf>, Vec<String>) {
    let (mut photos, mut errors) = (Vec::new(), Vec::new());
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    // A folder that is itself below `out` was asked for.
    let out = out.filter(|out| !absolute(folder).starts_with(out));
    let walk = walkdir::WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let wanted = |entry: &walkdir::DirEntry| {
        entry.depth() == 0
            || !is_hidden(entry.file_name()) && out.is_none_or(|out| absolute(entry.path()) != out)
    };
    for entry in walk.filter_entry(wanted) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_photo(entry.path()) => {
                photos.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => errors.push(format!("{}: cannot read: {error}", folder.display())),
        }
    }
    (photos, errors)
}

fn is_photo(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.contains(&e.to_lowercase().as_str()))
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let pattern = pattern.to_str().ok_or("a pattern must be UTF-8")?;
    let paths = glob::glob(pattern).map_err(|e| format!("not a pattern: {}", e.msg))?;
    let paths = paths.collect::<Result<Vec<_>, _>>().map_err(|e| format!("cannot read: {e}"))?;
    Ok(paths.into_iter().filter(|path| path.is_file()).collect())
}

/// The deepest folder that holds all photos.
fn common_folder(photos: &[PathBuf]) -> PathBuf {
    let mut folders = photos.iter().map(|p| absolute(p).parent().map(Path::to_path_buf));
    let Some(Some(mut common)) = folders.next() else { return PathBuf::new() };
    for folder in folders.flatten() {
        while !folder.starts_with(&common) && common.pop() {}
    }
    common
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_mirror_the_folders_of_the_photos() {
        let inputs = |photos: &[&str]| {
            let photos: Vec<PathBuf> = photos.iter().map(PathBuf::from).collect();
            Inputs { base: common_folder(&photos), photos, errors: vec![] }
        };
        let targets = |photos: &[&str]| inputs(photos).targets(Path::new("/o"), &["png"]).unwrap();
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            targets(&["/p/test/crack/1.png", "/p/test/good/1.png"]),
            paths(&["/o/crack/1", "/o/good/1"])
        );
        assert_eq!(targets(&["/p/a.b.png"]), paths(&["/o/a.b"]));
        assert_eq!(targets(&["/p/a.png", "/p/a.jpg"]), paths(&["/o/a.png", "/o/a.jpg"]));
        let onto_itself = inputs(&["/p/a.png"]).targets(Path::new("/p"), &["png"]);
        assert!(onto_itself.unwrap_err().to_string().contains("overwrite the photo /p/a.png"));
    }
}
