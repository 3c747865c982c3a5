//! Trains April-GAN's layers (arXiv 2305.17382, section 3.3) on photos with masks. The model does not change. Only the
//! layers are trained.

mod adam;
mod checkpoint;
mod features;
mod loss;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{Tensor, Var};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::adapter::{Adapter, AdapterAbout, TrunkLayer};
use crate::clip::Clip;
use crate::data::{self, Sample};
use crate::detect::{layer_weights, spread};
use crate::error::{Error, Result};
use crate::metrics::{Pixels, measure};
use crate::ops::add_weighted_sigmoid;
use crate::prompt::{Product, Prompts, TextCache};
pub(crate) use adam::{Adam, Rates};
use features::{Frozen, Item, Store, batch, rows};
use loss::Alignment;

pub use options::TrainOptions;

/// Width between the two parts of the layer on the trunk.
const HIDDEN: usize = 128;
/// At most this many photos are measured after each epoch. It is enough for a curve.
const MOST_VALIDATION: usize = 100;
/// About this many points are on the curve of the loss.
const ROWS: usize = 200;
/// Time between two checkpoints within an epoch.
const PAUSE: Duration = Duration::from_secs(20);

/// A point of the curves.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// Steps done.
    pub step: usize,
    /// Epochs done. It may be a fraction.
    pub epoch: f64,
    /// Mean loss since the last point.
    pub loss: f64,
    /// AUROC over all pixels of the validation photos. Only at the end of an epoch.
    pub pixel_auroc: Option<f64>,
    /// AU-PRO of the same pixels, up to a false-positive rate of 0.3.
    pub au_pro: Option<f64>,
}

/// Progress of a training.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// A picture was encoded by the model.
    Encoded {
        /// Pictures done.
        done: usize,
        /// Number of all pictures.
        of: usize,
        /// Bytes that each picture needs in the cache.
        bytes: usize,
    },
    /// A step was done.
    Stepped {
        /// Steps done.
        done: usize,
        /// Number of all steps.
        of: usize,
        /// The step's loss.
        loss: f64,
    },
    /// A note about a photo or a mask. Others may have the same problem.
    Noted(&'a str),
    /// A point was added to the curves.
    Point(&'a Point),
}

/// The files of a training.
#[derive(Clone, Copy, Debug)]
pub struct TrainFiles<'a> {
    /// A folder for the features of the photos. Runs may share it, and it may be deleted at any time.
    pub cache: &'a Path,
    /// A stopped run continues from this file. The caller deletes it when the run is done.
    pub checkpoint: &'a Path,
    /// Whether to continue from the checkpoint.
    pub resume: bool,
}

/// Trains layers on labelled photos. `validation`: photos that are measured after each epoch. If it is empty, some of
/// the other photos are held back for this. Returns the adapter with its description, and the curves.
///
/// # Errors
/// - [`Error::Setting`] for invalid options.
/// - [`Error::Data`] and [`Error::Photo`] for photos that cannot be used or have no masks.
/// - [`Error::Data`] if the checkpoint comes from another run.
pub fn train(
    clip: &Clip,
    samples: &[Sample],
    validation: &[Sample],
    prompts: &Prompts,
    options: &TrainOptions,
    files: TrainFiles,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Adapter, Vec<Point>)> {
    options.check()?;
    options.layers.check("blocks", clip)?;
    data::require_masks(samples)?;
    data::require_masks(validation)?;
    let held_back = if validation.is_empty() { options.holdout } else { 0.0 };
    let all: Vec<Sample> = samples.iter().chain(validation).cloned().collect();
    let (learn, judge) = split(samples.len(), all.len(), held_back, options.seed);
    if !learn.iter().any(|i| all[*i].is_anomalous) {
        let why = "no defective photo to learn from: layers are trained on photos of both kinds";
        return Err(Error::data(&all.first().map(|s| s.photo.clone()).unwrap_or_default(), why));
    }
    let store = Store::new(clip, options, files.cache, &all)?;
    let logit_scale = options.logit_scale.unwrap_or(clip.logit_scale());
    let directions = directions(clip, &all, prompts, logit_scale)?;
    let run = Run { options, all: &all, learn, store, directions };
    run.look(&judge, progress)?;
    if let Some(note) = run.store.note() {
        progress(Progress::Noted(note));
    }
    let (variables, points) = run.learn(clip, &judge, files, progress)?;
    let products: BTreeSet<String> = run.learn.iter().map(|i| all[*i].product.clone()).collect();
    let mark = |i: &usize| -> Result<String> {
        let sha256 = crate::files::files_sha256(std::slice::from_ref(&all[*i].photo))?;
        Ok(crate::adapter::photo_mark(&sha256).to_string())
    };
    let photos: BTreeSet<String> = run.learn.iter().map(mark).collect::<Result<_>>()?;
    let mut about = AdapterAbout {
        blocks: options.layers.blocks.clone(),
        size: Some(clip.size()),
        activation: Some(clip.activation()),
        logit_scale,
        model: Some(clip.name().to_string()),
        model_sha256: Some(clip.sha256().to_string()),
        products: products.into_iter().collect(),
        photos: photos.into_iter().collect(),
        ..AdapterAbout::default()
    };
    let adapter = adapter_of(&variables, options, &about)?;
    let good: Vec<&Sample> =
        run.learn.iter().map(|i| &all[*i]).filter(|sample| !sample.is_anomalous).collect();
    about.spread = spread(clip, &adapter, &good, options.depth)?;
    Ok((adapter.with_about(about)?, points))
}

