//! A method of words, and something else that compares blocks: each photo is looked at once, for both.

use std::sync::Arc;

use super::{Method, Verdict};
use crate::{Features, Product, Result, Taps};

#[derive(Clone)]
pub(super) struct Sides {
    pub words: Arc<dyn Method>,
    /// What the other side needs.
    pub other: Taps,
}

/// It judges by words. What it needs is what both need: the words' blocks first.
impl Method for Sides {
    fn name(&self) -> &'static str {
        self.words.name()
    }

    fn taps(&self) -> Taps {
        let (words, other) = (self.words.taps(), self.other.clone());
        Taps {
            // Both are WinCLIP's where both have any.
            windows: if words.windows.is_empty() { other.windows } else { words.windows },
            blocks: [words.blocks, other.blocks].concat(),
            patches: words.patches || other.patches,
        }
    }

    fn digest(&self, photo: Features) -> Result<Features> {
        let (own, mut rest) = (self.words.taps().blocks.len(), photo.blocks.clone());
        let words = rest.drain(..own).collect();
        let mut photo = self.words.digest(Features { blocks: words, ..photo })?;
        photo.blocks.extend(rest);
        Ok(photo)
    }

    fn judge(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<Verdict>>> {
        let own: Vec<Features> = photos.iter().map(|photo| self.split(photo).0).collect();
        self.words.judge(&own.iter().collect::<Vec<_>>(), product)
    }
}

impl Sides {
    /// The words' part of what was seen, and the other's.
    pub fn split(&self, photo: &Features) -> (Features, Features) {
        let (words, rest) = photo.blocks.split_at(photo.blocks.len() - self.other.blocks.len());
        let part = |blocks: &[_]| Features { blocks: blocks.to_vec(), ..photo.clone() };
        (part(words), part(rest))
    }
}
