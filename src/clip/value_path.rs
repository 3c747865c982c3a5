//! The V-V path of CLIP-AD (Chen et al., arXiv 2311.00453, section 3.2), as the official code computes it. Beside its
//! usual attention each block attends from values to values. These tokens agree with the text where the usual ones
//! contradict it.

use candle_core::{Result, Tensor};

use super::checkpoint::BlockParts;
use crate::ops::{AttentionMask, attention};

/// Sums what the V-V path adds to the patches, stage by stage. It never feeds back into the tower.
pub(super) struct ValuePath {
    /// Number of stages, and of blocks.
    stages: usize,
    blocks: usize,
    heads: usize,
    /// Tokens of the whole image: the class token and the patches.
    tokens: usize,
    /// The sum of the stage that is running, `[patches, width]`.
    sum: Option<Tensor>,
    /// The stages that ended: the class token `[1, width]`, and the patches.
    ended: Vec<(Option<Tensor>, Tensor)>,
}

impl ValuePath {
    pub fn new(stages: usize, blocks: usize, heads: usize, tokens: usize) -> Self {
        Self { stages, blocks, heads, tokens, sum: None, ended: vec![] }
    }

    /// Adds a block, counted from 1. `values`: `[rows, width]`, the image's tokens first.
    pub fn add(&mut self, number: usize, block: &BlockParts, values: &Tensor) -> Result<()> {
        let values = values.narrow(0, 0, self.tokens)?;
        let tokens = &[self.tokens];
        let mixed = attention(&values, &values, &values, tokens, self.heads, AttentionMask::All)?;
        let patches = mixed.narrow(0, 1, self.tokens - 1)?;
        let sum = block.out.forward(&patches, self.sum.take().as_ref())?;
        // A stage is `blocks / stages` blocks long, as a real number: six blocks have two whole stages of a quarter.
        match (number * self.stages).is_multiple_of(self.blocks) {
            true => self.ended.push((None, sum)),
            false => self.sum = Some(sum),
        }
        Ok(())
    }

    /// `x`: `[rows, width]`, the class token first: after a block's attention, or after the last block. The official
    /// code takes the class token of a stage only there, because it adds in place.
    pub fn see_class(&mut self, x: &Tensor) -> Result<()> {
        if let Some((class @ None, _)) = self.ended.last_mut() {
            *class = Some(x.narrow(0, 0, 1)?);
        }
        Ok(())
    }

    /// The tokens of the stages, `[tokens, width]`, the class token first.
    pub fn finish(self) -> Result<Vec<Tensor>> {
        let stages = self.ended.into_iter();
        stages.filter_map(|(class, patches)| Some(Tensor::cat(&[&class?, &patches], 0))).collect()
    }
}
