//! Explains the score of a photo: leaves out each state, template and prompt in turn.

use std::collections::HashSet;

use super::{Detector, EncodedPhoto};
use crate::error::Result;
use crate::prompt::Product;
use crate::prompt::{Kind, Prompt};

/// A part of the prompts that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PromptPart {
    /// All prompts of one state.
    State,
    /// All prompts of one template, in every group.
    Template,
    /// One prompt. If a group holds it several times, all of them.
    Prompt,
}

/// How much a state, template or prompt changes the score of a photo: the score with it minus the score without it. A
/// positive number means that it makes the photo more anomalous.
#[derive(Clone, Debug)]
pub struct Effect {
    /// What was left out.
    pub part: PromptPart,
    /// The group (kind) that it belongs to. None for a template.
    pub kind: Option<String>,
    /// Its text.
    pub text: String,
    /// Change of the photo's score.
    pub score: f32,
    /// Change of the map at its hottest patch.
    pub peak: f32,
}

/// The effect of each state, template and prompt on the score of a photo.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The score, 0..1.
    pub score: f32,
    /// The highest value of the map on the grid of patches, 0..1.
    pub peak: f32,
    /// Column and row of the centre of the hottest patch, in pixels of the photo.
    pub peak_at: (usize, usize),
    /// Each state, template and prompt, in the order of the prompt file. An entry is missing if a group would be empty
    /// without it.
    pub effects: Vec<Effect>,
}

impl Detector {
    /// Leaves out each state, template and prompt of a product in turn, and scores the photo again. The result is
    /// exact. The model does not encode the photo again.
    ///
    /// # Errors
    /// As [`Detector::score`].
    pub fn explain(&self, photo: &EncodedPhoto, product: &Product) -> Result<Explanation> {
        let base = self.outcome(photo, product)?;
        let (hottest, peak) = base.map.peak();
        let mut effects = Vec::new();
        for (part, kind, text) in parts(product) {
            let leave_out = |k: &Kind, prompt: &Prompt| {
                kind.as_ref().is_none_or(|kind| k.name == *kind) && *text_of(part, prompt) == text
            };
            let Some(rest) = product.without(leave_out)? else { continue };
            let without = self.outcome(photo, &rest)?;
            effects.push(Effect {
                score: base.score - without.score,
                peak: peak - without.map.values[hottest],
                part,
                kind,
                text,
            });
        }
        let patch =
            |place: usize| (place as f64 + 0.5) * photo.features.size as f64 / base.map.side as f64;
        let (column, row) = (patch(hottest % base.map.side), patch(hottest / base.map.side));
        Ok(Explanation {
            score: base.score,
            peak,
            peak_at: photo.placement.on_photo(column, row),
            effects,
        })
    }
}

fn text_of(part: PromptPart, prompt: &Prompt) -> &String {
    match part {
        PromptPart::State => &prompt.state,
        PromptPart::Template => &prompt.template,
        PromptPart::Prompt => &prompt.text,
    }
}

/// Every state, template and prompt of a product, each once.
fn parts(product: &Product) -> Vec<(PromptPart, Option<String>, String)> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for part in [PromptPart::State, PromptPart::Template, PromptPart::Prompt] {
        for kind in product.all_kinds() {
            let name = (part != PromptPart::Template).then(|| kind.name.clone());
            for prompt in &kind.prompts {
                let entry = (part, name.clone(), text_of(part, prompt).clone());
                if seen.insert(entry.clone()) {
                    found.push(entry);
                }
            }
        }
    }
    found
}
