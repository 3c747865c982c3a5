//! Which layers of the image tower are compared, and the trunk's outputs as features.

use std::fmt;
use std::str::FromStr;

use candle_core::{D, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::clip::{Clip, Features, Shape, Taps, TrunkOutputs, enlarged_rows};
use crate::error::{Error, Result};
use crate::ops::{cpu_slice, unit_rows};

pub(crate) use crate::clip::FINER;

/// The layers whose patches are compared: blocks of the transformer, the trunk of a hybrid model, or both. Written as
/// `3,5`, `trunk` or `trunk,3,5`, and in JSON as `[3, 5]`, `["trunk"]` or `["trunk", 3, 5]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "JsonLayers", into = "JsonLayers")]
pub struct Layers {
    /// Blocks, counted from 1.
    pub blocks: Vec<usize>,
    /// Whether the trunk is compared. Its grid is twice as fine as the patches.
    pub trunk: bool,
}

/// [`Layers`] as they are in JSON.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct JsonLayers(Vec<Layer>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Layer {
    Block(usize),
    Other(Trunk),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Trunk {
    Trunk,
}

impl From<JsonLayers> for Layers {
    fn from(JsonLayers(all): JsonLayers) -> Self {
        let mut layers = Self::default();
        for layer in all {
            match layer {
                Layer::Block(block) => layers.blocks.push(block),
                Layer::Other(Trunk::Trunk) => layers.trunk = true,
            }
        }
        layers
    }
}

impl From<Layers> for JsonLayers {
    fn from(layers: Layers) -> Self {
        let trunk = layers.trunk.then_some(Layer::Other(Trunk::Trunk));
        let blocks = layers.blocks.into_iter().map(Layer::Block);
        Self(trunk.into_iter().chain(blocks).collect())
    }
}

impl Layers {
    /// One block at each quarter of the tower, and the trunk if there is one.
    pub fn quarters(shape: Shape) -> Self {
        let mut blocks: Vec<usize> = (1..=4).map(|i| (shape.blocks * i).div_ceil(4)).collect();
        blocks.dedup();
        Self { blocks, trunk: shape.trunk.is_some() }
    }

    /// How many sets of features are compared: of the blocks (or windows), and of the trunk.
    pub(crate) fn sources(&self) -> usize {
        usize::from(!self.blocks.is_empty() || !self.trunk) + usize::from(self.trunk)
    }

    /// Whether nothing is compared.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && !self.trunk
    }

    /// Refuses layers that the model does not have, and no layers at all. `setting`: where they were asked for.
    pub(crate) fn check(&self, setting: &str, clip: &Clip) -> Result<()> {
        let shape = clip.compared_shape();
        let name = clip.reference().map_or(clip.name(), |dino| dino.name());
        let is_block = |block: &usize| (1..=shape.blocks).contains(block);
        let why = if self.trunk && shape.trunk.is_none() {
            format!("model {name} has no trunk; give numbers of blocks")
        } else if self.is_empty() || !self.blocks.iter().all(is_block) {
            format!("give blocks of the model, from 1 to {}", shape.blocks)
        } else {
            return Ok(());
        };
        Err(Error::setting(format!("{setting} {self}").trim_end(), why))
    }

    /// The features that a comparison of these layers needs.
    pub(crate) fn taps(&self) -> Taps {
        Taps { blocks: self.blocks.clone(), trunk: self.trunk, ..Taps::default() }
    }
}

impl From<Vec<usize>> for Layers {
    fn from(blocks: Vec<usize>) -> Self {
        Self { blocks, trunk: false }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trunk = self.trunk.then(|| "trunk".to_string());
        let blocks = self.blocks.iter().map(usize::to_string);
        f.write_str(&trunk.into_iter().chain(blocks).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Layers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut layers = Self::default();
        for part in text.split(',').map(str::trim) {
            match part.parse() {
                Ok(block) => layers.blocks.push(block),
                _ if part == "trunk" => layers.trunk = true,
                _ => return Err("give numbers of blocks, or trunk, such as trunk,3,5".into()),
            }
        }
        Ok(layers)
    }
}

/// The trunk's outputs as patches of a photo, on a grid twice as fine as the model's. Both outputs are averaged over
/// 3x3 places, brought to the finer grid, scaled to unit length at each place, and put side by side. The features have
/// one block, `[1 + (2 grid)^2, channels]`, whose first row is empty like a class token.
pub(crate) fn trunk_features(photo: &Features, outputs: &TrunkOutputs) -> Result<Features> {
    let side = FINER * photo.grid;
    let fine = unit_rows(&local_means(&outputs.fine, side)?)?;
    let coarse = local_means(&outputs.coarse, photo.grid)?;
    let coarse = unit_rows(&enlarged_rows(&coarse, photo.grid, side)?)?;
    let patches = Tensor::cat(&[fine, coarse], D::Minus1)?;
    let block = patches.pad_with_zeros(0, 1, 0)?;
    Ok(Features { blocks: vec![block], grid: side, trunk: None, ..photo.clone() })
}

/// The mean over the 3x3 places around each place, of those that exist. `rows`: `[side^2, channels]`.
fn local_means(rows: &Tensor, side: usize) -> Result<Tensor> {
    let rows = rows.to_device(&candle_core::Device::Cpu)?.contiguous()?;
    let (values, width) = (cpu_slice(&rows)?, rows.dim(1)?);
    let around = |at: usize| at.saturating_sub(1)..(at + 2).min(side);
    let mut means = vec![0f32; values.len()];
    means.par_chunks_mut(width).enumerate().for_each(|(place, mean)| {
        let (ys, xs) = (around(place / side), around(place % side));
        let count = (ys.len() * xs.len()) as f32;
        for place in ys.flat_map(|y| xs.clone().map(move |x| y * side + x)) {
            mean.iter_mut().zip(&values[place * width..][..width]).for_each(|(m, v)| *m += v);
        }
        mean.iter_mut().for_each(|m| *m /= count);
    });
    Ok(Tensor::from_vec(means, rows.shape(), rows.device())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn layers_are_read_as_they_are_written() {
        for text in ["3,5", "trunk", "trunk,3,5"] {
            assert_eq!(text.parse::<Layers>().unwrap().to_string(), text);
        }
        let both = Layers { blocks: vec![5], trunk: true };
        assert_eq!("5, trunk".parse(), Ok(both.clone()));
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"["trunk",5]"#);
        assert_eq!(serde_json::from_str::<Layers>("[3,5]").unwrap(), vec![3, 5].into());
        assert!(serde_json::from_str::<Layers>(r#"["stem"]"#).is_err());
        for text in ["", "stem", "3,", "-1"] {
            assert!(text.parse::<Layers>().is_err(), "{text}");
        }
    }

    #[test]
    fn means_count_only_what_is_there() {
        let rows = Tensor::new(&[[1f32], [2.0], [3.0], [6.0]], &Device::Cpu).unwrap();
        let means = local_means(&rows, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(means, [3.0; 4]);
        let rows = Tensor::new(&[9f32, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], &Device::Cpu);
        let rows = rows.unwrap().reshape((9, 1)).unwrap();
        let means = local_means(&rows, 3).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((means[0], means[1], means[4], means[8]), (2.25, 1.5, 1.0, 0.0));
    }
}
