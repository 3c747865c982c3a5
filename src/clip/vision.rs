//! The image tower: a vision transformer. It encodes all patches of an image, and small windows of patches.

use candle_core::{Device, Result, Tensor};

use super::checkpoint::{Checkpoint, Tower};
use super::config::Config;
use super::transformer::{Blocks, Sequences};
use super::trunk::{FINER, Trunk, TrunkOutputs};
use super::trunk_config::TrunkConfig;
use super::value_path::ValuePath;
use crate::image::{Normalisation, resample_rows};
use crate::ops::{AttentionMask, LayerNorm, Layout, Linear};

/// What to compute for a photo besides its image embedding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taps {
    /// Sides of the square windows to embed, in patches (WinCLIP: 2 and 3).
    pub windows: Vec<usize>,
    /// Blocks whose output to keep, counted from 1. 0 is the input of the first block.
    pub blocks: Vec<usize>,
    /// Whether to keep the patches after the last block and the last norm.
    pub patches: bool,
    /// Whether to keep the outputs of the trunk, which only hybrid models have.
    pub trunk: bool,
    /// Number of stages of CLIP-AD's V-V path (4 in the paper). 0: without it.
    pub v_v_stages: usize,
    /// What to compute with the reference model. None: nothing.
    pub reference: Option<Box<Taps>>,
}

/// The output of the image tower for one photo.
#[derive(Clone, Debug)]
pub struct Features {
    /// The image embedding, `[embedding]`, not normalised.
    pub image: Tensor,
    /// For each window side of [`Taps::windows`]: the embeddings of the windows, `[(grid - side + 1)^2, embedding]`.
    /// The windows are in rows from the upper left corner, with stride 1.
    pub windows: Vec<Tensor>,
    /// For each block of [`Taps::blocks`]: its output, class token first, `[1 + grid^2, width]`.
    pub blocks: Vec<Tensor>,
    /// If [`Taps::patches`] is set: the patches after the last norm, not projected, `[grid^2, width]`.
    pub patches: Option<Tensor>,
    /// If [`Taps::trunk`] is set: the outputs of the trunk.
    pub trunk: Option<TrunkOutputs>,
    /// For each whole stage of [`Taps::v_v_stages`]: its tokens, class token first, `[1 + grid^2, embedding]`.
    pub v_v: Vec<Tensor>,
    /// If [`Taps::reference`] is set: the features of the reference model, on its own grid.
    pub reference: Option<Box<Features>>,
    /// Number of patches along one side.
    pub grid: usize,
    /// The input's side in pixels.
    pub size: usize,
}

impl Features {
    /// All tokens of places, without class tokens.
    pub(super) fn parts(&self) -> crate::error::Result<Vec<(Layout, Tensor)>> {
        let cells = |finer: usize| Layout::Cells { finer };
        let mut parts = Vec::new();
        for tokens in self.blocks.iter().chain(&self.v_v) {
            parts.push((cells(1), tokens.narrow(0, 1, tokens.dim(0)? - 1)?));
        }
        parts.extend(self.patches.iter().map(|patches| (cells(1), patches.clone())));
        if let Some(TrunkOutputs { fine, coarse }) = &self.trunk {
            parts.extend([(cells(FINER), fine.clone()), (cells(1), coarse.clone())]);
        }
        for windows in &self.windows {
            let side = self.grid + 1 - windows.dim(0)?.isqrt();
            parts.push((Layout::Windows { side }, windows.clone()));
        }
        Ok(parts)
    }

    /// The features of a larger photo: the image embedding and class tokens of these, and the tokens of places from
    /// `parts`, in the order of [`Features::parts`].
    pub(super) fn with_parts(
        self,
        parts: Vec<Tensor>,
        taps: &Taps,
        grid: usize,
        size: usize,
    ) -> crate::error::Result<Self> {
        let mut parts = parts.into_iter();
        let mut joined = |own: Vec<Tensor>| -> Result<Vec<Tensor>> {
            let pairs = own.into_iter().zip(parts.by_ref());
            pairs.map(|(own, part)| Tensor::cat(&[&own.narrow(0, 0, 1)?, &part], 0)).collect()
        };
        let blocks = joined(self.blocks)?;
        let v_v = joined(self.v_v)?;
        let patches = if taps.patches { parts.next() } else { None };
        let mut trunk = None;
        if taps.trunk {
            trunk = parts.next().zip(parts.next());
        }
        let trunk = trunk.map(|(fine, coarse)| TrunkOutputs { fine, coarse });
        let windows = parts.collect();
        Ok(Self { blocks, v_v, patches, trunk, windows, grid, size, ..self })
    }
}

