//! The two stages of the training: the teacher learns the features of the profile's model, then the student and the
//! autoencoder learn the teacher's outputs on good photos (EfficientAD, arXiv 2303.14535, sections 3.1 to 3.3).

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::checkpoint;
use super::net::{CHANNELS, Nets, input_of_bytes, shrunk};
use super::score::quantile;
use super::targets::{Square, SquareKind};
use crate::error::{Error, Result};
use crate::train::{Adam, Rates};

/// The learning rates: the second one for the last twentieth of the steps. The paper decays its rate in the same way.
const RATE: f64 = 1e-3;
const LATE_RATE: f64 = 1e-4;
/// The paper's weight decay.
const DECAY: f64 = 1e-5;
/// Only this share of a photo's outputs is below the hardest ones, which count (section 3.2).
const HARD: f64 = 0.999;

/// How a training runs.
pub(super) struct Plan<'a> {
    /// Number of steps of each stage.
    pub steps: usize,
    pub seed: u64,
    /// Squares of a step.
    pub batch: Batch,
    /// Steps between two checkpoints.
    pub every: usize,
    pub checkpoint: Option<&'a Path>,
    /// A hash of everything that the networks depend on.
    pub identity: String,
    /// Called with the stage and its finished share, 0..1.
    pub progress: &'a (dyn Fn(&str, f64) + Sync),
}

/// How many squares a step sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub teacher: usize,
    pub student: usize,
    /// With damage, for the penalty.
    pub damaged: usize,
}

impl Default for Batch {
    /// The student's steps cost more, as four networks run.
    fn default() -> Self {
        Self { teacher: 8, student: 4, damaged: 1 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Teacher,
    Student,
}

impl Stage {
    const ALL: [Self; 2] = [Self::Teacher, Self::Student];

    fn name(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Student => "student",
        }
    }

    /// What it trains.
    fn vars(self, nets: &Nets) -> Vec<Var> {
        match self {
            Self::Teacher => nets.teacher.vars().to_vec(),
            Self::Student => [nets.student.vars(), nets.autoencoder.vars()].concat(),
        }
    }
}

/// Trains all networks. Continues from the checkpoint if there is one. The caller deletes it when the run is done.
pub(super) fn train(nets: &Nets, squares: &[Square], plan: &Plan) -> Result<()> {
    let saved = match plan.checkpoint {
        Some(path) => checkpoint::read(path, &plan.identity, nets)?,
        None => None,
    };
    let groups = Groups::of(squares)?;
    let (mut start, mut restored) = (0, None);
    if let Some(saved) = saved {
        start = saved.stage;
        restored = Some((saved.step, saved.moments));
    }
    for (index, stage) in Stage::ALL.into_iter().enumerate().skip(start) {
        let rates = Rates { learning_rate: RATE, betas: (0.9, 0.999), weight_decay: DECAY };
        let mut adam = Adam::new(rates, &stage.vars(nets))?;
        if let Some((step, moments)) = restored.take() {
            adam.restore(step, moments);
        }
        while adam.steps() < plan.steps {
            let step = adam.steps();
            adam.set_learning_rate(rate(step, plan.steps));
            // The draws depend on nothing but the seed and the step, so that a resumed run repeats them.
            let mut chance = ChaCha8Rng::seed_from_u64(plan.seed ^ step as u64);
            chance.set_stream(1 + index as u64);
            let loss = match stage {
                Stage::Teacher => groups.teacher_loss(nets, plan.batch, &mut chance)?,
                Stage::Student => groups.student_loss(nets, plan.batch, &mut chance)?,
            };
            if !loss.to_scalar::<f32>()?.is_finite() {
                let why = "made the loss infinite; take another seed";
                return Err(Error::setting(format!("seed {}", plan.seed), why));
            }
            adam.step(&loss.backward()?)?;
            (plan.progress)(stage.name(), adam.steps() as f64 / plan.steps as f64);
            if let Some(path) = plan.checkpoint
                && adam.steps().is_multiple_of(plan.every)
            {
                checkpoint::write(path, &plan.identity, index, nets, &adam)?;
            }
        }
    }
    Ok(())
}

fn rate(step: usize, steps: usize) -> f64 {
    if 20 * step >= 19 * steps { LATE_RATE } else { RATE }
}

/// The squares by what may learn from them.
struct Groups<'a> {
    all: Vec<&'a Square>,
    good: Vec<&'a Square>,
    damaged: Vec<&'a Square>,
}