/// The adapter with these parameters.
fn adapter_of(variables: &[Var], options: &TrainOptions, about: &AdapterAbout) -> Result<Adapter> {
    let tensors: Vec<Tensor> = variables.iter().map(Var::as_detached_tensor).collect();
    let (blocks, trunk) = tensors.split_at(2 * options.layers.blocks.len());
    let layers = blocks.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    let adapter = Adapter::new("of this training", about.clone(), layers)?;
    match trunk {
        [inner, inner_bias, outer, outer_bias] => adapter.with_trunk(TrunkLayer {
            inner: inner.clone(),
            inner_bias: inner_bias.clone(),
            outer: outer.clone(),
            outer_bias: outer_bias.clone(),
        }),
        _ => Ok(adapter),
    }
}

/// The indices of the training photos and of the validation photos. A share of the first `own` photos is held back for
/// validation. All photos after them are for validation.
fn split(own: usize, all: usize, held_back: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..own).collect();
    order.shuffle(&mut rng_stream(seed, 0));
    let mut judge: Vec<usize> = order.drain(..(own as f64 * held_back) as usize).collect();
    judge.extend(own..all);
    judge.shuffle(&mut rng_stream(seed, 0));
    judge.truncate(MOST_VALIDATION);
    judge.sort_unstable();
    order.sort_unstable();
    (order, judge)
}

/// A separate stream of random numbers for each purpose.
fn rng_stream(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    random
}

/// For each product, the anomalous minus the normal text embedding, times the logit scale.
fn directions(
    clip: &Clip,
    all: &[Sample],
    prompts: &Prompts,
    scale: f32,
) -> Result<BTreeMap<String, Vec<f32>>> {
    let cache = TextCache::from_env();
    let names: BTreeSet<&String> = all.iter().map(|sample| &sample.product).collect();
    let direction = |name: &String| {
        let product = Product::with_synonyms(clip, std::slice::from_ref(name), prompts, &cache)?;
        let means = product.unit_means()?.to_device(&candle_core::Device::Cpu)?;
        let direction = ((means.get(1)? - means.get(0)?)? * f64::from(scale))?;
        Ok((name.clone(), direction.to_vec1()?))
    };
    names.into_iter().map(direction).collect()
}

/// Everything that does not change during training.
struct Run<'a> {
    options: &'a TrainOptions,
    all: &'a [Sample],
    learn: Vec<usize>,
    store: Store<'a>,
    directions: BTreeMap<String, Vec<f32>>,
}

