//! What was measured, as a table or JSON.

use std::io::{Result, Write};

use blemish::performance::Difference;
use serde::Serialize;

/// The machine, for all measurements of a run.
#[derive(Serialize)]
pub struct Machine {
    /// The vector instructions in use.
    pub instructions: &'static str,
    pub threads: usize,
    /// What large products of float32 alone reach.
    pub product_gflops: f64,
}

/// A model and a method. Times are medians in milliseconds.
#[derive(Serialize)]
pub struct Measured {
    pub model: String,
    pub size: usize,
    pub precision: &'static str,
    pub method: &'static str,
    pub photos: usize,
    pub rounds: usize,
    /// None if the photos were scored as a whole.
    #[serde(flatten)]
    pub stages: Option<Stages>,
    pub photos_per_second: f64,
    /// Time of the product's prompts, without a cache.
    pub prompts: f64,
    pub prompt_count: usize,
    pub peak_memory: Option<u64>,
}

/// The stages of a photo.
#[derive(Serialize)]
pub struct Stages {
    pub read: f64,
    pub prepare: f64,
    pub encode: f64,
    pub score: f64,
    /// Multiplications and additions of `encode`, in thousand millions. None on another device than the processor.
    pub encode_gflop: Option<f64>,
    /// The same per second of `encode`.
    pub encode_gflops: Option<f64>,
    /// The same as a share of [`Machine::product_gflops`].
    pub encode_share: Option<f64>,
}

/// The same photos in float32 and in fast mode.
#[derive(Serialize)]
pub struct Comparison {
    pub f32: Measured,
    pub fast: Measured,
    pub difference: Difference,
}

/// A value beside the machine that it was measured on.
#[derive(Serialize)]
pub struct On<'a, T> {
    #[serde(flatten)]
    pub machine: &'a Machine,
    #[serde(flatten)]
    pub value: &'a T,
}

impl Measured {
    pub fn table(&self, machine: &Machine, out: &mut impl Write) -> Result<()> {
        let Self { model, size, precision, method, photos, rounds, .. } = self;
        let Machine { instructions, threads, product_gflops } = machine;
        writeln!(
            out,
            "{model} at {size} pixels, {precision}, {method}, {threads} threads ({instructions}), {photos} photos, \
             median of {rounds} rounds"
        )?;
        if let Some(stages) = &self.stages {
            writeln!(out, "{:>9.1} ms  read and decode", stages.read)?;
            writeln!(out, "{:>9.1} ms  make square", stages.prepare)?;
            let speed = match (stages.encode_gflop, stages.encode_gflops, stages.encode_share) {
                (Some(gflop), Some(speed), Some(share)) => format!(
                    ": {gflop:.1} GFLOP at {speed:.0} GFLOP/s, {:.0} % of float32 products alone ({product_gflops:.0} GFLOP/s)",
                    share * 100.0
                ),
                _ => String::new(),
            };
            writeln!(out, "{:>9.1} ms  encode{speed}", stages.encode)?;
            writeln!(out, "{:>9.1} ms  compare and map", stages.score)?;
        }
        writeln!(out, "{:>9.1} photos per second, as `score` works", self.photos_per_second)?;
        writeln!(out, "{:>9.1} ms  {} prompts of a new product", self.prompts, self.prompt_count)?;
        match self.peak_memory {
            Some(bytes) => writeln!(out, "{:>9.0} MB  memory at most, so far", bytes as f64 / 1e6),
            None => Ok(()),
        }
    }
}

impl Comparison {
    pub fn table(&self, machine: &Machine, out: &mut impl Write) -> Result<()> {
        self.f32.table(machine, out)?;
        self.fast.table(machine, out)?;
        let Difference { score_max, score_mean, score_rank, map_max, map_mean, map_rank, .. } =
            self.difference;
        let faster = self.fast.photos_per_second / self.f32.photos_per_second;
        writeln!(out, "fast mode beside float32:")?;
        writeln!(out, "{faster:>9.2} times as many photos per second")?;
        writeln!(
            out,
            "{score_max:>9.4} largest difference of a score, {score_mean:.4} on average"
        )?;
        writeln!(out, "{map_max:>9.4} largest difference in a map, {map_mean:.4} on average")?;
        if let Some(rank) = score_rank {
            writeln!(out, "{rank:>9.4} rank correlation of scores")?;
        }
        match map_rank {
            Some(rank) => writeln!(out, "{rank:>9.4} rank correlation in a map, on average"),
            None => Ok(()),
        }
    }
}
