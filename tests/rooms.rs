//! Data flows one way: a module uses only modules on floors below its own (`docs/design.md`), and within the command line
//! no files use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const FLOORS: &[(&str, &[&str])] = &[
    ("ground", &["drift", "error", "stats"]),
    ("files and text", &["files", "pickle", "text"]),
    ("kernels, pictures, data sets", &["data", "image", "metrics", "ops", "text_canvas"]),
    ("files of a model", &["checkpoint"]),
    ("patches alone", &["dino"]),
    ("model", &["clip"]),
    ("prompts, layers, references", &["adapter", "prompt", "reference"]),
    ("methods", &["detect"]),
    (
        "folders, training, measuring, enrolling",
        &["autoencoder", "eval", "mutual", "performance", "profile", "train"],
    ),
    ("networks instead of a profile", &["student"]),
    ("output", &["render", "report", "sheet", "training_curves"]),
    ("pages", &["page"]),
    ("photos to records", &["scorer"]),
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|(_, modules)| modules.contains(&module))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of Rust below a folder, each with its code and without its comments and tests.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            // Documentation may name what stands above.
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            files.push((path, code.collect::<Vec<_>>().join("\n")));
        }
    }
    files
}

#[test]
fn modules_use_only_the_floors_below_them() {
    let mut checked = 0;
    for (path, code) in files(&source()) {
        let relative = path.strip_prefix(source()).unwrap().display().to_string();
        let module = relative.split('/').next().unwrap().trim_end_matches(".rs");
        if ["lib", "main", "allocator", "cli"].contains(&module) {
            continue;
        }
        let own = floor(module).unwrap_or_else(|| panic!("{module} stands on no floor"));
        assert!(!code.contains("super::super"), "{relative}: name the module");
        assert!(!code.contains("crate::{"), "{relative}: one `use` a module");
        for used in code.split("crate::").skip(1) {
            let name = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            // What `lib.rs` has at the root is for users of the library.
            assert!(!name.starts_with(char::is_uppercase), "{relative}: name the module of {name}");
            let Some(theirs) = floor(name) else { continue };
            assert!(
                theirs < own || name == module,
                "{relative}: {module} (floor {own}) uses {name} (floor {theirs})"
            );
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked} uses were read");
}

/// The module of a file: `cli/score/mod.rs` is `score`, `cli/score/plan.rs` is `score::plan`.
fn module_of(path: &Path, root: &Path) -> Vec<String> {
    let relative = path.strip_prefix(root).unwrap().with_extension("");
    let mut parts: Vec<String> =
        relative.iter().map(|part| part.to_str().unwrap().to_string()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The modules that a file uses; `root`: how it names the modules of its tree from the top.
fn used_by(module: &[String], is_folder: bool, code: &str, root: &str) -> Vec<Vec<String>> {
    // The modules that `super` and `self` stand for.
    let parent = &module[..module.len().saturating_sub(1)];
    let here = if is_folder { module } else { parent };
    let mut used = Vec::new();
    for (prefix, base) in [(root, &[][..]), ("super::", parent), ("self::", here)] {
        for rest in code.split(prefix).skip(1) {
            let path = rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let parts = path.into_iter().next().unwrap().split("::").filter(|p| !p.is_empty());
            used.push(base.iter().cloned().chain(parts.map(String::from)).collect());
        }
    }
    used
}

/// Of what a folder's own file takes from its parts (`pub use part::{A, B}`) the part, by the names that others use.
fn reexports(
    files: &[(PathBuf, String)],
    root: &Path,
    all: &BTreeSet<Vec<String>>,
) -> BTreeMap<Vec<String>, Vec<String>> {
    let mut reexports = BTreeMap::new();
    for (path, code) in files.iter().filter(|(path, _)| path.ends_with("mod.rs")) {
        let own = module_of(path, root);
        for statement in code.split("use ").skip(1) {
            let statement = statement.split(';').next().unwrap();
            let Some((part, names)) = statement.trim_start_matches("self::").split_once("::")
            else {
                continue;
            };
            for name in names.split(|c: char| !c.is_alphanumeric() && c != '_') {
                let with = |name: &str| [&own[..], &[name.to_string()]].concat();
                if all.contains(&with(part)) && !all.contains(&with(name)) {
                    reexports.insert(with(name), with(part));
                }
            }
        }
    }
    reexports
}

/// What each module uses, by their names. In the command line a folder's own file stands above its parts; in the library
/// parts use the types that their folder's own file declares, as Rust has it.
fn uses(root: &Path, is_library: bool) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let files = files(root);
    let all: BTreeSet<Vec<String>> = files.iter().map(|(path, _)| module_of(path, root)).collect();
    let reexports = reexports(&files, root, &all);
    let mut uses = BTreeMap::<_, BTreeSet<_>>::new();
    for (path, code) in &files {
        let own = module_of(path, root);
        let is_folder = path.ends_with("mod.rs");
        let is_part = |m: &Vec<String>| m.len() == own.len() + 1 && m.starts_with(&own);
        let mut used: BTreeSet<Vec<String>> = BTreeSet::new();
        for mut path in
            used_by(&own, is_folder, code, if is_library { "crate::" } else { "crate::cli::" })
        {
            if let Some(declared) = reexports.get(&path) {
                path.clone_from(declared);
            }
            // The longest beginning that is a module; what is left is an item of it.
            while !path.is_empty() && !all.contains(&path) {
                path.pop();
            }
            used.insert(path);
        }
        if is_library {
            used.retain(|m| !is_part(m) && !own.starts_with(m));
        } else if is_folder && !own.is_empty() {
            used.extend(all.iter().filter(|m| is_part(m)).cloned());
        }
        used.remove(&own);
        uses.insert(own, used);
    }
    uses
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    for (root, is_library) in [(source(), true), (source().join("cli"), false)] {
        let mut left = uses(&root, is_library);
        assert!(left.values().map(BTreeSet::len).sum::<usize>() > 80, "too few uses were read");
        // Takes away what uses nothing that is left, again and again; a circle remains.
        loop {
            let is_free = |uses: &BTreeSet<_>| !uses.iter().any(|used| left.contains_key(used));
            let free: Vec<_> =
                left.iter().filter(|(_, uses)| is_free(uses)).map(|(m, _)| m.clone()).collect();
            if free.is_empty() {
                break;
            }
            free.iter().for_each(|module| _ = left.remove(module));
        }
        let named: Vec<String> = left.keys().map(|module| module.join("::")).collect();
        assert!(left.is_empty(), "these use each other in a circle: {}", named.join(", "));
    }
}

/// A command uses what all share, and its own parts, but no other command.
#[test]
fn commands_do_not_use_each_other() {
    let root = source().join("cli");
    let commands = ["adapter", "decide", "enroll", "eval", "models", "profile", "prompts", "score"];
    for (path, code) in files(&root) {
        let module = module_of(&path, &root);
        let Some(own) = module.first() else { continue };
        for used in used_by(&module, path.ends_with("mod.rs"), &code, "crate::cli::") {
            let other = used.first().filter(|used| commands.contains(&&***used));
            assert!(
                other.is_none_or(|other| other == own),
                "{}: uses the command {}",
                path.display(),
                used.join("::")
            );
        }
    }
}

/// One function opens inputs: what calls the system itself could hang on a pipe or read a device without end.
#[test]
fn inputs_are_opened_in_one_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let calls = [
        "fs::read(",
        "fs::read_to_string(",
        "File::open(",
        "ImageReader::open(",
        "::from_path(",
        "from_file(",
        "eprintln!",
        "safetensors::load(",
    ];
    // Text that people write may come from a pipe.
    let allowed = [("files.rs", "File::open("), ("results.rs", "File::open(")];
    for entry in walkdir::WalkDir::new(&src).into_iter().map(Result::unwrap) {
        if !entry.file_type().is_file() {
            continue;
        }
        let name = entry.file_name().to_str().unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for call in calls.iter().filter(|call| code.contains(**call)) {
            assert!(
                allowed.contains(&(name, call)),
                "{}: {call} is for files::open, read and read_text, or for say!",
                entry.path().display()
            );
        }
    }
}
