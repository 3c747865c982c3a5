//! Checks a prompt file with a product's name: counts prompts, and finds doubtful ones.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use super::{Group, Kind, Line, Product, Prompts, Role, TextCache};
use crate::clip::Clip;
use crate::error::Result;
use crate::ops::unit_rows;

/// Above this cosine of their mean embeddings, the model can hardly tell two groups apart. For any photo the cosines
/// with both differ by at most 0.14, which is twice WinCLIP's temperature. For most photos they differ by far less.
const TOO_CLOSE: f32 = 0.99;

/// Something doubtful in a prompt file.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The file, with line and column if known.
    pub place: String,
    /// What is doubtful, and what to do.
    pub why: String,
}

/// The result of [`Prompts::check`].
#[derive(Clone, Debug)]
pub struct PromptReport {
    /// Each group's role, name, number of states and number of prompts.
    pub groups: Vec<(Role, String, usize, usize)>,
    /// For each pair of groups the cosine of their mean embeddings.
    pub cosines: Vec<(String, String, f32)>,
    /// What is doubtful.
    pub warnings: Vec<Warning>,
}

impl Prompts {
    /// Expands and counts the prompts. Looks for states and templates that are there twice, prompts that the model does
    /// not read to the end, and groups that the model can hardly tell apart.
    ///
    /// # Errors
    /// As [`Product::with_synonyms`].
    pub fn check(&self, clip: &Clip, names: &[String], cache: &TextCache) -> Result<PromptReport> {
        let product = Product::with_synonyms(clip, names, self, cache)?;
        let mut warnings = Vec::new();
        let lists = self.groups.iter().map(|group| (&*group.name, &group.states));
        for (name, list) in lists.chain([("templates", &self.templates)]) {
            let mut first = HashMap::new();
            for line in list {
                if let Some(before) = first.insert(&line.text, line.place.0) {
                    let why = format!(
                        "{:?} is in {name} twice (line {before}) and counts double",
                        line.text
                    );
                    warnings.push(self.at(line, why));
                }
            }
        }
        let lines = self.groups.iter().flat_map(|group| &group.states).chain(&self.templates);
        for line in lines {
            if let Some(why) = unlearnt(&line.text) {
                warnings.push(self.at(line, why));
            }
        }
        for (name, english) in &self.product {
            if let Some(why) = unlearnt(name).or_else(|| unlearnt(english)) {
                warnings.push(Warning { place: self.file.clone(), why });
            }
        }
        let kinds: Vec<_> = product.all_kinds().collect();
        for (group, kind) in self.groups.iter().zip(&kinds) {
            let texts: Vec<String> = kind.prompts.iter().map(|p| p.text.clone()).collect();
            let tokens = clip.tokenize(&texts)?;
            let cut: Vec<&String> =
                texts.iter().zip(&tokens).filter(|(_, t)| t.cut).map(|(text, _)| text).collect();
            if let (Some(example), Some(line)) = (cut.first(), first_line(group)) {
                let why = format!(
                    "{} of {} prompts of {:?} are longer than the model reads and lose their end, such \
                     as {example:?}: use shorter states, templates or names",
                    cut.len(),
                    texts.len(),
                    group.name
                );
                warnings.push(self.at(line, why));
            }
        }
        let cosines = product.cosines()?;
        for (i, j, cosine) in &cosines {
            let (a, b) = (kinds[*i], kinds[*j]);
            if let (true, Some(line)) = (too_close(a, b, *cosine), first_line(&self.groups[*j])) {
                warnings.push(self.at(line, too_close_message(a, b, *cosine)));
            }
        }
        let name = |i: usize| kinds[i].name.clone();
        let cosines = cosines.into_iter().map(|(i, j, c)| (name(i), name(j), c)).collect();
        let groups = self.groups.iter().zip(&kinds).map(|(group, kind)| {
            (group.role, group.name.clone(), group.states.len(), kind.prompts.len())
        });
        Ok(PromptReport { groups: groups.collect(), cosines, warnings })
    }

    fn at(&self, line: &Line, why: String) -> Warning {
        let (row, column) = line.place;
        Warning { place: format!("{}:{row}:{column}", self.file), why }
    }
}