pub(super) struct VisionTower {
    patch_size: usize,
    size: usize,
    patches: Linear,
    trunk: Option<(Trunk, LayerNorm, Linear)>,
    /// The class embedding plus its position embedding, `[1, width]`.
    class: Tensor,
    /// The position embeddings of the patches, `[grid^2, width]`.
    positions: Tensor,
    norm_before: LayerNorm,
    blocks: Blocks,
    norm_after: LayerNorm,
    projection: Linear,
    device: Device,
}

impl VisionTower {
    /// `size`: the input's side in pixels, a multiple of the patch size.
    pub fn open(
        checkpoint: &Checkpoint,
        config: &Config,
        normalisation: &Normalisation,
        size: usize,
        device: &Device,
    ) -> crate::error::Result<Self> {
        let (width, eps) = (config.vision.width, config.vision.norm_eps);
        let (trained, grid) = (config.image_size / config.patch_size, size / config.patch_size);
        let table = checkpoint.position_embedding(Tower::Vision, 1 + trained * trained, width)?;
        let class = (checkpoint.class_embedding(width)?.unsqueeze(0)? + table.narrow(0, 0, 1)?)?;
        let (norm_after, projection) =
            checkpoint.head(Tower::Vision, width, config.embedding, eps)?;
        let open_trunk = |shape: &TrunkConfig| -> crate::error::Result<_> {
            let trunk = Trunk::open(checkpoint, shape, normalisation, device)?;
            // A patch has four places of the finer output, and one of the other.
            let [fine, coarse] = shape.channels();
            let (norm, projection) =
                checkpoint.trunk_projection(4 * fine + coarse, width, shape.layer_norm_eps)?;
            Ok((trunk, norm, projection))
        };
        if config.trunk.is_none() {
            checkpoint.check_no_trunk()?;
        }
        Ok(Self {
            patch_size: config.patch_size,
            size,
            trunk: config.trunk.as_ref().map(open_trunk).transpose()?,
            patches: checkpoint.patch_embedding(width, config.patch_size)?,
            class,
            positions: resize_positions(&table.narrow(0, 1, trained * trained)?, trained, grid)?,
            norm_before: checkpoint.norm_before(width, eps)?,
            blocks: Blocks::open(checkpoint, Tower::Vision, &config.vision)?,
            norm_after,
            projection,
            device: device.clone(),
        })
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub fn grid(&self) -> usize {
        self.size / self.patch_size
    }

    pub fn has_trunk(&self) -> bool {
        self.trunk.is_some()
    }

    pub fn blocks(&self) -> usize {
        self.blocks.count()
    }

    /// `pixels`: `[3, size, size]`, normalised. The whole image and all windows are the sequences of one batch.
    pub fn forward(&self, pixels: &[f32], taps: &Taps) -> Result<Features> {
        let grid = self.grid();
        let tokens = 1 + grid * grid;
        let (x, trunk) = self.embed(pixels)?;
        let x = self.norm_before.forward(&x)?;

        let last = self.blocks.count();
        let (sequences, class_rows) = self.sequences(taps)?;
        let mut kept = vec![None; taps.blocks.len()];
        let mut keep = |block: usize, x: &Tensor| -> Result<()> {
            for (slot, _) in kept.iter_mut().zip(&taps.blocks).filter(|(_, b)| **b == block) {
                // Copy it. A view would keep the rows of all windows in memory.
                *slot = Some(x.narrow(0, 0, tokens)?.force_contiguous()?);
            }
            Ok(())
        };
        keep(0, &x)?;
        let stages = Some(taps.v_v_stages).filter(|stages| *stages > 0);
        let mut values =
            stages.map(|stages| ValuePath::new(stages, last, self.blocks.heads(), tokens));
        let x = self.blocks.forward(&x, &sequences, values.as_mut(), &mut keep)?;
        let patches = match taps.patches {
            true => Some(self.norm_after.forward(&x.narrow(0, 1, tokens - 1)?)?),
            false => None,
        };
        let class = match sequences.pick {
            None => x.index_select(&class_rows, 0)?,
            Some(_) => x,
        };
        let embed = |x: &Tensor| self.projection.forward(&self.norm_after.forward(x)?, None);
        let embeddings = embed(&class)?;
        let v_v = values.map_or(Ok(vec![]), ValuePath::finish)?;

        let mut first = 1;
        let mut windows = Vec::new();
        for &side in &taps.windows {
            let count = window_count(grid, side);
            windows.push(embeddings.narrow(0, first, count)?);
            first += count;
        }
        let blocks = kept.into_iter().map(|x| {
            x.ok_or_else(|| candle_core::Error::Msg(format!("the model has only {last} blocks")))
        });
        Ok(Features {
            image: embeddings.get(0)?,
            windows,
            blocks: blocks.collect::<Result<_>>()?,
            patches,
            trunk: trunk.filter(|_| taps.trunk),
            v_v: v_v.iter().map(embed).collect::<Result<_>>()?,
            reference: None,
            grid,
            size: self.size,
        })
    }

    /// The whole image and all windows as sequences, and the rows of their class tokens.
    fn sequences(&self, taps: &Taps) -> Result<(Sequences, Tensor)> {
        let grid = self.grid();
        let tokens = 1 + grid * grid;
        let mut rows: Vec<u32> = (0..tokens as u32).collect();
        let mut lengths = vec![tokens];
        for &side in &taps.windows {
            let windows = window_rows(grid, side);
            lengths.extend(std::iter::repeat_n(1 + side * side, windows.len() / (1 + side * side)));
            rows.extend(windows);
        }
        let starts: Vec<u32> = lengths
            .iter()
            .scan(0, |start, &length| Some(std::mem::replace(start, *start + length as u32)))
            .collect();
        let index = |rows: Vec<u32>| Tensor::new(rows, &self.device);
        // Only the class tokens of the last block are needed, unless its output is kept.
        let keeps_last = taps.patches || taps.blocks.contains(&self.blocks.count());
        let class_rows = index(starts)?;
        let sequences = Sequences {
            lengths,
            mask: AttentionMask::All,
            gather: (!taps.windows.is_empty()).then(|| index(rows)).transpose()?,
            pick: (!keeps_last).then(|| class_rows.clone()),
        };
        Ok((sequences, class_rows))
    }

    /// Class and patch embeddings plus their position embeddings, `[1 + grid^2, width]`. In a hybrid model a patch's
    /// embedding is of its pixels and of the trunk's channels. Also returns the trunk's outputs.
    fn embed(&self, pixels: &[f32]) -> Result<(Tensor, Option<TrunkOutputs>)> {
        let (grid, patch) = (self.grid(), self.patch_size);
        let patches = Tensor::from_slice(pixels, (3, grid, patch, grid, patch), &self.device)?
            .permute((1, 3, 0, 2, 4))?
            .reshape((grid * grid, 3 * patch * patch))?;
        let mut patches = self.patches.forward(&patches, Some(&self.positions))?;
        let mut outputs = None;
        if let Some((trunk, norm, projection)) = &self.trunk {
            let found = trunk.forward(pixels, self.size)?;
            let channels = norm.forward(&found.on_patches(grid)?)?;
            patches = projection.forward(&channels, Some(&patches))?;
            outputs = Some(found);
        }
        Ok((Tensor::cat(&[&self.class, &patches], 0)?, outputs))
    }
}

/// Number of windows of `side` x `side` patches on a `grid` x `grid` grid, with stride 1.
fn window_count(grid: usize, side: usize) -> usize {
    (grid - side + 1) * (grid - side + 1)
}

/// For each window: the rows of its tokens, first the class token, then its patches.
fn window_rows(grid: usize, side: usize) -> Vec<u32> {
    let mut rows = Vec::with_capacity(window_count(grid, side) * (1 + side * side));
    for top in 0..=grid - side {
        for left in 0..=grid - side {
            rows.push(0);
            for y in top..top + side {
                rows.extend((left..left + side).map(|x| (1 + y * grid + x) as u32));
            }
        }
    }
    rows
}

/// Resizes the position table to another grid: bicubic with antialiasing, as open_clip does.
fn resize_positions(table: &Tensor, from: usize, to: usize) -> Result<Tensor> {
    if from == to {
        return table.contiguous();
    }
    let width = table.dim(1)?;
    let values = table.flatten_all()?.to_vec1::<f32>()?;
    Tensor::from_vec(
        resample_rows(&values, (from, from), (to, to), width),
        (to * to, width),
        table.device(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_table_stretches_as_in_pytorch() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/clip/position_embedding.safetensors"
        );
        let golden = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let patches = |name: &str| {
            let table = &golden[name];
            table.narrow(0, 1, table.dim(0).unwrap() - 1).unwrap()
        };
        for to in [5, 11] {
            let resized = resize_positions(&patches("input"), 7, to).unwrap();
            let expected = patches(&format!("to_{to}.antialias_true"));
            let difference = (resized - expected).unwrap().abs().unwrap().max_all().unwrap();
            assert!(difference.to_scalar::<f32>().unwrap() < 1e-5);
        }
    }

    #[test]
    fn windows_hold_the_class_token_and_their_patches() {
        assert_eq!(window_rows(3, 2)[..10], [0, 1, 2, 4, 5, 0, 2, 3, 5, 6]);
        assert_eq!(window_rows(3, 2).len(), window_count(3, 2) * 5);
    }
}