impl<'a> Groups<'a> {
    fn of(squares: &'a [Square]) -> Result<Self> {
        let of = |kind: SquareKind| squares.iter().filter(|square| square.kind == kind).collect();
        let (good, damaged): (Vec<_>, Vec<_>) = (of(SquareKind::Good), of(SquareKind::Damaged));
        if good.is_empty() {
            return Err(Error::setting("training", "give photos of good parts"));
        }
        Ok(Self { all: squares.iter().collect(), good, damaged })
    }

    /// The mean squared error of the teacher.
    fn teacher_loss(&self, nets: &Nets, batch: Batch, chance: &mut ChaCha8Rng) -> Result<Tensor> {
        let squares = draw(&self.all, batch.teacher, chance);
        let targets: Vec<f32> =
            squares.iter().flat_map(|square| square.targets.iter().copied()).collect();
        let targets = rows(targets, CHANNELS)?;
        let outputs = nets.teacher.forward(&rows(input_of(&squares), 3)?, squares.len())?;
        Ok((outputs - targets)?.sqr()?.mean_all()?)
    }

    /// The sum of the losses of student and autoencoder (section 3.3, and algorithm 1 of the appendix).
    fn student_loss(&self, nets: &Nets, batch: Batch, chance: &mut ChaCha8Rng) -> Result<Tensor> {
        let squares = draw(&self.good, batch.student, chance);
        let (photos, input) = (squares.len(), input_of(&squares));
        let small: Vec<f32> = input.chunks_exact(input.len() / photos).flat_map(shrunk).collect();
        let (input, small) = (rows(input, 3)?, rows(small, 3)?);
        let teacher = nets.teacher.forward(&input, photos)?.detach();
        let student = nets.student.forward(&input, photos)?;
        let (local, global) =
            (student.narrow(1, 0, CHANNELS)?, student.narrow(1, CHANNELS, CHANNELS)?);
        let autoencoder = nets.autoencoder.forward(&small, photos)?;
        let hard = hard_features(&teacher, &local, photos)?;
        let rebuilt = (&autoencoder - &teacher)?.sqr()?.mean_all()?;
        // The student follows the autoencoder, and not the other way round.
        let followed = (global - autoencoder.detach())?.sqr()?.mean_all()?;
        let sum = ((hard + rebuilt)? + followed)?;
        match self.penalty(nets, batch.damaged, chance)? {
            Some(penalty) => Ok((sum + penalty)?),
            None => Ok(sum),
        }
    }

    /// The mean square of the student's outputs where squares are damaged: there it must not learn to be like the teacher
    /// (section 3.2; the paper takes other photos). The other places look good, and do not count.
    fn penalty(
        &self,
        nets: &Nets,
        count: usize,
        chance: &mut ChaCha8Rng,
    ) -> Result<Option<Tensor>> {
        if self.damaged.is_empty() || count == 0 {
            return Ok(None);
        }
        let squares = draw(&self.damaged, count, chance);
        let changed: Vec<f32> =
            squares.iter().flat_map(|square| square.changed.iter().copied()).collect();
        let places = changed.iter().sum::<f32>().max(1.0);
        let outputs = nets.student.forward(&rows(input_of(&squares), 3)?, squares.len())?;
        let outputs = outputs.narrow(1, 0, CHANNELS)?;
        let squares = outputs.sqr()?.broadcast_mul(&rows(changed, 1)?)?;
        Ok(Some((squares.sum_all()? / (f64::from(places) * CHANNELS as f64))?))
    }
}

/// The mean over photos of the mean squared difference of the hardest outputs of each photo (section 3.2).
fn hard_features(teacher: &Tensor, student: &Tensor, photos: usize) -> Result<Tensor> {
    let squares = (teacher - student)?.sqr()?;
    let values = squares.detach().flatten_all()?.to_vec1::<f32>()?;
    let each = values.len() / photos;
    let mut weights = vec![0f32; values.len()];
    for (values, weights) in values.chunks_exact(each).zip(weights.chunks_exact_mut(each)) {
        let line = quantile(&mut values.to_vec(), HARD);
        let count = values.iter().filter(|value| **value >= line).count().max(1);
        let hard = weights.iter_mut().zip(values).filter(|(_, value)| **value >= line);
        hard.for_each(|(weight, _)| *weight = 1.0 / (count * photos) as f32);
    }
    let weights = Tensor::from_vec(weights, squares.shape(), &Device::Cpu)?;
    Ok(squares.mul(&weights)?.sum_all()?)
}

