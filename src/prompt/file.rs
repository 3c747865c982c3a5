//! Reads a prompt file (TOML). Each error names the mistake, with line and column if possible.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::lexicon::Lexicon;
use super::{Group, KIND, Line, Prompts, Role, SLOT};
use crate::error::{Error, Result};

/// A prompt file has one or two pages of text.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// A prompt is a short sentence. No model reads more than a tenth of this.
const LONGEST_LINE: usize = 1000;
/// An ignored thing must win with a share above 0.5 plus this margin, against the normal prompts and against the
/// anomaly that fits best.
pub(super) const MARGIN: f32 = 0.05;
const KEYS: [&str; 8] =
    ["product", "normal", "anomalous", "templates", "kind_states", "defect", "ignore", "translate"];
const DEFECT_KEYS: [&str; 2] = ["name", "states"];
const IGNORE_KEYS: [&str; 3] = ["name", "states", "margin"];

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    product: Vec<Spanned<String>>,
    normal: Vec<Spanned<String>>,
    #[serde(default)]
    anomalous: Vec<Spanned<String>>,
    templates: Vec<Spanned<String>>,
    #[serde(default)]
    kind_states: Vec<Spanned<String>>,
    #[serde(default)]
    defect: Vec<RawKind>,
    #[serde(default)]
    ignore: Vec<RawKind>,
    #[serde(default)]
    translate: BTreeMap<String, Spanned<String>>,
}

#[derive(Deserialize)]
struct RawKind {
    name: Spanned<String>,
    states: Option<Vec<Spanned<String>>>,
    margin: Option<Spanned<f32>>,
}

/// The text of a prompt file, and its name in messages.
struct Source<'a> {
    text: &'a str,
    file: &'a str,
}

pub(super) fn parse(bytes: &[u8], file: &str) -> Result<Prompts> {
    let fail = |why: String| Err(Error::Prompts { file: file.to_string(), why });
    if bytes.len() > MOST_BYTES {
        return fail("larger than 1 MiB: not a prompt file".into());
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            return fail(format!("line {line} is not UTF-8: save the file with that encoding"));
        }
    };
    let source = Source { text, file };
    source.check_keys()?;
    let raw: Raw = toml::from_str(text).map_err(|e| source.explain(&e))?;
    source.prompts(raw)
}

