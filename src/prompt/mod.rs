//! The words: what a good and a defective product are called, in an editable file.

mod cache;
mod product;

use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

pub use cache::TextCache;
pub use product::Product;

/// The slot that a template keeps for a state, and a state for the product's name.
const SLOT: &str = "{}";
const WINCLIP: &str = include_str!("../../prompts/winclip.toml");
/// More prompts than this are a mistake, not an ensemble.
const MOST_PROMPTS: usize = 10_000;

/// A prompt ensemble (WinCLIP, section 4.1): every state filled into every template.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// States of a good product, with `{}` for its name.
    normal: Vec<String>,
    /// States of a defective product, with `{}` for its name.
    anomalous: Vec<String>,
    /// Sentences, with `{}` for a state.
    templates: Vec<String>,
}

impl Default for Prompts {
    /// WinCLIP's ensemble, `prompts/winclip.toml`.
    fn default() -> Self {
        Self::parse(WINCLIP, "winclip.toml").expect("the embedded prompts are tested")
    }
}

impl Prompts {
    /// Reads a prompt file (TOML with the lists `normal`, `anomalous` and `templates`).
    ///
    /// # Errors
    /// [`Error::Prompts`] with line and column where the mistake has a place.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::Prompts { file: file.clone(), why: format!("cannot read: {e}") })?;
        Self::parse(&text, &file)
    }

    fn parse(text: &str, file: &str) -> Result<Self> {
        let prompts: Prompts = toml::from_str(text).map_err(|e| {
            let place = e.span().map_or(String::new(), |span| place(text, span.start));
            Error::Prompts { file: format!("{file}{place}"), why: e.message().replace('\n', ", ") }
        })?;
        let fail = |why: String| Err(Error::Prompts { file: file.to_string(), why });
        let lists = [
            ("normal", &prompts.normal),
            ("anomalous", &prompts.anomalous),
            ("templates", &prompts.templates),
        ];
        for (name, list) in lists {
            if list.is_empty() {
                return fail(format!("{name} is empty: give at least one entry"));
            }
            if let Some(entry) = list.iter().find(|entry| entry.matches(SLOT).count() != 1) {
                return fail(format!("{name}: {entry:?} must hold {SLOT} exactly once"));
            }
        }
        let states = prompts.normal.len().max(prompts.anomalous.len());
        if states.saturating_mul(prompts.templates.len()) > MOST_PROMPTS {
            return fail(format!(
                "more than {MOST_PROMPTS} prompts: use fewer states or templates"
            ));
        }
        Ok(prompts)
    }

    /// The sentences that describe a good product of this name.
    pub fn normal(&self, name: &str) -> Vec<String> {
        self.expand(&self.normal, name)
    }

    /// The sentences that describe a defective product of this name.
    pub fn anomalous(&self, name: &str) -> Vec<String> {
        self.expand(&self.anomalous, name)
    }

    fn expand(&self, states: &[String], name: &str) -> Vec<String> {
        let fill = |text: &str, word: &str| text.replacen(SLOT, word, 1);
        states
            .iter()
            .flat_map(|state| self.templates.iter().map(move |t| fill(t, &fill(state, name))))
            .collect()
    }
}

/// `:line:column` of a byte offset, both from 1.
fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!(":{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_expands_to_the_references_prompts() {
        let prompts = Prompts::default();
        let (normal, anomalous) = (prompts.normal("metal nut"), prompts.anomalous("metal nut"));
        assert_eq!((normal.len(), anomalous.len()), (7 * 21, 4 * 21));
        assert_eq!(normal[0], "a cropped photo of the metal nut.");
        assert_eq!(normal[22], "a close-up photo of a flawless metal nut.");
        assert_eq!(anomalous[83], "a photo of a metal nut with damage for anomaly detection.");
    }

    #[test]
    fn mistakes_are_placed_and_named() {
        let good = "normal = [\"{}\"]\nanomalous = [\"bad {}\"]\ntemplates = [\"a {}.\"]\n";
        assert!(Prompts::parse(good, "p.toml").is_ok());
        let message = |text: &str| Prompts::parse(text, "p.toml").unwrap_err().to_string();
        assert!(message(&good.replace("normal = ", "normal : ")).starts_with("p.toml:1:8: "));
        assert!(
            message(&good.replace("templates", "template"))
                .starts_with("p.toml:3:1: unknown field")
        );
        assert!(message(&good.replace("[\"{}\"]", "[]")).contains("normal is empty"));
        assert!(message(&good.replace("bad {}", "bad")).contains("\"bad\" must hold {}"));
        assert!(message(&good.replace("bad {}", "{} {}")).contains("exactly once"));
        assert!(message(&good.replace("\"{}\"", "3")).starts_with("p.toml:1:11: invalid type"));
        for text in [good.replace("templates", "template"), String::from("\u{feff}[[[")] {
            assert!(!message(&text).contains('\n'));
        }
    }
}