/// Squares, drawn with replacement.
fn draw<'a>(from: &[&'a Square], count: usize, chance: &mut ChaCha8Rng) -> Vec<&'a Square> {
    (0..count).map(|_| from[chance.random_range(0..from.len())]).collect()
}

fn input_of(squares: &[&Square]) -> Vec<f32> {
    squares.iter().flat_map(|square| input_of_bytes(&square.pixels)).collect()
}

fn rows(values: Vec<f32>, width: usize) -> Result<Tensor> {
    let shape = (values.len() / width, width);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    const SIDE: usize = 64;
    const PLACES: usize = 64;

    fn squares() -> Vec<Square> {
        let mut chance = ChaCha8Rng::seed_from_u64(5);
        let mut square = |i: usize| {
            let kind = [SquareKind::Good, SquareKind::Damaged, SquareKind::Other][i % 3];
            let changed = (0..PLACES).map(|place| if place < 8 { 1.0 } else { 0.0 }).collect();
            Square {
                pixels: (0..3 * SIDE * SIDE).map(|_| chance.random::<u8>()).collect(),
                kind,
                changed: if kind == SquareKind::Damaged { changed } else { vec![] },
                targets: (0..PLACES * CHANNELS).map(|_| chance.random_range(-1.0..1.0)).collect(),
            }
        };
        (0..6).map(&mut square).collect()
    }

    fn plan<'a>(
        checkpoint: Option<&'a Path>,
        progress: &'a (dyn Fn(&str, f64) + Sync),
    ) -> Plan<'a> {
        let batch = Batch { teacher: 2, student: 2, damaged: 1 };
        let identity = "a test".to_string();
        Plan { steps: 3, seed: 4, batch, every: 2, checkpoint, identity, progress }
    }

    fn numbers(nets: &Nets) -> Vec<Vec<f32>> {
        let values = |var: &Var| var.as_detached_tensor().flatten_all()?.to_vec1::<f32>();
        nets.vars().map(|var| values(var).unwrap()).collect()
    }

    fn trained(plan: &Plan) -> Result<Vec<Vec<f32>>> {
        let nets = Nets::new(SIDE, plan.seed).unwrap();
        train(&nets, &squares(), plan).map(|()| numbers(&nets))
    }

    /// With checkpoints after step 2 of both stages.
    #[test]
    fn a_resumed_run_ends_with_the_same_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let early = folder.path().join("early");
        let whole = trained(&plan(None, &|_, _| {})).unwrap();
        // The checkpoint of the first stage is kept at its last step.
        let keep = |stage: &str, share: f64| {
            if stage == "teacher" && share == 1.0 {
                std::fs::copy(&path, &early).unwrap();
            }
        };
        assert_eq!(trained(&plan(Some(&path), &keep)).unwrap(), whole);
        for path in [&path, &early] {
            let steps = Mutex::new(0);
            let count = |_: &str, _: f64| *steps.lock().unwrap() += 1;
            let expected = if path == &early { 4 } else { 1 };
            assert_eq!(trained(&plan(Some(path), &count)).unwrap(), whole);
            assert_eq!(*steps.lock().unwrap(), expected, "{path:?}");
        }
        let other = Plan { identity: "another".into(), ..plan(Some(&path), &|_, _| {}) };
        assert!(trained(&other).unwrap_err().to_string().contains("other photos"));
        std::fs::write(&path, b"x").unwrap();
        let error = trained(&plan(Some(&path), &|_, _| {})).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn only_the_hardest_outputs_of_each_photo_count() {
        let rows = |values: [f32; 8]| Tensor::new(&values, &Device::Cpu).unwrap();
        let teacher = rows([0.0; 8]);
        let student = Var::from_tensor(&rows([1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, -2.0])).unwrap();
        let loss = hard_features(&teacher, &student, 2).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), (16.0 + 4.0) / 2.0);
        let gradient = loss.backward().unwrap();
        let gradient = gradient.get(&student).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(gradient, [0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, -2.0]);
    }

    #[test]
    fn the_rate_falls_for_the_last_steps() {
        let late = (0..400).filter(|step| rate(*step, 400) == LATE_RATE).count();
        assert_eq!((late, rate(379, 400), rate(380, 400)), (20, RATE, LATE_RATE));
    }
}
