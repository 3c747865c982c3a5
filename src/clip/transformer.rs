//! The pre-norm transformer of both towers. It runs over many sequences at once.

use candle_core::{Result, Tensor};

use super::checkpoint::{BlockParts, Checkpoint, Tower};
use super::config::Transformer;
use super::value_path::ValuePath;
use crate::ops::{AttentionMask, attention};

/// How the rows of a `[tokens, width]` tensor form sequences.
pub(super) struct Sequences {
    /// Number of tokens of each sequence. The sequences follow one another.
    pub lengths: Vec<usize>,
    pub mask: AttentionMask,
    /// For each row of the sequences, its row in the input. Needed if a token is part of several sequences (the windows
    /// of an image). Everything before the first attention is computed once for each input row.
    pub gather: Option<Tensor>,
    /// One row for each sequence, if only these rows of the last block's output are needed.
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

    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Runs all blocks. `tap` gets the number of each block, counted from 1, and its output. The output has all rows.
    /// If `sequences` has `pick`, the output of the last block has only the picked rows. Returns the output of the last
    /// block.
    pub fn forward(
        &self,
        x: &Tensor,
        sequences: &Sequences,
        mut values: Option<&mut ValuePath>,
        mut tap: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for i in 0..self.blocks.len() {
            x = self.block(i, &x, sequences, values.as_deref_mut())?;
            tap(i + 1, &x)?;
        }
        if let Some(values) = values {
            values.see_class(&x)?;
        }
        Ok(x)
    }

    fn block(
        &self,
        index: usize,
        x: &Tensor,
        sequences: &Sequences,
        values: Option<&mut ValuePath>,
    ) -> Result<Tensor> {
        let block = &self.blocks[index];
        let gather = sequences.gather.as_ref().filter(|_| index == 0);
        let pick = sequences.pick.as_ref().filter(|_| index + 1 == self.blocks.len());
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
        // Picked rows are few, so select them before the product. Gathered rows repeat, so select them after it.
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
        let x = block.out.forward(&mixed, Some(&x))?;
        if let Some(values) = values {
            values.see_class(&x)?;
            values.add(index + 1, block, &v)?;
        }
        block.mlp.forward(&x)
    }
}
