//! April-GAN's training loss (arXiv 2305.17382, section 3.3). It is differentiable in the layers.

use candle_core::{Device, Result, Tensor};

/// The focal loss keeps its targets this far from 0 and 1, and adds this to the argument of its logarithm.
const SMOOTH: f64 = 1e-5;

/// The logits of one layer, `[batch, side, side]`: for each place, the anomalous prompts against the normal prompts.
/// `parameters`: weight and bias of a layer on a block, or of both parts of the layer on the trunk. `inputs`: `[batch,
/// side^2, width]`. `direction`: `[batch, embedding]`, the anomalous minus the normal text embedding, times the logit
/// scale.
pub(super) fn logits<T: AsRef<Tensor>>(
    parameters: &[T],
    inputs: &Tensor,
    direction: &Tensor,
) -> Result<Tensor> {
    let (batch, count, width) = inputs.dims3()?;
    let side = count.isqrt();
    let mut z = inputs.reshape((batch * count, width))?;
    for (i, part) in parameters.chunks_exact(2).enumerate() {
        if i > 0 {
            z = z.gelu_erf()?;
        }
        z = z.matmul(&part[0].as_ref().t()?)?.broadcast_add(part[1].as_ref())?;
    }
    let z = z.reshape((batch, count, ()))?;
    let along = z.matmul(&direction.unsqueeze(2)?)?.squeeze(2)?;
    let length = z.sqr()?.sum(2)?.sqrt()?;
    (along / length)?.reshape((batch, side, side))
}

/// Where the values of a map lie on the input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alignment {
    /// The outermost values at the outermost pixels, as in April-GAN.
    Corners,
    /// Each value in the middle of its place.
    Centres,
}

/// The matrix that enlarges one axis from `from` to `to` values: `[to, from]`.
pub(super) fn enlarging(from: usize, to: usize, alignment: Alignment) -> Result<Tensor> {
    let mut rows = vec![0f32; to * from];
    for i in 0..to {
        let position = match alignment {
            Alignment::Corners => i as f64 * (from - 1) as f64 / (to - 1).max(1) as f64,
            Alignment::Centres => (i as f64 + 0.5) * from as f64 / to as f64 - 0.5,
        };
        let position = position.clamp(0.0, (from - 1) as f64);
        let low = (position as usize).min(from - 1);
        let weight = (position - low as f64) as f32;
        rows[i * from + low] += 1.0 - weight;
        rows[i * from + (low + 1).min(from - 1)] += weight;
    }
    Tensor::from_vec(rows, (to, from), &Device::Cpu)
}

/// Enlarges `[batch, grid, grid]` to `[batch, size, size]`.
pub(super) fn enlarge(maps: &Tensor, enlarging: &Tensor) -> Result<Tensor> {
    let columns = maps.broadcast_matmul(&enlarging.t()?)?;
    enlarging.broadcast_left(maps.dim(0)?)?.contiguous()?.matmul(&columns)
}

/// Focal loss (gamma 2) on the softmax of normal and anomalous, plus dice loss on the anomalous class. `logits`:
/// `[batch, size, size]`, anomalous minus normal. `mask`: the same shape, 1 where there is a defect, 0 elsewhere.
pub(super) fn focal_and_dice(logits: &Tensor, mask: &Tensor) -> Result<Tensor> {
    // With two classes the softmax is the logistic function of the difference. `right` is the softmax of the pixel's
    // true class.
    let sign = ((mask * 2.0)? - 1.0)?;
    let right = candle_nn::ops::sigmoid(&(logits * &sign)?)?;
    let smoothed = ((&right * (1.0 - 2.0 * SMOOTH))? + 2.0 * SMOOTH)?;
    let focal = ((1.0 - &smoothed)?.sqr()? * smoothed.log()?)?.mean_all()?.neg()?;

    let anomalous = ((&right * &sign)? + (1.0 - mask)?)?;
    let batch = mask.dim(0)?;
    let sum = |t: &Tensor| t.reshape((batch, ()))?.sum(1);
    let overlap = ((sum(&(&anomalous * mask)?)? * 2.0)? + 1.0)?;
    let dice = (overlap / ((sum(&anomalous)? + sum(mask)?)? + 1.0)?)?;
    focal + (1.0 - dice.mean_all()?)?
}

