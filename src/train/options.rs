//! The options of a training.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::image::BitDepth;
use crate::reference::Layers;

/// The options of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// What gets a layer: blocks, counted from 1, and the trunk of a hybrid model.
    pub layers: Layers,
    /// How often every photo is used.
    pub epochs: usize,
    /// Number of photos in one step.
    pub batch: usize,
    /// Adam's learning rate.
    pub learning_rate: f64,
    /// Adam's decay rates of the moments.
    pub betas: (f64, f64),
    /// AdamW's weight decay. 0 gives Adam.
    pub weight_decay: f64,
    /// The share of photos that are replaced by a 2x2 mosaic of photos of their product, 0..1.
    pub mosaic: f64,
    /// The share of photos that are held back for validation if there is no validation set, 0..1.
    pub holdout: f64,
    /// The factor on the cosines. None: the model's own.
    pub logit_scale: Option<f32>,
    /// Seed of all random choices.
    pub seed: u64,
    /// The number of bits that the camera uses in 16-bit files.
    pub depth: BitDepth,
}

impl Default for TrainOptions {
    /// The values of the official code, if it has them.
    fn default() -> Self {
        Self {
            layers: vec![6, 12, 18, 24].into(),
            epochs: 15,
            batch: 8,
            learning_rate: 1e-3,
            betas: (0.5, 0.999),
            weight_decay: 0.0,
            mosaic: 0.2,
            holdout: 0.1,
            logit_scale: None,
            seed: 0,
            depth: BitDepth::default(),
        }
    }
}

impl TrainOptions {
    pub(super) fn check(&self) -> Result<()> {
        let share = 0.0..1.0;
        let is_positive = |x: f64| x.is_finite() && x > 0.0;
        let blocks = &self.layers.blocks;
        let distinct: BTreeSet<&usize> = blocks.iter().collect();
        let scale = self.logit_scale.is_none_or(|scale| is_positive(f64::from(scale)));
        let rules = [
            (blocks.is_empty(), "blocks", "give at least one"),
            (distinct.len() < blocks.len(), "blocks", "give each block once"),
            (self.epochs == 0, "epochs 0", "give at least 1"),
            (self.batch == 0, "batch 0", "give at least 1"),
            (!is_positive(self.learning_rate), "learning-rate", "must be positive"),
            (!scale, "logit-scale", "must be positive"),
            (
                !share.contains(&self.betas.0) || !share.contains(&self.betas.1),
                "betas",
                "must be at least 0 and below 1",
            ),
            (!(0.0..=1.0).contains(&self.mosaic), "mosaic", "must be between 0 and 1"),
            (!share.contains(&self.holdout), "holdout", "must be at least 0 and below 1"),
            (!share.contains(&self.weight_decay), "weight-decay", "must be at least 0 and below 1"),
        ];
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, setting, why)) => Err(Error::setting(setting, why)),
            None => Ok(()),
        }
    }
}
