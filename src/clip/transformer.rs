//! The pre-norm transformer that both towers are made of, run over many sequences at once.

use candle_core::{Result, Tensor};

use super::checkpoint::{BlockParts, Checkpoint, Tower};
use super::config::Transformer;
use crate::ops::{AttentionMask, attention};

/// How the rows of a `[tokens, width]` tensor form sequences.
pub(super) struct Sequences {
    /// Tokens of each sequence, one sequence after another.
    pub lengths: Vec<usize>,
    pub mask: AttentionMask,
    /// Rows of the input that make up the sequences' rows, where some tokens stand in several
    /// sequences (the windows of an image); everything up to the first attention is computed once
    /// for each input row.
    pub gather: Option<Tensor>,
    /// Rows, one per sequence, that are all that is needed of the last block's output.
    pub pick: Option<Tensor>,
}

pub(super) struct Blocks {
    blocks: Vec<BlockParts>,
    heads: usize,
}

impl Blocks {
    pub fn open(
        checkpoint: &Checkpoint,
        tower: Tower,
        shape: &Transformer,
    ) -> crate::error::Result<Self> {
        checkpoint.check_blocks(tower, shape.layers)?;
        let blocks = (0..shape.layers)
            .map(|i| checkpoint.block(tower, i, shape))
            .collect::<crate::error::Result<Vec<_>>>()?;
        Ok(Self { blocks, heads: shape.heads })
    }

    pub fn count(&self) -> usize {
        self.blocks.len()
    }

    /// Runs all blocks; `tap` sees each block's number, from 1, and output (all rows, unless the
    /// sequences pick some of the last block's). Returns the last block's output.
    pub fn forward(
        &self,
        x: &Tensor,
        sequences: &Sequences,
        mut tap: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, block) in self.blocks.iter().enumerate() {
            let gather = sequences.gather.as_ref().filter(|_| i == 0);
            let pick = sequences.pick.as_ref().filter(|_| i + 1 == self.blocks.len());
            x = self.block(block, &x, sequences, gather, pick)?;
            tap(i + 1, &x)?;
        }
        Ok(x)
    }

    fn block(
        &self,
        block: &BlockParts,
        x: &Tensor,
        sequences: &Sequences,
        gather: Option<&Tensor>,
        pick: Option<&Tensor>,
    ) -> Result<Tensor> {
        let select = |t: Tensor, rows: Option<&Tensor>| match rows {
            Some(rows) => t.index_select(rows, 0),
            None => Ok(t),
        };
        let normed = block.norm_1.forward(x)?;
        let kv = select(block.kv.forward(&normed, None)?, gather)?;
        let queries = match (gather, pick) {
            (Some(gather), Some(pick)) => Some(gather.index_select(pick, 0)?),
            (None, Some(pick)) => Some(pick.clone()),
            _ => None,
        };
        // Picked rows are few: choose them first. Gathered ones repeat: multiply first.
        let (q, x) = match &queries {
            Some(rows) => {
                let rows = Some(rows);
                (block.q.forward(&select(normed, rows)?, None)?, select(x.clone(), rows)?)
            }
            None => (select(block.q.forward(&normed, None)?, gather)?, select(x.clone(), gather)?),
        };
        let width = q.dim(1)?;
        let (k, v) = (kv.narrow(1, 0, width)?, kv.narrow(1, width, width)?);
        let mixed = attention(&q, &k, &v, &sequences.lengths, self.heads, sequences.mask)?;
        block.mlp.forward(&block.out.forward(&mixed, Some(&x))?)
    }
}
