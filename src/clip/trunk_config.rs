//! The configuration of a hybrid model's trunk.

use serde::Deserialize;

/// The trunk of a hybrid model: a small convolutional network below the image tower.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TrunkConfig {
    pub stem_stride: usize,
    pub blocks: Vec<TrunkBlock>,
    /// The blocks whose outputs are used, counted from 1: on a grid twice as fine as the patches, and on theirs.
    pub taps: [usize; 2],
    /// Its input is `(value - mean) / std` of values of 0..255.
    pub mean: f32,
    pub std: f32,
    pub activation: String,
    pub layer_norm_eps: f64,
}

/// An inverted residual block: 1x1, depthwise and 1x1 convolutions.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct TrunkBlock {
    pub stride: usize,
    pub kernel: usize,
    pub input: usize,
    pub output: usize,
    pub expand: usize,
}

impl TrunkConfig {
    /// Channels of the two outputs.
    pub fn channels(&self) -> [usize; 2] {
        self.taps.map(|tap| self.blocks[tap - 1].output)
    }

    pub fn check(&self, patch: usize) -> Result<(), String> {
        const LARGEST: usize = 4096;
        let fail = |why: &str| Err(format!("the trunk in the configuration {why}"));
        let blocks = &self.blocks;
        let fits = |block: &TrunkBlock| {
            (1..=LARGEST).contains(&block.input)
                && (1..=LARGEST).contains(&block.output)
                && (1..=16).contains(&block.expand)
                && [1, 2].contains(&block.stride)
                && [3, 5, 7].contains(&block.kernel)
        };
        if blocks.is_empty() || blocks.len() > 64 || !blocks.iter().all(fits) {
            return fail("has a block that is not supported");
        }
        if blocks.windows(2).any(|pair| pair[0].output != pair[1].input) {
            return fail("has blocks that do not follow each other");
        }
        if self.activation != "relu6" {
            return fail(&format!("has activation {:?} (relu6 is supported)", self.activation));
        }
        let [fine, coarse] = self.taps;
        if fine == 0 || fine >= coarse || coarse > blocks.len() {
            return fail("has taps that are not two of its blocks, in order");
        }
        let stride = |tap: usize| {
            blocks[..tap]
                .iter()
                .fold(self.stem_stride, |stride: usize, block| stride.saturating_mul(block.stride))
        };
        if !(1..=2).contains(&self.stem_stride)
            || 2 * stride(fine) != patch
            || stride(coarse) != patch
        {
            return fail(
                "has taps that are not on the grid of the patches and on one twice as fine",
            );
        }
        let is_number = |x: f32| x.is_finite() && x.abs() < 1e6;
        if !(is_number(self.mean) && is_number(self.std) && self.std > 0.0) {
            return fail("has a mean or a std that is not usable");
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 0.1) {
            return fail("has a layer_norm_eps that is not between 0 and 0.1");
        }
        Ok(())
    }
}
