//! A method that scores by prompts, combined with another method that compares the patches of blocks. Each photo is
//! encoded once for both.

use std::sync::Arc;

use super::{KindScore, Method};
use crate::clip::{Features, Taps};
use crate::error::Result;
use crate::prompt::Product;
use crate::reference::{FINER, trunk_features};

#[derive(Clone)]
pub(crate) struct Combined {
    /// The method that scores by prompts.
    pub prompts: Arc<dyn Method>,
    /// The features that the other method needs.
    pub other: Taps,
    /// Whether they are those of the reference model.
    pub by_reference_model: bool,
}

/// The score comes from the prompts. The features are the union of what both sides need. The blocks for the prompts
/// come first.
impl Method for Combined {
    fn name(&self) -> &'static str {
        self.prompts.name()
    }

    fn taps(&self) -> Taps {
        let (prompts, other) = (self.prompts.taps(), self.other.clone());
        if self.by_reference_model {
            return Taps { reference: Some(Box::new(other)), ..prompts };
        }
        Taps {
            // If both sides need windows, they need the same ones, WinCLIP's.
            windows: if prompts.windows.is_empty() { other.windows } else { prompts.windows },
            blocks: [prompts.blocks, other.blocks].concat(),
            patches: prompts.patches || other.patches,
            trunk: prompts.trunk || other.trunk,
            v_v_stages: prompts.v_v_stages.max(other.v_v_stages),
            reference: None,
        }
    }

    fn project(&self, photo: Features) -> Result<Features> {
        if self.by_reference_model {
            return self.prompts.project(photo);
        }
        let trunk = photo.trunk.clone().filter(|_| self.other.trunk);
        let trunk = trunk.map(|outputs| trunk_features(&photo, &outputs)).transpose()?;
        let (own, mut rest) = (self.prompts.taps().blocks.len(), photo.blocks.clone());
        let blocks = rest.drain(..own).collect();
        let mut photo = self.prompts.project(Features { blocks, ..photo })?;
        photo.blocks.extend(rest);
        // The trunk's features come last, and nothing else of the trunk is kept.
        photo.blocks.extend(trunk.into_iter().flat_map(|trunk| trunk.blocks));
        photo.trunk = None;
        Ok(photo)
    }

    fn score(&self, photos: &[&Features], product: &Product) -> Result<Vec<Vec<KindScore>>> {
        let own: Vec<Features> = photos.iter().map(|photo| self.split(photo).0).collect();
        self.prompts.score(&own.iter().collect::<Vec<_>>(), product)
    }
}

impl Combined {
    /// The features for the prompts, and the features for the other side: of the blocks, windows and patches that it
    /// asks for, and of the trunk. The trunk's have a finer grid. Or those of the reference model, on its own grid.
    pub fn split(&self, photo: &Features) -> (Features, Vec<Features>) {
        if self.by_reference_model {
            let sources = photo.reference.iter().map(|features| (**features).clone()).collect();
            return (Features { reference: None, ..photo.clone() }, sources);
        }
        let compared = self.other.blocks.len() + usize::from(self.other.trunk);
        let (prompts, rest) = photo.blocks.split_at(photo.blocks.len() - compared);
        let (blocks, trunk) = rest.split_at(self.other.blocks.len());
        let part = |blocks: &[_]| Features { blocks: blocks.to_vec(), ..photo.clone() };
        let mut sources = Vec::new();
        if !blocks.is_empty() || trunk.is_empty() {
            sources.push(part(blocks));
        }
        if !trunk.is_empty() {
            sources.push(Features { grid: FINER * photo.grid, ..part(trunk) });
        }
        (part(prompts), sources)
    }
}