/// Values as a tensor of this shape.
pub(super) fn tensor(values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::super::adam::{Adam, Rates};
    use super::*;
    use crate::adapter::{Adapter, AdapterAbout, TrunkLayer, trunk_input};
    use crate::clip::{Features, TrunkOutputs};
    use crate::reference::tests::photo;
    use candle_core::Var;

    const GRID: usize = 3;
    const SIZE: usize = 7;
    const WIDTH: usize = 5;
    const EMBEDDING: usize = 4;

    /// Pseudo-random numbers in -1..1.
    fn numbers(count: usize, seed: f64) -> Vec<f32> {
        (0..count)
            .map(|i| ((i as f64 * 12.9898 + seed).sin() * 43758.5453).fract() as f32)
            .collect()
    }

    struct Case {
        weight: Vec<f32>,
        bias: Vec<f32>,
        patches: Vec<f32>,
        direction: Vec<f32>,
        mask: Vec<f32>,
    }

    fn case() -> Case {
        let direction = numbers(2 * EMBEDDING, 4.0).iter().map(|x| x * 3.0).collect();
        let mask = (0..2 * SIZE * SIZE).map(|i| f32::from(i % 11 < 3 && i < 40)).collect();
        Case {
            weight: numbers(EMBEDDING * WIDTH, 1.0),
            bias: numbers(EMBEDDING, 2.0),
            patches: numbers(2 * GRID * GRID * WIDTH, 3.0),
            direction,
            mask,
        }
    }

    fn by_tensors(case: &Case, weight: &Tensor, bias: &Tensor) -> Tensor {
        let patches = tensor(case.patches.clone(), &[2, GRID * GRID, WIDTH]).unwrap();
        let direction = tensor(case.direction.clone(), &[2, EMBEDDING]).unwrap();
        let mask = tensor(case.mask.clone(), &[2, SIZE, SIZE]).unwrap();
        let logits = logits(&[weight, bias], &patches, &direction).unwrap();
        let large = enlarge(&logits, &enlarging(GRID, SIZE, Alignment::Corners).unwrap()).unwrap();
        focal_and_dice(&large, &mask).unwrap()
    }

    /// The same loss as in the paper's formulas: pixel by pixel, with two classes, in double precision.
    fn by_hand(case: &Case, weight: &[f64], bias: &[f64]) -> f64 {
        let (mut focal, mut dice) = (0.0, 0.0);
        for photo in 0..2 {
            let mut logits = [[0.0; GRID]; GRID];
            for (patch, logit) in logits.iter_mut().flatten().enumerate() {
                let start = (photo * GRID * GRID + patch) * WIDTH;
                let z: Vec<f64> = (0..EMBEDDING)
                    .map(|e| {
                        let h = case.patches[start..start + WIDTH].iter();
                        bias[e]
                            + h.zip(&weight[e * WIDTH..])
                                .map(|(h, w)| f64::from(*h) * w)
                                .sum::<f64>()
                    })
                    .collect();
                let length = z.iter().map(|z| z * z).sum::<f64>().sqrt();
                let along = z.iter().zip(&case.direction[photo * EMBEDDING..]);
                *logit = along.map(|(z, d)| z * f64::from(*d)).sum::<f64>() / length;
            }
            let (mut both, mut shown, mut marked) = (0.0, 0.0, 0.0);
            for y in 0..SIZE {
                for x in 0..SIZE {
                    let at = |i: usize| {
                        let position = i as f64 * (GRID - 1) as f64 / (SIZE - 1) as f64;
                        let low = (position.floor() as usize).min(GRID - 2);
                        (low, position - low as f64)
                    };
                    let ((top, v), (left, u)) = (at(y), at(x));
                    let upper = logits[top][left] * (1.0 - u) + logits[top][left + 1] * u;
                    let lower = logits[top + 1][left] * (1.0 - u) + logits[top + 1][left + 1] * u;
                    let logit = upper * (1.0 - v) + lower * v;
                    // The softmax over (0, logit), with targets of 1e-5 and 1 - 1e-5.
                    let anomalous = logit.exp() / (1.0 + logit.exp());
                    let is_marked = case.mask[(photo * SIZE + y) * SIZE + x] == 1.0;
                    let (target_n, target_a) =
                        if is_marked { (1e-5, 1.0 - 1e-5) } else { (1.0 - 1e-5, 1e-5) };
                    let p = target_n * (1.0 - anomalous) + target_a * anomalous + 1e-5;
                    focal -= (1.0 - p).powi(2) * p.ln();
                    shown += anomalous;
                    if is_marked {
                        both += anomalous;
                        marked += 1.0;
                    }
                }
            }
            dice += 1.0 - (2.0 * both + 1.0) / (shown + marked + 1.0);
        }
        focal / (2 * SIZE * SIZE) as f64 + dice / 2.0
    }

    fn double(values: &[f32]) -> Vec<f64> {
        values.iter().map(|v| f64::from(*v)).collect()
    }

    /// The derivative by central differences in double precision.
    fn slope(case: &Case, parameter: usize) -> f64 {
        const STEP: f64 = 1e-5;
        let moved = |by: f64| {
            let (mut weight, mut bias) = (double(&case.weight), double(&case.bias));
            let all = weight.len();
            match parameter < all {
                true => weight[parameter] += by,
                false => bias[parameter - all] += by,
            }
            by_hand(case, &weight, &bias)
        };
        (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
    }

    #[test]
    fn the_layer_on_the_trunk_learns_what_the_program_computes() {
        let values = |shape: &[usize], seed: f64| {
            tensor(numbers(shape.iter().product(), seed), shape).unwrap()
        };
        let outputs = TrunkOutputs { fine: values(&[16, 3], 1.0), coarse: values(&[4, 2], 2.0) };
        let layer = TrunkLayer {
            inner: values(&[6, 10], 3.0),
            inner_bias: values(&[6], 4.0),
            outer: values(&[EMBEDDING, 6], 5.0),
            outer_bias: values(&[EMBEDDING], 6.0),
        };
        let direction = values(&[1, EMBEDDING], 7.0);
        let parameters = [&layer.inner, &layer.inner_bias, &layer.outer, &layer.outer_bias];
        let inputs = trunk_input(&outputs).unwrap().unsqueeze(0).unwrap();
        let learnt = logits(&parameters, &inputs, &direction).unwrap();

        let about = AdapterAbout { blocks: vec![1], logit_scale: 1.0, ..AdapterAbout::default() };
        let on_block = (values(&[EMBEDDING, 5], 8.0), values(&[EMBEDDING], 9.0));
        let adapter = Adapter::new("a", about, vec![on_block]).unwrap();
        let adapter = adapter.with_trunk(layer).unwrap();
        let rows: Vec<Vec<f32>> = (0..4).map(|row| numbers(5, f64::from(row))).collect();
        let photo = Features { trunk: Some(outputs), ..photo(2, &rows) };
        let computed = &adapter.project(&photo).unwrap()[1];
        let computed = computed.matmul(&direction.t().unwrap()).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let pairs = flat(&learnt).into_iter().zip(flat(&computed));
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn loss_gradient_and_one_step_of_adam_are_those_computed_by_hand() {
        let case = case();
        let weight =
            Var::from_tensor(&tensor(case.weight.clone(), &[EMBEDDING, WIDTH]).unwrap()).unwrap();
        let bias = Var::from_tensor(&tensor(case.bias.clone(), &[EMBEDDING]).unwrap()).unwrap();
        let variables = [weight.clone(), bias.clone()];
        let loss = by_tensors(&case, &weight, &bias);
        let expected = by_hand(&case, &double(&case.weight), &double(&case.bias));
        assert!((f64::from(loss.to_scalar::<f32>().unwrap()) - expected).abs() < 1e-6);

        let gradients = loss.backward().unwrap();
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let slopes: Vec<f64> =
            (0..EMBEDDING * WIDTH + EMBEDDING).map(|i| slope(&case, i)).collect();
        let all =
            |of: &dyn Fn(&Var) -> Vec<f32>| variables.iter().flat_map(of).collect::<Vec<f32>>();
        for (i, (found, slope)) in
            all(&|v| values(gradients.get(v).unwrap())).iter().zip(&slopes).enumerate()
        {
            let error = (f64::from(*found) - slope).abs();
            assert!(error < 1e-5 + 1e-4 * slope.abs(), "{i}: {found} is not {slope}");
        }

        let before = all(&|v| values(v));
        let rates = Rates { learning_rate: 0.01, betas: (0.5, 0.999), weight_decay: 0.1 };
        let mut adam = Adam::new(rates, &variables).unwrap();
        adam.step(&gradients).unwrap();
        let second = by_tensors(&case, &weight, &bias).backward().unwrap();
        for ((before, after), g) in before.iter().zip(all(&|v| values(v))).zip(&slopes) {
            // After one step the unbiased moments are the gradient and its square.
            let expected = f64::from(*before) * (1.0 - 0.01 * 0.1) - 0.01 * g / (g.abs() + 1e-8);
            assert!((f64::from(after) - expected).abs() < 1e-5, "{after} is not {expected}");
        }
        // A second step, with the moments of two gradients.
        let (before, g2) = (all(&|v| values(v)), all(&|v| values(second.get(v).unwrap())));
        adam.step(&second).unwrap();
        for (((before, after), g1), g2) in
            before.iter().zip(all(&|v| values(v))).zip(&slopes).zip(g2)
        {
            let g2 = f64::from(g2);
            let first = (0.25 * g1 + 0.5 * g2) / 0.75;
            let squares = (0.999 * 0.001 * g1 * g1 + 0.001 * g2 * g2) / (1.0 - 0.999f64.powi(2));
            let expected = f64::from(*before) * 0.999 - 0.01 * first / (squares.sqrt() + 1e-8);
            assert!((f64::from(after) - expected).abs() < 1e-5, "{after} is not {expected}");
        }
    }
}
