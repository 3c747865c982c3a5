//! Multi-head attention within many sequences of different lengths at once. So the windows of an image, or prompts of
//! different lengths, need no padding and no separate passes.

use candle_core::{D, DType, Result, Tensor};
use gemm::Parallelism;
use rayon::prelude::*;

use super::{Softmax, cpu_rows, vectorised};

/// Number of queries of one task. With so few, the attention weights of a long sequence (1,370 tokens at 518 px) stay
/// in the cache.
const QUERY_BLOCK: usize = 64;

/// Which tokens a token attends to within its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttentionMask {
    All,
    /// The token itself and those before it.
    Causal,
}

/// `softmax(q k^T / sqrt(d)) v` per head and sequence.
///
/// `k` and `v` are `[tokens, width]`: the sequences of `lengths`, one after another. `q` has as many rows, or one row
/// per sequence. A single row attends to its whole sequence. The result has the shape of `q`.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    lengths: &[usize],
    heads: usize,
    mask: AttentionMask,
) -> Result<Tensor> {
    let (queries, width) = q.dims2()?;
    let tokens: usize = lengths.iter().sum();
    let one_query = queries == lengths.len() && queries != tokens;
    if k.dims2()? != (tokens, width)
        || v.dims2()? != (tokens, width)
        || (queries != tokens && !one_query)
    {
        candle_core::bail!("attention over {tokens} tokens: q, k and v do not fit");
    }
    if !q.device().is_cpu() {
        return on_device(q, k, v, lengths, heads, mask, one_query);
    }
    let head_width = width / heads;
    let scale = 1.0 / (head_width as f32).sqrt();
    let ((q, q_stride), (k, k_stride), (v, v_stride)) = (cpu_rows(q)?, cpu_rows(k)?, cpu_rows(v)?);
    let (q, k, v): (&[f32], &[f32], &[f32]) = (&q, &k, &v);

    let mut out = vec![0f32; queries * width];
    let mut rest = &mut out[..];
    let tasks: Vec<(Task, &mut [f32])> = tasks(lengths, one_query)
        .into_iter()
        .map(|task| {
            let (rows, after) = std::mem::take(&mut rest).split_at_mut(task.queries * width);
            rest = after;
            (task, rows)
        })
        .collect();
    super::count(tasks.iter().map(|(task, _)| 4 * task.queries * task.keys * width).sum());
    let scores = Vec::new;
    tasks.into_par_iter().for_each_init(scores, |scores, (task, out)| {
        scores.resize(task.queries * task.keys, 0f32);
        for head in 0..heads {
            let column = head * head_width;
            let q = &q[task.first_query * q_stride + column..];
            let k = &k[task.first_key * k_stride + column..];
            let v = &v[task.first_key * v_stride + column..];
            let keys_t = Strided { values: k, row: 1, column: k_stride };
            let q = Strided { values: q, row: q_stride, column: 1 };
            product((task.queries, task.keys, head_width), q, keys_t, scale, scores, task.keys);
            let seen = (mask == AttentionMask::Causal).then_some(task.place + 1);
            vectorised(Softmax { rows: scores, keys: task.keys, seen });
            let weights = Strided { values: scores, row: task.keys, column: 1 };
            let values = Strided { values: v, row: v_stride, column: 1 };
            let sizes = (task.queries, head_width, task.keys);
            product(sizes, weights, values, 1.0, &mut out[column..], width);
        }
    });
    Tensor::from_vec(out, (queries, width), &candle_core::Device::Cpu)
}

/// Some queries of one sequence, which one thread computes.
struct Task {
    first_query: usize,
    queries: usize,
    /// Position of the first query in its sequence.
    place: usize,
    first_key: usize,
    keys: usize,
}

/// The tasks, in the order of the queries.
fn tasks(lengths: &[usize], one_query: bool) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut first_key = 0;
    for (sequence, &keys) in lengths.iter().enumerate() {
        if one_query {
            let (first_query, place) = (sequence, keys - 1);
            tasks.push(Task { first_query, queries: 1, place, first_key, keys });
        } else {
            for place in (0..keys).step_by(QUERY_BLOCK) {
                let (first_query, queries) = (first_key + place, QUERY_BLOCK.min(keys - place));
                tasks.push(Task { first_query, queries, place, first_key, keys });
            }
        }
        first_key += keys;
    }
    tasks
}