impl Run<'_> {
    fn steps_per_epoch(&self) -> usize {
        self.learn.len().div_ceil(self.options.batch)
    }

    /// The pictures of an epoch, in order.
    fn epoch(&self, epoch: usize) -> Vec<Item> {
        let mut random = rng_stream(self.options.seed, 1 + epoch as u64);
        let mut order = self.learn.clone();
        order.shuffle(&mut random);
        let item = |photo| match random.random_bool(self.options.mosaic) {
            true => self.mosaic(photo),
            false => Item { photos: vec![photo] },
        };
        order.into_iter().map(item).collect()
    }

    /// The mosaic that replaces a photo. It is always the same, so the model encodes it once. For each part, first a
    /// kind is drawn and then a photo of this kind, as in the official code.
    fn mosaic(&self, photo: usize) -> Item {
        let mut random = rng_stream(self.options.seed, (1 << 32) + photo as u64);
        let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for &i in self.learn.iter().filter(|i| self.all[**i].product == self.all[photo].product) {
            kinds.entry(&self.all[i].kind).or_default().push(i);
        }
        let kinds: Vec<Vec<usize>> = kinds.into_values().collect();
        let mut draw =
            || kinds.choose(&mut random).and_then(|kind| kind.choose(&mut random)).copied();
        Item { photos: (0..4).map(|_| draw().unwrap_or(photo)).collect() }
    }

    /// Encodes every picture that is not yet in the cache.
    fn look(&self, judge: &[usize], progress: &mut dyn FnMut(Progress)) -> Result<()> {
        let mut items: Vec<Item> = judge.iter().map(|i| Item { photos: vec![*i] }).collect();
        items.extend((0..self.options.epochs).flat_map(|epoch| self.epoch(epoch)));
        items.sort_by(|a, b| a.photos.cmp(&b.photos));
        items.dedup();
        let bytes = self.store.bytes_per_item();
        for (i, item) in items.iter().enumerate() {
            self.store.get(item)?;
            progress(Progress::Encoded { done: i + 1, of: items.len(), bytes });
        }
        Ok(())
    }

    /// The initial weights and biases of each layer, drawn as for PyTorch's linear layers.
    fn start(&self, clip: &Clip) -> Result<Vec<Var>> {
        let embedding = clip.shape().embedding;
        let mut random = rng_stream(self.options.seed, u64::MAX);
        let mut linear = |inputs: usize, outputs: usize| -> Result<[Var; 2]> {
            let most = 1.0 / (inputs as f32).sqrt();
            let mut draw = |dims: &[usize]| {
                let count = dims.iter().product::<usize>();
                let values = (0..count).map(|_| random.random_range(-most..most)).collect();
                Var::from_tensor(&loss::tensor(values, dims)?)
            };
            Ok([draw(&[outputs, inputs])?, draw(&[outputs])?])
        };
        let mut variables = Vec::new();
        for (layer, [_, inputs]) in self.store.shapes().into_iter().enumerate() {
            if layer < self.options.layers.blocks.len() {
                variables.extend(linear(inputs, embedding)?);
            } else {
                variables.extend(linear(inputs, HIDDEN)?);
                variables.extend(linear(HIDDEN, embedding)?);
            }
        }
        Ok(variables)
    }

    /// The parameters of each layer.
    fn layers<'v>(&self, variables: &'v [Var]) -> Vec<&'v [Var]> {
        let (blocks, trunk) = variables.split_at(2 * self.options.layers.blocks.len());
        blocks.chunks_exact(2).chain((!trunk.is_empty()).then_some(trunk)).collect()
    }

    /// What enlarges the map of each layer to the model's input.
    fn enlarging(&self, size: usize) -> Result<Vec<Tensor>> {
        // As the maps are drawn later.
        let alignment = match self.options.layers.trunk {
            true => Alignment::Centres,
            false => Alignment::Corners,
        };
        let matrix = |[places, _]: [usize; 2]| loss::enlarging(places.isqrt(), size, alignment);
        let shapes = self.store.shapes().into_iter();
        Ok(shapes.map(matrix).collect::<candle_core::Result<_>>()?)
    }

    fn learn(
        &self,
        clip: &Clip,
        judge: &[usize],
        files: TrainFiles,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Vec<Var>, Vec<Point>)> {
        let options = self.options;
        let variables = self.start(clip)?;
        let rates = Rates {
            learning_rate: options.learning_rate,
            betas: options.betas,
            weight_decay: options.weight_decay,
        };
        let mut adam = Adam::new(rates, &variables)?;
        let identity = self.identity(clip, judge);
        let mut history = checkpoint::History::default();
        if files.resume {
            history = checkpoint::read(files.checkpoint, &identity, &variables, &mut adam)?;
        }
        let enlarging = self.enlarging(clip.size())?;
        let per_epoch = self.steps_per_epoch();
        let steps = per_epoch * options.epochs;
        let stride = (steps / ROWS).max(1);
        let mut saved = Instant::now();
        while adam.steps() < steps {
            let (epoch, within) = (adam.steps() / per_epoch, adam.steps() % per_epoch);
            let items = self.epoch(epoch);
            for chunk in items.chunks(options.batch).skip(within) {
                let frozen = chunk.iter().map(|item| self.store.get(item));
                let loss =
                    self.loss(&variables, &enlarging, chunk, &frozen.collect::<Result<Vec<_>>>()?)?;
                adam.step(&loss.backward()?)?;
                let value = f64::from(loss.to_scalar::<f32>()?);
                if !value.is_finite() {
                    let why = "made the loss infinite; use a smaller one".to_string();
                    return Err(Error::setting(
                        format!("learning-rate {}", options.learning_rate),
                        why,
                    ));
                }
                history.add(value);
                progress(Progress::Stepped { done: adam.steps(), of: steps, loss: value });
                let is_last = adam.steps() % per_epoch == 0;
                if is_last || adam.steps() % stride == 0 {
                    let (pixel_auroc, au_pro) = if is_last {
                        self.score(&variables, &enlarging, judge)?
                    } else {
                        (None, None)
                    };
                    let done = adam.steps() as f64 / per_epoch as f64;
                    let point = history.point(Point {
                        step: adam.steps(),
                        epoch: done,
                        loss: 0.0,
                        pixel_auroc,
                        au_pro,
                    });
                    progress(Progress::Point(point));
                }
                if is_last || saved.elapsed() > PAUSE {
                    checkpoint::write(files.checkpoint, &identity, &variables, &adam, &history)?;
                    saved = Instant::now();
                }
            }
        }
        Ok((variables, history.points))
    }

    fn loss(
        &self,
        variables: &[Var],
        enlarging: &[Tensor],
        items: &[Item],
        frozen: &[Frozen],
    ) -> Result<Tensor> {
        let (inputs, mask) = batch(frozen)?;
        let product = |item: &Item| &*self.directions[&self.all[item.photos[0]].product];
        let direction = rows(&items.iter().map(product).collect::<Vec<_>>())?;
        let mut sum = None;
        let layers = self.layers(variables).into_iter().zip(&inputs).zip(enlarging);
        for ((layer, inputs), enlarging) in layers {
            let layer: Vec<&Tensor> = layer.iter().map(Var::as_tensor).collect();
            let logits = loss::logits(&layer, inputs, &direction)?;
            let loss = loss::focal_and_dice(&loss::enlarge(&logits, enlarging)?, &mask)?;
            sum = Some(match sum {
                None => loss,
                Some(sum) => (sum + loss)?,
            });
        }
        sum.ok_or_else(|| Error::setting("blocks", "give at least one"))
    }

    /// Pixel AUROC and AU-PRO of the validation photos.
    fn score(
        &self,
        variables: &[Var],
        enlarging: &[Tensor],
        judge: &[usize],
    ) -> Result<(Option<f64>, Option<f64>)> {
        let (mut pixels, width) = (Pixels::default(), self.store.size());
        let weights = layer_weights(self.options.layers.blocks.len(), self.options.layers.trunk);
        for &i in judge {
            let frozen = self.store.get(&Item { photos: vec![i] })?;
            let (inputs, mask) = batch(std::slice::from_ref(&frozen))?;
            let direction = rows(&[&*self.directions[&self.all[i].product]])?;
            let mut map = vec![0.0; mask.elem_count()];
            let layers = self.layers(variables).into_iter().zip(&inputs).zip(enlarging);
            for (((layer, inputs), enlarging), weight) in layers.zip(&weights) {
                let layer: Vec<Tensor> = layer.iter().map(Var::as_detached_tensor).collect();
                let logits = loss::logits(&layer, inputs, &direction)?;
                let logits = loss::enlarge(&logits, enlarging)?.flatten_all()?.to_vec1::<f32>()?;
                add_weighted_sigmoid(&mut map, &logits, *weight);
            }
            let mask = mask.flatten_all()?.to_vec1::<f32>()?;
            let mask: Vec<bool> = mask.into_iter().map(|m| m > 0.5).collect();
            pixels.add_masked(&map, &mask, width);
        }
        let found = measure(&[&pixels.sorted()], &[0.3]);
        Ok((found.auroc, found.au_pro.map(|pro| pro[0])))
    }

    /// A hash of everything that the layers depend on.
    fn identity(&self, clip: &Clip, judge: &[usize]) -> String {
        let photos = self.store.hashes().join(" ");
        let text = format!(
            "{} {:?} {:?} {} {:?} {:?} {judge:?} {photos}",
            clip.sha256(),
            clip.activation(),
            clip.precision(),
            clip.size(),
            self.options,
            self.directions,
        );
        crate::files::sha256(text.as_bytes())
    }
}
