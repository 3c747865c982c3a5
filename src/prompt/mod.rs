//! Prompts: text that describes good and defective products, in an editable file.

mod cache;
mod check;
mod file;
mod lexicon;
mod product;

use std::path::Path;

use crate::error::{Error, Result};
use lexicon::Lexicon;

pub use cache::TextCache;
pub use check::{PromptReport, Warning};
pub use product::{Kind, Product};

/// The slot for a state in a template, and for the product's name in a state.
const SLOT: &str = "{}";
/// The slot for a kind's name in `kind_states`.
const KIND: &str = "{kind}";
/// More prompts than this must be a mistake.
const MOST_PROMPTS: usize = 8192;

/// The prompt files in the program. The first is the default.
const EMBEDDED: [(&str, &str); 4] = [
    ("winclip", include_str!("../../prompts/winclip.toml")),
    ("april-gan", include_str!("../../prompts/april_gan.toml")),
    ("clip-ad", include_str!("../../prompts/clip_ad.toml")),
    ("inspection", include_str!("../../prompts/inspection.toml")),
];

/// Names and texts of the prompt files in the program. The first is the default.
pub fn prompt_files() -> &'static [(&'static str, &'static str)] {
    &EMBEDDED
}

/// One text of a prompt file.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    text: String,
    /// Line and column in the file, counted from 1.
    place: (usize, usize),
}

/// What a group of prompts describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Good products.
    Normal,
    /// Defective products in general.
    Anomalous,
    /// Products with one kind of defect.
    Defect,
    /// Products with a harmless thing that looks anomalous.
    Ignore,
}

/// The states of one kind.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    role: Role,
    name: String,
    /// The name in English.
    english: String,
    states: Vec<Line>,
    /// Whether it counts: a defect raises the score, and an ignored thing lowers it.
    counts: bool,
    /// For [`Role::Ignore`]: the margin by which it must win, 0..0.5 ([`Kind::margin`]).
    margin: f32,
}

impl Group {
    fn new(role: Role, name: &str, states: Vec<Line>) -> Self {
        let name = name.to_string();
        Self { role, english: name.clone(), name, states, counts: true, margin: 0.0 }
    }
}

/// One prompt, and the parts that it is made of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Prompt {
    /// The whole text.
    pub text: String,
    /// Its state, before the product's name was filled in.
    pub state: String,
    /// Its template.
    pub template: String,
}

/// A prompt ensemble (WinCLIP, section 4.1): every state of a group is filled into every template.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompts {
    file: String,
    /// The product's names in the file, if any, each with its English.
    product: Vec<(String, String)>,
    templates: Vec<Line>,
    /// States for kinds that have only a name, with `{}` and `{kind}`.
    kind_states: Vec<Line>,
    /// The normal group first.
    groups: Vec<Group>,
    lexicon: Lexicon,
}

impl Default for Prompts {
    /// WinCLIP's ensemble, `prompts/winclip.toml`.
    fn default() -> Self {
        let (name, text) = EMBEDDED[0];
        file::parse(text.as_bytes(), name).expect("the embedded prompts are tested")
    }
}

