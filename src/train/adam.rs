//! Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1) and AdamW (Loshchilov and Hutter, arXiv 1711.05101). A checkpoint
//! needs the moments, and candle's optimiser does not show its own.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

/// The settings of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub learning_rate: f64,
    pub betas: (f64, f64),
    /// Decoupled from the gradient (AdamW). 0 gives Adam.
    pub weight_decay: f64,
}

const EPS: f64 = 1e-8;

/// The optimiser with the running moments of the variables.
#[derive(Debug)]
pub(crate) struct Adam {
    rates: Rates,
    steps: usize,
    /// Each variable with its first and second moment.
    state: Vec<(Var, Tensor, Tensor)>,
}

impl Adam {
    pub fn new(rates: Rates, variables: &[Var]) -> Result<Self> {
        let zero = |v: &Var| Ok((v.clone(), v.zeros_like()?, v.zeros_like()?));
        let state = variables.iter().map(zero).collect::<Result<_>>()?;
        Ok(Self { rates, steps: 0, state })
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    /// For the next steps.
    pub fn set_learning_rate(&mut self, rate: f64) {
        self.rates.learning_rate = rate;
    }

    /// The first and second moment of each variable, in the order of the variables.
    pub fn moments(&self) -> impl Iterator<Item = (&Tensor, &Tensor)> {
        self.state.iter().map(|(_, first, second)| (first, second))
    }

    /// Continues from a saved state.
    pub fn restore(&mut self, steps: usize, moments: Vec<(Tensor, Tensor)>) {
        self.steps = steps;
        for ((_, first, second), saved) in self.state.iter_mut().zip(moments) {
            (*first, *second) = saved;
        }
    }

    pub fn step(&mut self, gradients: &GradStore) -> Result<()> {
        self.steps += 1;
        let Rates { learning_rate, betas: (b1, b2), weight_decay } = self.rates;
        let unbias = |beta: f64| 1.0 / (1.0 - beta.powi(self.steps as i32));
        for (variable, first, second) in &mut self.state {
            let Some(gradient) = gradients.get(variable) else { continue };
            *first = ((&*first * b1)? + (gradient * (1.0 - b1))?)?;
            *second = ((&*second * b2)? + (gradient.sqr()? * (1.0 - b2))?)?;
            let step = ((&*first * unbias(b1))? / ((&*second * unbias(b2))?.sqrt()? + EPS)?)?;
            let kept = (variable.as_tensor() * (1.0 - learning_rate * weight_decay))?;
            variable.set(&(kept - (step * learning_rate)?)?)?;
        }
        Ok(())
    }
}
