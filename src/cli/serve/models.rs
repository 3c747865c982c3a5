//! What is served: each profile and product with its name, and profiles that are replaced on disk.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::SystemTime;

use blemish::image::BitDepth;
use blemish::prompt::TextCache;
use blemish::scorer::{Context, Scorer};
use blemish::{Error, Profile};

use super::args::Choice;
use crate::cli::args::model::ModelChoice;

/// A profile or a product, ready to score.
pub struct Model {
    pub name: String,
    /// The start of a hash of all that its scores depend on.
    pub version: String,
    pub scorer: Scorer,
    pub depth: BitDepth,
}

/// All models, by name.
pub struct Models {
    slots: Vec<Slot>,
    opener: Opener,
}

struct Slot {
    name: String,
    now: RwLock<Arc<Model>>,
    /// The file of a profile, and when it was read last.
    file: Option<(PathBuf, Mutex<Seen>)>,
}

type FileState = Option<(SystemTime, u64)>;

/// When a profile was read last.
struct Seen {
    state: FileState,
    /// How often it could not be used since then.
    failures: u32,
}

/// The reason may pass: the disk was away, or the model was not there yet.
const MOST_TRIES: u32 = 10;

struct Opener {
    model: ModelChoice,
    false_alarm: Option<f64>,
}

fn state(file: &Path) -> FileState {
    let about = std::fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

impl Opener {
    fn profile(&self, name: &str, file: &Path) -> anyhow::Result<Model> {
        let profile = Profile::open(file)?;
        let (depth, version) = (profile.bit_depth()?, short(profile.sha256()));
        let scorer = self.model.scorer(file, profile, self.false_alarm)?;
        Ok(Model { name: name.into(), version, scorer, depth })
    }
}

impl Models {
    pub fn open(choice: Choice) -> anyhow::Result<Self> {
        let Choice { profiles, false_alarm, model, product } = choice;
        let opener = Opener { model, false_alarm };
        let mut slots = Vec::<Slot>::new();
        for file in profiles {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let name = name_of(&stem);
            if slots.iter().any(|slot| slot.name == name) {
                let why = format!("another profile is served as {name}, too; rename one");
                return Err(Error::setting(format!("profile {}", file.display()), why).into());
            }
            let seen = Seen { state: state(&file), failures: 0 };
            let model = opener.profile(&name, &file)?;
            let file = Some((file, Mutex::new(seen)));
            slots.push(Slot { name, now: RwLock::new(Arc::new(model)), file });
        }
        if let Some((product, method)) = product {
            let depth = method.depth;
            let open = method.open()?;
            let words = open.product(&product.names, &product.prompts, &TextCache::from_env())?;
            let name = name_of(words.name());
            if slots.iter().any(|slot| slot.name == name) {
                let why = format!("a profile is served as {name}, too; rename its file");
                return Err(Error::setting(format!("product {name}"), why).into());
            }
            let (clip, adapter) = (open.clip.clone(), open.adapter().cloned());
            let hashes = [clip.sha256(), &words.words_sha256(), open.entry.name].concat();
            let version = short(&blemish::files::sha256(hashes.as_bytes()));
            let detector = open.detector()?;
            let context = Context::by_prompts(words, clip, adapter, open.fit, None);
            let scorer = Scorer { context, detector };
            let model = Model { name: name.clone(), version, scorer, depth };
            slots.push(Slot { name, now: RwLock::new(Arc::new(model)), file: None });
        }
        Ok(Self { slots, opener })
    }

    pub fn all(&self) -> Vec<Arc<Model>> {
        self.slots.iter().map(Slot::now).collect()
    }

    /// The model of this name, if it has this version.
    pub fn get(&self, name: &str, version: Option<&str>) -> Option<Arc<Model>> {
        let model = self.slots.iter().find(|slot| slot.name == name)?.now();
        version.is_none_or(|version| version == model.version).then_some(model)
    }

    /// Takes up profiles that were replaced. One that cannot be used is reported, and the old one stays.
    pub fn refresh(&self) {
        for slot in &self.slots {
            let Some((file, seen)) = &slot.file else { continue };
            let (now, mut seen) = (state(file), seen.lock().expect("no panic holds it"));
            if now.is_none() || (now == seen.state && !(1..MOST_TRIES).contains(&seen.failures)) {
                continue;
            }
            if now != seen.state {
                *seen = Seen { state: now, failures: 0 };
            }
            match self.opener.profile(&slot.name, file) {
                Ok(model) => {
                    say!("{} was replaced: now version {}", file.display(), model.version);
                    *slot.now.write().expect("no panic holds it") = Arc::new(model);
                    seen.failures = 0;
                }
                Err(error) => {
                    if seen.failures == 0 {
                        say!("warning: {error}; the old {} stays", slot.name);
                    }
                    seen.failures += 1;
                }
            }
        }
    }
}

impl Slot {
    fn now(&self) -> Arc<Model> {
        self.now.read().expect("no panic holds it").clone()
    }
}

/// A name that is safe in an address.
fn name_of(text: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    text.chars().map(safe).collect()
}