/// A matrix inside a slice. `row` and `column`: distance between two rows and between two columns.
#[derive(Clone, Copy)]
struct Strided<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

/// `out = scale * a b`, computed on this thread. The sizes are (rows, columns, inner dimension).
fn product(
    (m, n, k): (usize, usize, usize),
    a: Strided,
    b: Strided,
    scale: f32,
    out: &mut [f32],
    out_row: usize,
) {
    let last =
        |rows: usize, columns: usize, s: Strided| (rows - 1) * s.row + (columns - 1) * s.column;
    assert!(last(m, k, a) < a.values.len() && last(k, n, b) < b.values.len());
    assert!((m - 1) * out_row + n <= out.len());
    // SAFETY: the asserts above keep every element that is read or written inside its slice.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_row as isize,
            false,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            0.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Attention with candle's own operations. Neighbouring sequences of the same length form a batch.
fn on_device(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    lengths: &[usize],
    heads: usize,
    mask: AttentionMask,
    one_query: bool,
) -> Result<Tensor> {
    let head_width = q.dim(1)? / heads;
    let scale = 1.0 / (head_width as f64).sqrt();
    let (mut first_query, mut first_key) = (0, 0);
    let mut parts = Vec::new();
    for run in lengths.chunk_by(|a, b| a == b) {
        let (count, keys) = (run.len(), run[0]);
        let queries = if one_query { 1 } else { keys };
        let split = |t: &Tensor, start: usize, length: usize| {
            t.narrow(0, start, count * length)?
                .reshape((count, length, heads, head_width))?
                .transpose(1, 2)?
                .contiguous()
        };
        let (q, k, v) = (
            split(q, first_query, queries)?,
            split(k, first_key, keys)?,
            split(v, first_key, keys)?,
        );
        let mut scores = (q.matmul(&k.t()?)? * scale)?;
        if mask == AttentionMask::Causal && !one_query {
            let hidden: Vec<f32> = (0..keys * keys)
                .map(|i| if i % keys > i / keys { f32::NEG_INFINITY } else { 0.0 })
                .collect();
            let hidden = Tensor::from_vec(hidden, (1, 1, keys, keys), scores.device())?;
            scores = scores.broadcast_add(&hidden.to_dtype(DType::F32)?)?;
        }
        let out = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&v)?;
        parts.push(out.transpose(1, 2)?.reshape((count * queries, heads * head_width))?);
        first_query += count * queries;
        first_key += count * keys;
    }
    Tensor::cat(&parts, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn check(lengths: &[usize], one_query: bool, mask: AttentionMask) {
        // Seeded: a failure comes again.
        let mut random = ChaCha8Rng::seed_from_u64(lengths.len() as u64);
        let mut random = |rows: usize, width: usize| {
            let values: Vec<f32> =
                (0..rows * width).map(|_| random.random_range(-2.0..2.0)).collect();
            Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
        };
        let tokens = lengths.iter().sum();
        let qkv = random(tokens, 72);
        let (k, v) = (qkv.narrow(1, 24, 24).unwrap(), qkv.narrow(1, 48, 24).unwrap());
        let q = if one_query { random(lengths.len(), 24) } else { qkv.narrow(1, 0, 24).unwrap() };
        let fast = attention(&q, &k, &v, lengths, 3, mask).unwrap();
        let plain = on_device(&q, &k, &v, lengths, 3, mask, one_query).unwrap();
        let difference = (fast - plain).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 1e-5, "{lengths:?} {mask:?}");
    }

    #[test]
    fn agrees_with_the_plain_form() {
        check(&[50], false, AttentionMask::All);
        check(&[5, 5, 5, 10, 10, 200], false, AttentionMask::All);
        check(&[3, 9, 9, 1, 130], false, AttentionMask::Causal);
        check(&[5, 5, 10, 1], true, AttentionMask::All);
        check(&[4, 7, 7], true, AttentionMask::Causal);
    }
}
