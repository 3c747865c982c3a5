//! The frozen model's features of the training photos. They are kept on disk, so that an epoch computes only the
//! layers.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::TrainOptions;
use super::loss::tensor;
use crate::adapter::trunk_input;
use crate::clip::{Clip, Taps};
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::files::{files_sha256, keep, kept, sha256};
use crate::image::{BitDepth, Fit, Mask, Photo};
use crate::reference::FINER;

/// The patches of one picture need less, even at the largest input.
const MOST_BYTES: u64 = 1 << 30;

/// One picture to learn from: a photo, or a mosaic of four photos of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The indices of one photo, or of four.
    pub photos: Vec<usize>,
}

/// The features and the mask of an item.
pub(super) struct Frozen {
    /// What each layer reads: `[grid^2, width]` of each block, then `[(2 grid)^2, 2 * channels]` of the trunk.
    pub inputs: Vec<Tensor>,
    /// 1 where there is a defect, 0 elsewhere: `[size, size]`.
    pub mask: Tensor,
}

/// The features of all items. They are read from the cache folder, or computed once and written there.
pub(super) struct Store<'a> {
    clip: &'a Clip,
    taps: Taps,
    depth: BitDepth,
    folder: &'a Path,
    samples: &'a [Sample],
    /// A hash of each photo's file and its masks.
    hashes: Vec<String>,
    /// The first note about a photo or a mask.
    note: OnceLock<String>,
}

impl<'a> Store<'a> {
    pub fn new(
        clip: &'a Clip,
        options: &TrainOptions,
        folder: &'a Path,
        samples: &'a [Sample],
    ) -> Result<Self> {
        let hash = |sample: &Sample| {
            let mut all = files_sha256(std::slice::from_ref(&sample.photo))?;
            for mask in &sample.masks {
                all.push_str(&files_sha256(std::slice::from_ref(mask))?);
            }
            Ok(sha256(all.as_bytes()))
        };
        let hashes = samples.par_iter().map(hash).collect::<Result<_>>()?;
        let taps = options.layers.taps();
        Ok(Self {
            clip,
            taps,
            depth: options.depth,
            folder,
            samples,
            hashes,
            note: OnceLock::new(),
        })
    }

    /// The first note about the photos and masks that were read.
    pub fn note(&self) -> Option<&str> {
        self.note.get().map(String::as_str)
    }

    /// Side of the masks.
    pub fn size(&self) -> usize {
        self.clip.size()
    }

    /// The hashes of all photos, in order.
    pub fn hashes(&self) -> &[String] {
        &self.hashes
    }

    /// Number of bytes that an item needs on disk.
    pub fn bytes_per_item(&self) -> usize {
        let values: usize = self.shapes().iter().map(|[rows, width]| rows * width).sum();
        2 * values + self.clip.size() * self.clip.size()
    }

    /// The shape of what each layer reads.
    pub fn shapes(&self) -> Vec<[usize; 2]> {
        let (places, shape) = (self.clip.grid() * self.clip.grid(), self.clip.shape());
        let mut shapes = vec![[places, shape.width]; self.taps.blocks.len()];
        if let Some(outputs) = shape.trunk.filter(|_| self.taps.trunk) {
            shapes.push([FINER * FINER * places, 2 * outputs.iter().sum::<usize>()]);
        }
        shapes
    }

