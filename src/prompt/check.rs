//! What a prompt file makes of a product's name, and what is doubtful about it.

use std::collections::HashMap;

use super::{Group, Kind, Line, Product, Prompts, Role, TextCache};
use crate::ops::unit_rows;
use crate::{Clip, Result};

/// Mean embeddings that are nearer to each other than this are hardly two things to the model: for any photo the
/// cosines differ by at most 0.14, twice WinCLIP's temperature, and by far less for most.
const TOO_CLOSE: f32 = 0.99;

/// Something doubtful in a prompt file.
#[derive(Clone, Debug, PartialEq)]
pub struct Warning {
    /// The file, with line and column where it has a place.
    pub place: String,
    /// What is doubtful, and what to do.
    pub why: String,
}

/// What a prompt file makes of a product's name.
#[derive(Clone, Debug)]
pub struct Report {
    /// Each group's role, name, number of states and number of prompts.
    pub groups: Vec<(Role, String, usize, usize)>,
    /// For each pair of groups the cosine of their mean embeddings.
    pub cosines: Vec<(String, String, f32)>,
    /// What is doubtful.
    pub warnings: Vec<Warning>,
}

impl Prompts {
    /// Expands, counts, and looks for what is doubtful: states and templates that stand twice, prompts
    /// that are cut at the model's context, groups that the model can hardly tell apart.
    ///
    /// # Errors
    /// As [`Product::with_synonyms`].
    pub fn check(&self, clip: &Clip, names: &[String], cache: &TextCache) -> Result<Report> {
        let product = Product::with_synonyms(clip, names, self, cache)?;
        let mut warnings = Vec::new();
        let lists = self.groups.iter().map(|group| (&*group.name, &group.states));
        for (name, list) in lists.chain([("templates", &self.templates)]) {
            let mut first = HashMap::new();
            for line in list {
                if let Some(before) = first.insert(&line.text, line.place.0) {
                    let why = format!(
                        "{:?} stands in {name} twice (line {before}) and counts double",
                        line.text
                    );
                    warnings.push(self.at(line, why));
                }
            }
        }
        let kinds: Vec<_> = std::iter::once(product.normal()).chain(product.kinds()).collect();
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
        Ok(Report { groups: groups.collect(), cosines, warnings })
    }

    fn at(&self, line: &Line, why: String) -> Warning {
        let (row, column) = line.place;
        Warning { place: format!("{}:{row}:{column}", self.file), why }
    }
}

impl Product {
    /// Ignored things that the model can hardly tell from a defect, a sentence on each pair.
    ///
    /// # Errors
    /// [`crate::Error::Tensor`] when embeddings of different models are mixed.
    pub fn confusable(&self) -> Result<Vec<String>> {
        let kinds: Vec<&Kind> = std::iter::once(self.normal()).chain(self.kinds()).collect();
        let pairs = self.cosines()?.into_iter().map(|(i, j, cosine)| (kinds[i], kinds[j], cosine));
        let close =
            pairs.filter(|(a, b, cosine)| b.role == Role::Ignore && too_close(a, b, *cosine));
        Ok(close.map(|(a, b, cosine)| too_close_message(a, b, cosine)).collect())
    }

    /// For each pair of groups, normal as number 0, the cosine of their mean embeddings.
    fn cosines(&self) -> Result<Vec<(usize, usize, f32)>> {
        let kinds = std::iter::once(self.normal()).chain(self.kinds());
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

/// Two kinds of defect may be alike: either is a defect.
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
