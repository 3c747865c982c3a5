//! The greedy minimax coreset (Sener and Savarese, arXiv 1708.00489; PatchCore, section 3.2). It repeatedly takes the
//! row that is farthest from all rows taken so far.

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::FitOptions;
use crate::error::Result;
use crate::ops::{cpu_slice, lower_to_distance};

/// Number of rows in one parallel task.
const TASK: usize = 2048;

/// Indices of `count` of the `rows`, `[rows, width]`, in the order in which they are taken. The seed draws the first.
/// Wide rows are compared in a random projection (Johnson and Lindenstrauss), as in the paper.
pub(super) fn coreset(rows: &Tensor, count: usize, options: FitOptions) -> Result<Vec<u32>> {
    let total = rows.dim(0)?;
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let first = random.random_range(0..total) as u32;
    greedy(&projected(rows, &mut random)?, first, count, options.progress)
}

/// Like `coreset`, but without projection, and with a given first row. Use it for few rows.
pub(crate) fn spread_out(rows: &Tensor, first: u32, count: usize) -> Result<Vec<u32>> {
    greedy(rows, first, count, &|_| {})
}

fn greedy(rows: &Tensor, first: u32, count: usize, progress: &dyn Fn(f64)) -> Result<Vec<u32>> {
    let (total, width) = rows.dims2()?;
    let values = cpu_slice(rows)?;
    let mut far = vec![f32::INFINITY; total];
    let mut taken = vec![first];
    while taken.len() < count.min(total) {
        let last = taken[taken.len() - 1] as usize;
        let centre = &values[last * width..][..width];
        let farthest = |(task, (far, rows)): (usize, (&mut [f32], &[f32]))| {
            lower_to_distance(far, rows, centre);
            let first = (f32::NEG_INFINITY, 0);
            let rows = far.iter().enumerate().map(|(i, &far)| (far, task * TASK + i));
            rows.fold(first, |a, b| if b.0 > a.0 { b } else { a })
        };
        let tasks = far.par_chunks_mut(TASK).zip(values.par_chunks(TASK * width)).enumerate();
        let best = tasks.map(farthest).collect::<Vec<_>>();
        let first = (f32::NEG_INFINITY, 0);
        let best = best.into_iter().fold(first, |a, b| if b.0 > a.0 { b } else { a });
        if best.0 <= 0.0 {
            // All rows that are left are equal to rows that were taken.
            break;
        }
        taken.push(best.1 as u32);
        if taken.len().is_multiple_of(64) {
            progress(taken.len() as f64 / count as f64);
        }
    }
    Ok(taken)
}

/// Projects rows to fewer dimensions. Squared distances keep a relative error of at most 0.9 (scikit-learn's bound,
/// with anomalib's setting). Rows stay as they are if the projection saves nothing.
fn projected(rows: &Tensor, random: &mut ChaCha8Rng) -> Result<Tensor> {
    const EPSILON: f64 = 0.9;
    let (count, width) = rows.dims2()?;
    let bound = EPSILON * EPSILON / 2.0 - EPSILON.powi(3) / 3.0;
    let to = (4.0 * (count as f64).ln() / bound) as usize;
    let rows = rows.to_device(&Device::Cpu)?;
    if to >= width {
        return Ok(rows.contiguous()?);
    }
    // Random signs work as well as normally distributed numbers (Achlioptas 2003).
    let scale = 1.0 / (to as f32).sqrt();
    let signs: Vec<f32> =
        (0..width * to).map(|_| if random.random() { scale } else { -scale }).collect();
    Ok(rows.matmul(&Tensor::from_vec(signs, (width, to), &Device::Cpu)?)?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::QUIET;
    use super::*;

    #[test]
    fn the_farthest_is_taken_each_time_and_nothing_twice() {
        let rows = [[0f32, 0.0], [10.0, 0.0], [0.0, 4.0], [10.0, 3.0], [0.0, 0.0], [10.0, 0.0]];
        let rows = Tensor::new(&rows, &Device::Cpu).unwrap();
        let taken = coreset(&rows, 3, QUIET).unwrap();
        // Whatever the first row is, the second lies on the other side, and the third is the farthest corner.
        let x = |i: u32| if matches!(i, 0 | 2 | 4) { 0 } else { 1 };
        assert_ne!(x(taken[0]), x(taken[1]), "{taken:?}");
        assert_eq!(taken.len(), 3);
        let all = coreset(&rows, 6, QUIET).unwrap();
        assert_eq!((all.len(), &all[..3]), (4, &taken[..]), "equal rows are taken once");
    }

    #[test]
    fn a_projection_keeps_who_is_far() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let rows: Vec<f32> = (0..300 * 600)
            .map(|i| if i / 600 == 77 { 5.0 } else { 0.0 } + random.random::<f32>())
            .collect();
        let rows = Tensor::from_vec(rows, (300, 600), &Device::Cpu).unwrap();
        assert!(projected(&rows, &mut random).unwrap().dim(1).unwrap() < 200);
        assert!(coreset(&rows, 2, QUIET).unwrap().contains(&77));
    }

    /// anomalib's KCenterGreedy on the same rows, with the same first row (`tests/fixtures/reference`).
    #[test]
    fn the_order_is_that_of_anomalib() {
        let file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reference/expected.safetensors");
        let golden = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        let expected = golden["coreset"].to_vec1::<i64>().unwrap();
        let first = expected[0] as u32;
        let taken = greedy(&golden["patchcore.bank"], first, expected.len(), &|_| {}).unwrap();
        assert_eq!(taken.into_iter().map(i64::from).collect::<Vec<_>>(), expected);
    }
}
