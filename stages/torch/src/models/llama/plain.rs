//! The blocks once more, in loops over 64-bit floats, for tests to compare with. Unaware of LibTorch and of the
//! code that it checks, but for sizes and names.

use std::collections::BTreeMap;

use crate::models::llama::Blocks;
use crate::models::weights::{Parameter, unpack};

/// Weights by name, each with the length of its rows.
pub struct Plain {
    weights: BTreeMap<String, (usize, Vec<f64>)>,
    blocks: Blocks,
    window: usize,
}

type Steps = Vec<Vec<f64>>;

impl Plain {
    /// The weights of a flat array; each step sees `window` steps, its own among them.
    pub fn new(blocks: &Blocks, parameters: &[Parameter], theta: &[f32], window: usize) -> Self {
        let weights = unpack(parameters, theta).into_iter().map(|(name, weights)| {
            let row = *weights.shape.last().unwrap();
            (name, (row, weights.values.into_iter().map(f64::from).collect()))
        });
        Self { weights: weights.collect(), blocks: blocks.clone(), window }
    }

    /// The linear layer `name`, with its bias where it has one.
    pub fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (row, weight) = &self.weights[&format!("{name}.weight")];
        assert_eq!(*row, x.len(), "{name}");
        let bias = self.weights.get(&format!("{name}.bias"));
        let output = |(at, row): (usize, &[f64])| {
            let sum: f64 = row.iter().zip(x).map(|(weight, x)| weight * x).sum();
            sum + bias.map_or(0.0, |(_, bias)| bias[at])
        };
        weight.chunks(*row).enumerate().map(output).collect()
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let (_, scale) = &self.weights[&format!("{name}.scale")];
        x.iter().zip(scale).map(|(x, scale)| x / (mean + 1e-5).sqrt() * scale).collect()
    }

    /// What the stack makes of steps, all of them seen at once.
    pub fn steps(&self, inputs: &[Vec<f64>]) -> Steps {
        let mut x: Steps = inputs.iter().map(|input| self.linear("model.transformer.wte", input)).collect();
        for block in 0..self.blocks.layers {
            let own = format!("model.transformer.h.{block}");
            let normed: Steps = x.iter().map(|x| self.norm(&format!("{own}.rms_1"), x)).collect();
            for (x, seen) in x.iter_mut().zip(self.attend(&own, &normed)) {
                add(x, &self.linear(&format!("{own}.attn.c_proj"), &seen));
                let normed = self.norm(&format!("{own}.rms_2"), x);
                let gate = self.linear(&format!("{own}.mlp.c_fc1"), &normed);
                let value = self.linear(&format!("{own}.mlp.c_fc2"), &normed);
                let gated: Vec<f64> = gate.iter().zip(value).map(|(g, v)| g / (1.0 + (-g).exp()) * v).collect();
                add(x, &self.linear(&format!("{own}.mlp.c_proj"), &gated));
            }
        }
        x.iter().map(|x| self.norm("model.transformer.ln_f", x)).collect()
    }

    fn attend(&self, own: &str, x: &[Vec<f64>]) -> Steps {
        let (size, width) = (self.blocks.heads * self.blocks.width, self.blocks.width);
        let turned = |step: usize, all: &[f64]| -> Vec<f64> {
            all.chunks(width).flat_map(|head| self.turned(step, head)).collect()
        };
        let queries: Steps = x.iter().map(|x| self.linear(&format!("{own}.attn.q_proj"), x)).collect();
        let both: Steps = x.iter().map(|x| self.linear(&format!("{own}.attn.kv_proj"), x)).collect();
        let keys: Steps = both.iter().enumerate().map(|(step, both)| turned(step, &both[..size])).collect();
        let mut seen = Vec::new();
        for (step, query) in queries.iter().enumerate() {
            let query = turned(step, query);
            let past = (step + 1).saturating_sub(self.window)..step + 1;
            let mut heads = vec![0.0; size];
            for head in (0..size).step_by(width) {
                let score = |other: usize| {
                    let products = (head..head + width).map(|at| query[at] * keys[other][at]);
                    (products.sum::<f64>() / (width as f64).sqrt()).exp()
                };
                let scores: Vec<f64> = past.clone().map(score).collect();
                let sum: f64 = scores.iter().sum();
                for (other, score) in past.clone().zip(&scores) {
                    for at in head..head + width {
                        heads[at] += score / sum * both[other][size + at];
                    }
                }
            }
            seen.push(heads);
        }
        seen
    }

    /// A head's pairs of numbers, each turned by an angle that grows with the step.
    fn turned(&self, step: usize, head: &[f64]) -> Vec<f64> {
        let half = head.len() / 2;
        let mut turned = vec![0.0; head.len()];
        for pair in 0..half {
            let speed = 10_000f64.powf(-2.0 * pair as f64 / head.len() as f64);
            let (sin, cos) = (step as f64 / self.blocks.stretch * speed).sin_cos();
            turned[pair] = cos * head[pair] - sin * head[pair + half];
            turned[pair + half] = sin * head[pair] + cos * head[pair + half];
        }
        turned
    }
}

fn add(x: &mut [f64], more: &[f64]) {
    x.iter_mut().zip(more).for_each(|(x, more)| *x += more);
}