impl Source<'_> {
    fn error(&self, offset: usize, why: impl Into<String>) -> Error {
        let (line, column) = self.place(offset);
        Error::Prompts { file: format!("{}:{line}:{column}", self.file), why: why.into() }
    }

    fn explain(&self, error: &toml::de::Error) -> Error {
        let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        match error.span() {
            // A missing key has no position.
            Some(span) if !why.starts_with("missing field") || span.start > 0 => {
                self.error(span.start, why)
            }
            _ => Error::Prompts { file: self.file.to_string(), why },
        }
    }

    /// Line and column of a byte offset, both counted from 1.
    fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        (line, before.chars().rev().take_while(|c| *c != '\n').count() + 1)
    }

    /// serde would name the wrong key, but would not suggest the right one.
    fn check_keys(&self) -> Result<()> {
        let table = DeTable::parse(self.text).map_err(|e| self.explain(&e))?;
        self.check_table(table.get_ref(), &KEYS)?;
        for (section, keys) in [("defect", &DEFECT_KEYS[..]), ("ignore", &IGNORE_KEYS)] {
            let Some(DeValue::Array(entries)) = table.get_ref().get(section).map(Spanned::get_ref)
            else {
                continue;
            };
            for entry in entries.iter() {
                if let DeValue::Table(table) = entry.get_ref() {
                    self.check_table(table, keys)?;
                }
            }
        }
        Ok(())
    }

    fn check_table(&self, table: &DeTable, keys: &[&str]) -> Result<()> {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !keys.contains(&name) {
                let meant = match nearest(name, keys.iter().copied(), 0.6) {
                    Some(key) => format!("did you mean {key}?"),
                    None => format!("known are {}", keys.join(", ")),
                };
                return Err(
                    self.error(key.span().start, format!("unknown key {:?}; {meant}", cut(name)))
                );
            }
        }
        Ok(())
    }

    fn prompts(&self, raw: Raw) -> Result<Prompts> {
        let lexicon = self.lexicon(raw.translate)?;
        let lines = |name: &str, list, slots: &[&str]| self.lines(name, list, slots, &lexicon);
        let mut prompts = Prompts {
            file: self.file.to_string(),
            product: self.product(raw.product, &lexicon)?,
            kind_states: lines("kind_states", raw.kind_states, &[SLOT, KIND])?,
            templates: lines("templates", raw.templates, &[SLOT])?,
            groups: vec![
                Group::new(Role::Normal, "normal", lines("normal", raw.normal, &[SLOT])?),
                Group::new(
                    Role::Anomalous,
                    "anomalous",
                    lines("anomalous", raw.anomalous, &[SLOT])?,
                ),
            ],
            lexicon: lexicon.clone(),
        };
        for (name, list) in
            [("normal", &prompts.groups[0].states), ("templates", &prompts.templates)]
        {
            if list.is_empty() {
                return Err(self.whole(format!("{name} is empty: give at least one entry")));
            }
        }
        if prompts.groups[1].states.is_empty() {
            if raw.defect.is_empty() {
                let why = "anomalous is empty: give at least one entry, or a [[defect]]";
                return Err(self.whole(why.into()));
            }
            prompts.groups.pop();
        }
        let mut names = HashSet::new();
        let kinds = raw.defect.into_iter().map(|kind| (Role::Defect, kind));
        for (role, kind) in kinds.chain(raw.ignore.into_iter().map(|kind| (Role::Ignore, kind))) {
            let group = self.group(role, kind, &prompts, &mut names)?;
            prompts.groups.push(group);
        }
        prompts.check_count(1)?;
        Ok(prompts)
    }

    fn lexicon(&self, translate: BTreeMap<String, Spanned<String>>) -> Result<Lexicon> {
        let mut lexicon = Lexicon::default();
        for (term, english) in translate {
            let start = english.span().start;
            let added = lexicon.add(&term, english.get_ref());
            added.map_err(|why| self.error(start, format!("{:?} {why}", cut(&term))))?;
        }
        Ok(lexicon)
    }

    /// The product's names, each with its English translation.
    fn product(
        &self,
        names: Vec<Spanned<String>>,
        lexicon: &Lexicon,
    ) -> Result<Vec<(String, String)>> {
        let name = |name: Spanned<String>| {
            let (given, start) = (name.get_ref().trim().to_string(), name.span().start);
            if given.contains(SLOT) {
                return Err(self.error(start, "a product's name must be plain words, without {}"));
            }
            Ok((given, self.line(name, lexicon)?.text.trim().to_string()))
        };
        names.into_iter().map(name).collect()
    }

    /// The entries of a list, in English. Each must contain each of `slots` once.
    fn lines(
        &self,
        name: &str,
        list: Vec<Spanned<String>>,
        slots: &[&str],
        lexicon: &Lexicon,
    ) -> Result<Vec<Line>> {
        let lines =
            list.into_iter().map(|entry| self.line(entry, lexicon)).collect::<Result<Vec<_>>>()?;
        for line in &lines {
            if let Some(slot) = slots.iter().find(|slot| line.text.matches(**slot).count() != 1) {
                let why = format!("{name}: {:?} must hold {slot} exactly once", line.text);
                return Err(self.error_at(line, why));
            }
        }
        Ok(lines)
    }

    /// A `[[defect]]` or `[[ignore]]`. `names`: the names that are already used.
    fn group(
        &self,
        role: Role,
        kind: RawKind,
        prompts: &Prompts,
        names: &mut HashSet<String>,
    ) -> Result<Group> {
        let (start, name) = (kind.name.span().start, kind.name.get_ref().trim().to_string());
        if name.is_empty() || name.contains([',', '{']) {
            return Err(self.error(start, "a name is plain words without comma and {}"));
        }
        let lower = name.to_lowercase();
        let is_list = ["normal", "anomalous"].contains(&&*lower);
        if !names.insert(lower) || is_list {
            return Err(self.error(start, format!("the name {name:?} stands for another entry")));
        }
        let english = self.line(kind.name, &prompts.lexicon)?.text;
        let mut group = match kind.states {
            Some(states) if states.is_empty() => {
                return Err(self.error(start, format!("{name}: states is empty")));
            }
            Some(states) => {
                Group::new(role, &name, self.lines(&name, states, &[SLOT], &prompts.lexicon)?)
            }
            None => prompts.named(role, &name, &english).ok_or_else(|| {
                let why = "has no states, and the file has no kind_states to make them from";
                self.error(start, format!("{name}: {why}"))
            })?,
        };
        group.english = english;
        group.margin = MARGIN;
        if let Some(margin) = kind.margin {
            group.margin = *margin.get_ref();
            if !(0.0..0.5).contains(&group.margin) {
                let why = "margin must be at least 0 and below 0.5";
                return Err(self.error(margin.span().start, why));
            }
        }
        Ok(group)
    }

    fn whole(&self, why: String) -> Error {
        Error::Prompts { file: self.file.to_string(), why }
    }

    fn error_at(&self, line: &Line, why: String) -> Error {
        let (row, column) = line.place;
        Error::Prompts { file: format!("{}:{row}:{column}", self.file), why }
    }

    fn line(&self, entry: Spanned<String>, lexicon: &Lexicon) -> Result<Line> {
        let start = entry.span().start;
        let text = entry.into_inner();
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(
                self.error(start, format!("{:?}: give plain words on one line", cut(&text)))
            );
        }
        let too_long = |text: &str| {
            let why = format!("a text of {} bytes: a prompt is a short sentence", text.len());
            if text.len() > LONGEST_LINE { Err(self.error(start, why)) } else { Ok(()) }
        };
        too_long(&text)?;
        let text = lexicon.english(&text).map_err(|why| self.error(start, why))?;
        too_long(&text)?;
        Ok(Line { text, place: self.place(start) })
    }
}

/// The start of a text, short enough for a message.
fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The known word that is most similar to a mistyped word. None if its similarity is below `least` (0..1).
pub(super) fn nearest<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
    least: f64,
) -> Option<&'a str> {
    known
        .map(|k| (strsim::normalized_damerau_levenshtein(word, k), k))
        .filter(|(likeness, _)| *likeness >= least)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}
