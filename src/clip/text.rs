//! The text tower: a causal transformer. Its output at the end-of-text token becomes the text embedding.

use candle_core::{Device, Result, Tensor};

use super::checkpoint::{Checkpoint, Tower};
use super::config::Config;
use super::transformer::{Blocks, Sequences};
use crate::ops::{AttentionMask, LayerNorm, Linear};

/// Number of texts in one batch. It limits the memory and does not change the result.
const BATCH: usize = 128;

pub(super) struct TextTower {
    tokens: Tensor,
    positions: Tensor,
    blocks: Blocks,
    norm_after: LayerNorm,
    projection: Linear,
    device: Device,
}

impl TextTower {
    pub fn open(
        checkpoint: &Checkpoint,
        config: &Config,
        device: &Device,
    ) -> crate::error::Result<Self> {
        let (width, eps) = (config.text.width, config.text.norm_eps);
        let (norm_after, projection) =
            checkpoint.head(Tower::Text, width, config.embedding, eps)?;
        Ok(Self {
            tokens: checkpoint.token_embedding(config.vocabulary, width)?,
            positions: checkpoint.position_embedding(Tower::Text, config.context, width)?,
            blocks: Blocks::open(checkpoint, Tower::Text, &config.text)?,
            norm_after,
            projection,
            device: device.clone(),
        })
    }

    /// `texts`: the token ids of each text. Each text ends with the end-of-text token. The causal mask would hide
    /// everything after this token from it, so there is no padding. Returns `[texts, embedding]`, not normalised.
    pub fn forward(&self, texts: &[&[u32]]) -> Result<Tensor> {
        let parts = texts.chunks(BATCH).map(|t| self.batch(t)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 0)
    }

    fn batch(&self, texts: &[&[u32]]) -> Result<Tensor> {
        let lengths: Vec<usize> = texts.iter().map(|t| t.len()).collect();
        let ids: Vec<u32> = texts.iter().flat_map(|t| t.iter().copied()).collect();
        let places: Vec<u32> = lengths.iter().flat_map(|&n| 0..n as u32).collect();
        let ends: Vec<u32> = lengths
            .iter()
            .scan(0, |end, &n| {
                *end += n as u32;
                Some(*end - 1)
            })
            .collect();
        let index = |rows: Vec<u32>| Tensor::new(rows, &self.device);
        let x = (self.tokens.index_select(&index(ids)?, 0)?
            + self.positions.index_select(&index(places)?, 0)?)?;
        let sequences = Sequences {
            lengths,
            mask: AttentionMask::Causal,
            gather: None,
            pick: Some(index(ends)?),
        };
        let x = self.blocks.forward(&x, &sequences, None, |_, _| Ok(()))?;
        self.projection.forward(&self.norm_after.forward(&x)?, None)
    }
}