    pub fn get(&self, item: &Item) -> Result<Frozen> {
        let file = self.file(item);
        if let Some(found) = self.read(&file) {
            return Ok(found);
        }
        let (photo, mask) = self.picture(item)?;
        let pixels = self.clip.prepare(&photo, Fit::Squash).pixels;
        let features = self.clip.encode_image(&pixels, &self.taps)?;
        let patches = features.blocks.iter().map(|tokens| tokens.narrow(0, 1, tokens.dim(0)? - 1));
        let mut inputs = patches.collect::<candle_core::Result<Vec<_>>>()?;
        if let Some(outputs) = &features.trunk {
            inputs.push(trunk_input(outputs)?);
        }
        // Half precision. The first epoch uses it too, so a cached run gives the same result.
        let half = |t: &Tensor| t.to_device(&Device::Cpu)?.contiguous()?.to_dtype(DType::F16);
        let inputs = inputs.iter().map(half).collect::<candle_core::Result<Vec<_>>>()?;
        let size = self.clip.size();
        let mask: Vec<u8> = mask.squash(size).pixels.into_iter().map(u8::from).collect();
        let mask = Tensor::from_vec(mask, (size, size), &Device::Cpu)?;
        let named = inputs.iter().enumerate().map(|(i, input)| (format!("layer.{i}"), input));
        let tensors = named.chain([("mask".to_string(), &mask)]);
        let bytes = safetensors::serialize(tensors, None).map_err(|e| Error::data(&file, e))?;
        keep(&file, &bytes)?;
        let full = |t: &Tensor| t.to_dtype(DType::F32);
        let inputs = inputs.iter().map(full).collect::<candle_core::Result<_>>()?;
        Ok(Frozen { inputs, mask: full(&mask)? })
    }

    fn picture(&self, item: &Item) -> Result<(Photo, Mask)> {
        let open = |i: &usize| {
            let sample = &self.samples[*i];
            let photo = Photo::open(&sample.photo, self.depth)?;
            let mask = Mask::open(&sample.masks, photo.width(), photo.height())?;
            let of_photo = photo.note().map(|note| format!("{}: {note}", sample.photo.display()));
            if let Some(note) = of_photo.or_else(|| mask.note.clone()) {
                self.note.get_or_init(|| note);
            }
            Ok((photo, mask))
        };
        let mut parts = item.photos.iter().map(open).collect::<Result<Vec<_>>>()?;
        if let [a, b, c, d] = &parts[..] {
            let photo = Photo::mosaic([&a.0, &b.0, &c.0, &d.0])?;
            return Ok((photo, Mask::mosaic([&a.1, &b.1, &c.1, &d.1])));
        }
        Ok(parts.swap_remove(0))
    }

    /// The file's name contains everything that the features depend on.
    fn file(&self, item: &Item) -> PathBuf {
        let photos: Vec<&str> = item.photos.iter().map(|i| &*self.hashes[*i]).collect();
        let key = format!(
            "{} {} {:?} {:?} {} {:?} {:?} {}",
            env!("CARGO_PKG_VERSION"),
            self.clip.sha256(),
            self.clip.activation(),
            self.clip.precision(),
            self.clip.size(),
            self.taps,
            self.depth,
            photos.join(" ")
        );
        self.folder.join(format!("{}.features", sha256(key.as_bytes())))
    }

    fn read(&self, file: &Path) -> Option<Frozen> {
        let bytes = kept(file, MOST_BYTES)?;
        let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).ok()?;
        let mut get = |name: &str| tensors.remove(name)?.to_dtype(DType::F32).ok();
        let shapes = self.shapes();
        let inputs = (0..shapes.len()).map(|i| get(&format!("layer.{i}")));
        let (inputs, mask) = (inputs.collect::<Option<Vec<_>>>()?, get("mask")?);
        let size = self.clip.size();
        let fits = inputs.iter().zip(&shapes).all(|(input, shape)| input.dims() == shape);
        (fits && mask.dims() == [size, size]).then_some(Frozen { inputs, mask })
    }
}

/// Joins several items into one batch: for each layer `[batch, places, width]`, and the masks `[batch, size, size]`.
pub(super) fn batch(items: &[Frozen]) -> candle_core::Result<(Vec<Tensor>, Tensor)> {
    let layer = |l: usize| {
        let of_layer: Vec<&Tensor> = items.iter().map(|item| &item.inputs[l]).collect();
        Tensor::stack(&of_layer, 0)
    };
    let layers = (0..items[0].inputs.len()).map(layer).collect::<candle_core::Result<_>>()?;
    let masks: Vec<&Tensor> = items.iter().map(|item| &item.mask).collect();
    Ok((layers, Tensor::stack(&masks, 0)?))
}

/// Joins rows of equal length into one tensor.
pub(super) fn rows(rows: &[&[f32]]) -> candle_core::Result<Tensor> {
    tensor(rows.concat(), &[rows.len(), rows[0].len()])
}
