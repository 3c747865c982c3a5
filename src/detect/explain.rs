//! Why a photo has its score: each state, template and prompt left out in turn.

use std::collections::HashSet;

use super::{Detector, EncodedPhoto};
use crate::error::Result;
use crate::prompt::Product;
use crate::prompt::{Kind, Prompt};

/// A part of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PromptPart {
    /// All prompts of one state.
    State,
    /// All prompts of one template, in every group.
    Template,
    /// One sentence; all of them, where it stands more than once in a group.
    Prompt,
}

/// How much a part of the words moves a photo's score: the score with it less the score without it, so
/// that a positive number means that it makes the photo look more anomalous.
#[derive(Clone, Debug)]
pub struct Effect {
    /// What was left out.
    pub part: PromptPart,
    /// The group it belongs to; none for a template.
    pub kind: Option<String>,
    /// Its text.
    pub text: String,
    /// Effect on the photo's score.
    pub score: f32,
    /// Effect on the map at its hottest patch.
    pub peak: f32,
}

/// Why a photo has its score.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The score, 0..1.
    pub score: f32,
    /// The highest value of the map, on the grid of patches.
    pub peak: f32,
    /// Column and row of the hottest patch's centre on the photo, in pixels.
    pub peak_at: (usize, usize),
    /// Each state, template and prompt, in the order of the prompt file. What is the only one of its kind
    /// cannot be left out and is not here.
    pub effects: Vec<Effect>,
}

impl Detector {
    /// Leaves out each state, template and prompt of a product's words, and judges again what was seen:
    /// exact, and without passing the photo through the model again.
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

/// Every part of a product's words, each once.
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
