//! Data flows one way: a module uses only modules on floors below its own (`docs/design.md`).

use std::path::Path;

const FLOORS: &[(&str, &[&str])] = &[
    ("ground", &["error"]),
    ("files and text", &["files", "pickle", "text"]),
    ("kernels, pictures, data sets", &["canvas", "data", "image", "metrics", "ops"]),
    ("model", &["clip"]),
    ("words and layers", &["adapter", "prompt", "reference"]),
    ("methods", &["detect"]),
    ("training, measuring, enrolling", &["eval", "profile", "train"]),
    ("output", &["curves", "html", "render", "report", "sheet"]),
];

/// Which floor owns the types that `lib.rs` re-exports, by the module they are declared in.
fn owners(lib: &str) -> Vec<(String, String)> {
    let mut owners = Vec::new();
    for part in lib.split("pub use ").skip(1) {
        let statement = part.split(';').next().unwrap();
        let (module, names) = statement.split_once("::").unwrap();
        for name in names.trim_matches(['{', '}']).split(',') {
            let name = name.trim().trim_matches(['{', '}', '\n', ' ']);
            if !name.is_empty() {
                owners.push((name.to_string(), module.to_string()));
            }
        }
    }
    owners
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|(_, modules)| modules.contains(&module))
}

#[test]
fn modules_use_only_the_floors_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let owners = owners(&std::fs::read_to_string(src.join("lib.rs")).unwrap());
    let mut checked = 0;
    for entry in walkdir::WalkDir::new(&src) {
        let entry = entry.unwrap();
        let relative = entry.path().strip_prefix(&src).unwrap();
        let module = relative.iter().next().and_then(|m| m.to_str()).unwrap_or_default();
        let module = module.trim_end_matches(".rs");
        if !entry.file_type().is_file() || ["lib", "main", "allocator", "cli"].contains(&module) {
            continue;
        }
        let own = floor(module).unwrap_or_else(|| panic!("{module} stands on no floor"));
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        assert!(!code.contains("super::super"), "{}: name the module", relative.display());
        for used in code.split("crate::").skip(1) {
            let list = match used.strip_prefix('{') {
                Some(rest) => rest.split('}').next().unwrap(),
                None => used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap(),
            };
            assert!(!list.contains('{'), "{}: one `use` a module", relative.display());
            for name in list.split(',').map(|n| n.trim().split("::").next().unwrap()) {
                let owner = owners.iter().find(|(n, _)| n == name).map_or(name, |(_, m)| m);
                let Some(theirs) = floor(owner) else { continue };
                assert!(
                    theirs < own || owner == module,
                    "{}: {module} (floor {own}) uses {name} of {owner} (floor {theirs})",
                    relative.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "{checked} uses were read");
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
