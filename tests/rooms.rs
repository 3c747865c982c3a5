//! Data flows one way: a module uses only modules on floors below its own (`docs/design.md`), and within the command line
//! no files use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const FLOORS: &[(&str, &[&str])] = &[
    ("ground", &["error", "stats"]),
    ("files and text", &["files", "pickle", "text"]),
    ("kernels, pictures, data sets", &["data", "image", "metrics", "ops", "text_canvas"]),
    ("model", &["clip"]),
    ("prompts, layers, references", &["adapter", "prompt", "reference"]),
    ("methods", &["detect"]),
    ("folders, training, measuring, enrolling", &["eval", "mutual", "profile", "train"]),
    ("output", &["html", "render", "report", "sheet", "training_curves"]),
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|(_, modules)| modules.contains(&module))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All files of Rust below a folder, each with its code and without its tests.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let path = entry.unwrap().into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_string();
            files.push((path, code));
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
            // What `lib.rs` has at the root is for users of the library, and for links in documentation.
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

/// The modules that a file of the command line uses.
fn used_by(module: &[String], is_folder: bool, code: &str) -> Vec<Vec<String>> {
    // The module that `super` stands for in a folder's own file and in its parts.
    let parent = &module[..module.len().saturating_sub(1)];
    let here = if is_folder { module } else { parent };
    let mut used = Vec::new();
    for (prefix, base) in [("crate::cli::", &[][..]), ("super::", parent), ("self::", here)] {
        for rest in code.split(prefix).skip(1) {
            let path = rest.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let parts = path.into_iter().next().unwrap().split("::").filter(|p| !p.is_empty());
            used.push(base.iter().cloned().chain(parts.map(String::from)).collect());
        }
    }
    used
}

/// In `cli` every file uses others in one direction: no circle of files.
#[test]
fn the_command_line_has_no_circle() {
    let root = source().join("cli");
    let files = files(&root);
    let modules: BTreeMap<Vec<String>, &str> =
        files.iter().map(|(path, code)| (module_of(path, &root), &**code)).collect();
    let mut uses: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = BTreeMap::new();
    for (path, code) in &files {
        let (own, _) = modules.get_key_value(&module_of(path, &root)).unwrap();
        let is_folder = path.ends_with("mod.rs");
        for mut used in used_by(own, is_folder, code) {
            // The longest beginning that is a module; what is left is an item of it.
            while !modules.contains_key(&used) {
                used.pop();
            }
            let (used, _) = modules.get_key_value(&used).unwrap();
            // A folder's parts are declared in its own file.
            if used != own {
                uses.entry(own).or_default().insert(used);
            }
        }
        // `mod part;` and what is called in it.
        if is_folder {
            let parts = modules.keys().filter(|m| m.len() == own.len() + 1 && m.starts_with(own));
            uses.entry(own).or_default().extend(parts.filter(|_| !own.is_empty()));
        }
    }
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 80, "too few uses were read");
    // Takes away what uses nothing that is left, again and again; a circle remains.
    let mut left: BTreeSet<&Vec<String>> = modules.keys().collect();
    loop {
        let free = |m: &&Vec<String>| uses.get(*m).is_none_or(|uses| uses.is_disjoint(&left));
        let done: Vec<_> = left.iter().copied().filter(free).collect();
        if done.is_empty() {
            break;
        }
        done.iter().for_each(|module| _ = left.remove(*module));
    }
    let named: Vec<String> = left.iter().map(|module| module.join("::")).collect();
    assert!(left.is_empty(), "these use each other in a circle: {}", named.join(", "));
}

/// A command uses what all share, and its own parts, but no other command.
#[test]
fn commands_do_not_use_each_other() {
    let root = source().join("cli");
    let commands = ["adapter", "decide", "enroll", "eval", "models", "profile", "prompts", "score"];
    for (path, code) in files(&root) {
        let module = module_of(&path, &root);
        let Some(own) = module.first() else { continue };
        for used in used_by(&module, path.ends_with("mod.rs"), &code) {
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
    let allowed = [("decide.rs", "File::open("), ("files.rs", "File::open(")];
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