impl Product {
    /// One sentence for each ignored thing that the model can hardly tell from a defect.
    ///
    /// # Errors
    /// [`crate::error::Error::Tensor`] if the embeddings come from different models.
    pub fn confusable(&self) -> Result<Vec<String>> {
        let kinds: Vec<&Kind> = self.all_kinds().collect();
        let pairs = self.cosines()?.into_iter().map(|(i, j, cosine)| (kinds[i], kinds[j], cosine));
        let close =
            pairs.filter(|(a, b, cosine)| b.role == Role::Ignore && too_close(a, b, *cosine));
        Ok(close.map(|(a, b, cosine)| too_close_message(a, b, cosine)).collect())
    }

    /// For each pair of groups (the normal group is number 0) the cosine of their mean embeddings.
    fn cosines(&self) -> Result<Vec<(usize, usize, f32)>> {
        let kinds = self.all_kinds();
        let means = kinds
            .map(|kind| Ok(unit_rows(&kind.embeddings.mean(0)?)?))
            .collect::<Result<Vec<_>>>()?;
        let mut cosines = Vec::new();
        for (j, mean) in means.iter().enumerate() {
            for (i, other) in means[..j].iter().enumerate() {
                cosines.push((i, j, (mean * other)?.sum_all()?.to_scalar::<f32>()?));
            }
        }
        Ok(cosines)
    }
}

/// Finds characters that word processors and web pages put in place of plain ones. The model was not trained on them.
/// (open_clip's tokenizer replaces them, Hugging Face's does not.)
fn unlearnt(text: &str) -> Option<String> {
    const CURLY: [(char, &str); 10] = [
        ('\u{2018}', "'"),
        ('\u{2019}', "'"),
        ('\u{201a}', "'"),
        ('\u{201b}', "'"),
        ('\u{201c}', "\""),
        ('\u{201d}', "\""),
        ('\u{201e}', "\""),
        ('\u{2013}', "-"),
        ('\u{2014}', "-"),
        ('\u{2026}', "..."),
    ];
    if let Some((c, plain)) = CURLY.iter().find(|(c, _)| text.contains(*c)) {
        return Some(format!(
            "{text:?} has {c}, which the model does not read as {plain}: type {plain} instead"
        ));
    }
    let entity = text.split('&').skip(1).filter_map(|rest| rest.split_once(';'));
    let is_name = |name: &&str| {
        let name = name.strip_prefix('#').unwrap_or(name);
        (1..=8).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric())
    };
    if let Some(name) = entity.map(|(name, _)| name).find(is_name) {
        return Some(format!(
            "{text:?} has &{name};, which is a web page's code for a character: type the character itself"
        ));
    }
    let plain: String = text.nfkc().collect();
    let is_odd = plain != text.nfc().collect::<String>()
        || text.chars().any(|c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}'));
    is_odd.then(|| format!("{text:?} has characters of an unusual form: type plain ones"))
}

/// Two kinds of defect may be similar, because both count as defects.
fn too_close(a: &Kind, b: &Kind, cosine: f32) -> bool {
    let must_differ = a.role == Role::Normal || a.role != b.role && b.role == Role::Ignore;
    must_differ && cosine > TOO_CLOSE
}

fn too_close_message(a: &Kind, b: &Kind, cosine: f32) -> String {
    format!(
        "{:?} and {:?} are almost the same to this model (cosine {cosine:.4}): it can hardly tell them \
         apart; use other words",
        a.name, b.name
    )
}

fn first_line(group: &Group) -> Option<&Line> {
    group.states.first()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_word_processors_and_web_pages_is_noticed() {
        for text in [
            "a worker’s {}",
            "“{}”",
            "a {} – bent",
            "nuts &amp; bolts",
            "&#39;",
            "ﬁnish",
            "a\u{200b}b",
        ] {
            assert!(unlearnt(text).is_some(), "{text}");
        }
        for text in ["a worker's {}", "\"{}\"", "R&D", "나사", "Öl", "e\u{301}"] {
            assert!(unlearnt(text).is_none(), "{text}");
        }
    }
}