impl Prompts {
    /// Reads a prompt file (TOML; `prompts/inspection.toml` explains every key). `path` may also be the name of an
    /// embedded prompt file ([`prompt_files`]; `./name` is a file), or `-` for standard input.
    ///
    /// # Errors
    /// [`Error::Prompts`], with line and column if the mistake has a position.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.display().to_string();
        if let Some((name, text)) = EMBEDDED.iter().find(|(n, _)| *n == name) {
            return file::parse(text.as_bytes(), name);
        }
        let bytes = crate::files::read_text(path, file::MOST_BYTES as u64)
            .map_err(|e| Error::Prompts { file: name.clone(), why: format!("cannot read: {e}") })?;
        let name = if name == "-" { "standard input".to_string() } else { name };
        file::parse(&bytes, &name)
    }

    /// Parses the text of a prompt file. Messages use `name` for the file.
    ///
    /// # Errors
    /// As [`Prompts::open`].
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        file::parse(bytes, name)
    }

    /// Selects the kinds that count. `detect`: only these defects count, and not `anomalous`. `ignore`: only these
    /// harmless things are ignored. An empty list selects all. A name that is not in the file becomes a new kind, made
    /// from the file's `kind_states`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that the file has in another spelling, or if no states can be made for it.
    pub fn select(mut self, detect: &[String], ignore: &[String]) -> Result<Self> {
        let mut new = Vec::new();
        for (flag, role, names) in
            [("detect", Role::Defect, detect), ("ignore", Role::Ignore, ignore)]
        {
            if names.is_empty() {
                continue;
            }
            for group in &mut self.groups {
                let same =
                    group.role == role || role == Role::Defect && group.role == Role::Anomalous;
                group.counts &= !same;
            }
            for name in names.iter().map(|name| name.trim()) {
                let same = |g: &&mut Group| g.role == role && g.name.eq_ignore_ascii_case(name);
                match self.groups.iter_mut().find(same) {
                    Some(group) => group.counts = true,
                    None => new.push(self.ad_hoc(flag, role, name)?),
                }
            }
        }
        let names: Vec<&str> = new.iter().map(|group| &*group.name).collect();
        let twice = |i: &usize| names[..*i].iter().any(|n| n.eq_ignore_ascii_case(names[*i]));
        if let Some(i) = (1..names.len()).find(twice) {
            let list = if new[i].role == Role::Ignore { "ignore" } else { "detect" };
            return Err(Error::setting(
                format!("{list} {}", names[i]),
                "is named twice; name it once",
            ));
        }
        self.groups.extend(new);
        Ok(self)
    }

    /// A kind that is not in the file.
    fn ad_hoc(&self, flag: &str, role: Role, name: &str) -> Result<Group> {
        let fail = |why: String| Err(Error::setting(format!("{flag} {name}"), why));
        if name.is_empty() || name.contains('{') || name.chars().any(char::is_control) {
            return fail("give plain words".into());
        }
        if self.groups.iter().any(|g| g.name.eq_ignore_ascii_case(name)) {
            return fail(format!("{} has this name for something else", self.file));
        }
        let known = self.groups.iter().filter(|g| g.role == role).map(|g| &*g.name);
        // A new word may resemble a known one (dent, bent). A typing mistake resembles it even more.
        if let Some(near) = file::nearest(name, known.clone(), 0.8) {
            return fail(format!("{} has no such entry; did you mean {near}?", self.file));
        }
        let english = match self.lexicon.english(name) {
            Ok(english) => english,
            Err(why) => return fail(why),
        };
        self.named(role, name, &english).ok_or_else(|| {
            let known = match known.collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "no entries of this kind".to_string(),
                some => format!("only {some}"),
            };
            let why = format!(
                "{} has {known}, and no kind_states for new words; use the prompt file inspection, or a file \
                 of your own (`blemish prompts new my.toml`)",
                self.file
            );
            Error::setting(format!("{flag} {name}"), why)
        })
    }

    /// The group of a kind that has only a name.
    fn named(&self, role: Role, name: &str, english: &str) -> Option<Group> {
        let state =
            |line: &Line| Line { text: line.text.replace(KIND, english), place: line.place };
        let states: Vec<Line> = self.kind_states.iter().map(state).collect();
        if states.is_empty() {
            return None;
        }
        let mut group = Group::new(role, name, states);
        group.english = english.to_string();
        group.margin = file::MARGIN;
        Some(group)
    }

    /// Whether the file gives the product a name.
    pub fn names_product(&self) -> bool {
        !self.product.is_empty()
    }

    /// The product's names: the given ones, or else the file's. Each with its English.
    fn names(&self, given: &[String]) -> Result<Vec<(String, String)>> {
        if given.is_empty() {
            if self.product.is_empty() {
                let why =
                    "give the product a name, here or as product = [\"...\"] in the prompt file";
                return Err(Error::setting("product", why));
            }
            return Ok(self.product.clone());
        }
        let names = given.iter().map(|name| {
            let name = name.trim();
            let fail = |why: &str| Err(Error::setting(format!("product {name:?}"), why));
            if name.is_empty() {
                return fail("give the product a name, such as \"metal nut\"");
            }
            if name.contains(SLOT) || name.chars().any(char::is_control) {
                return fail("must be plain words, without {} and control characters");
            }
            match self.lexicon.english(name) {
                Ok(english) => Ok((name.to_string(), english)),
                Err(why) => fail(&why),
            }
        });
        names.collect()
    }

    /// The role, the name and the prompts of each group. The prompts combine every state with every product name and
    /// every template. If `names` is
    /// empty, the file's names are used.
    ///
    /// # Errors
    /// [`Error::Setting`] for a name that is missing or cannot be used. [`Error::Prompts`] if there are too many
    /// prompts.
    pub fn expand(&self, names: &[String]) -> Result<Vec<(Role, &str, Vec<Prompt>)>> {
        let names = self.names(names)?;
        self.check_count(names.len())?;
        let fill = |group: &Group| {
            let mut prompts = Vec::new();
            for (_, name) in &names {
                for state in &group.states {
                    let filled = state.text.replacen(SLOT, name, 1);
                    prompts.extend(self.templates.iter().map(|template| Prompt {
                        text: template.text.replacen(SLOT, &filled, 1),
                        state: state.text.clone(),
                        template: template.text.clone(),
                    }));
                }
            }
            prompts
        };
        Ok(self.groups.iter().map(|group| (group.role, &*group.name, fill(group))).collect())
    }

    fn check_count(&self, names: usize) -> Result<()> {
        let states: usize = self.groups.iter().map(|g| g.states.len()).sum();
        let count = states.saturating_mul(self.templates.len()).saturating_mul(names);
        if count > MOST_PROMPTS {
            let why = format!(
                "makes {count} prompts, more than {MOST_PROMPTS}: use fewer states, templates or names"
            );
            return Err(Error::Prompts { file: self.file.clone(), why });
        }
        Ok(())
    }
}
