//! Lag-Llama as published (Rasul et al. 2023, arXiv 2310.08278), which continues a series from its own past. Unaware
//! of sequences, of splits and of files.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use pacer_stages::model::Weights;
use pacer_stages::past::{Ordered, Past, Scale, student};
use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::models::llama::{Blocks, Cache};
use crate::models::pass::Pass;
use crate::models::weights::{Named, Parameter, to_host};
use crate::random::fraction;

/// Steps back whose values each step is told, 0 for its own, as stretches with both their ends: the union of the lags
/// that GluonTS names for frequencies from quarters to seconds.
const LAGS: &[(usize, usize)] = &[
    (0, 0),
    (7, 8),
    (10, 14),
    (19, 24),
    (26, 30),
    (34, 36),
    (46, 48),
    (50, 52),
    (55, 55),
    (57, 61),
    (70, 72),
    (83, 83),
    (94, 96),
    (102, 104),
    (117, 121),
    (142, 144),
    (154, 156),
    (166, 168),
    (177, 181),
    (334, 336),
    (362, 364),
    (502, 504),
    (670, 672),
    (718, 720),
    (726, 728),
    (1090, 1092),
];

/// Numbers of a step beside its lags: level, spread, and six of the time.
const BESIDE: usize = 8;

/// Numbers of a head as published.
const WIDTH: usize = 16;

/// What is said of the next value, by Student's t: degrees of freedom, location, scale.
const SAID: [&str; 3] = ["model.param_proj.proj.0", "model.param_proj.proj.1", "model.param_proj.proj.2"];

/// The forecaster: its sizes, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecaster {
    blocks: Blocks,
    lags: Vec<usize>,
    parameters: Vec<Parameter>,
}

/// How a past is continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Steps that a step looks back at, its own among them.
    pub context: usize,
    /// Steps to draw.
    pub horizon: usize,
    /// Futures to draw.
    pub samples: usize,
}

/// A past with one future, as far as it has been drawn.
#[derive(Clone)]
struct Path {
    values: Vec<f64>,
    ordered: Ordered,
}

impl Path {
    fn push(&mut self, value: f64) {
        self.values.push(value);
        self.ordered.add(value);
    }
}

impl Forecaster {
    /// The forecaster of a stack of blocks that is told the values at `lags`.
    pub fn new(blocks: Blocks, lags: Vec<usize>) -> Self {
        let mut parameters: Vec<Parameter> =
            SAID.iter().flat_map(|name| Parameter::linear(name, 1, blocks.size())).collect();
        parameters.extend(blocks.parameters(lags.len() + BESIDE));
        Self { blocks, lags, parameters }
    }

    /// The published one, of as many blocks and heads as some weights have; positions are divided by `stretch`.
    pub fn published(weights: &BTreeMap<String, Weights>, stretch: f64) -> Result<Self> {
        let wte = weights.get("model.transformer.wte.weight");
        let wte = wte.context("`model.transformer.wte.weight` is missing: these are no weights of Lag-Llama")?;
        let size = wte.shape.first().copied().unwrap_or(0);
        ensure!(
            size > 0 && size % WIDTH == 0,
            "`model.transformer.wte.weight` has {size} rows where a multiple of {WIDTH} belongs, the width of a head"
        );
        let layers =
            (0..).take_while(|block| weights.contains_key(&format!("model.transformer.h.{block}.rms_1.scale")));
        let blocks = Blocks { layers: layers.count(), heads: size / WIDTH, width: WIDTH, dropout: 0.0, stretch };
        Ok(Self::new(blocks, LAGS.iter().flat_map(|(first, last)| *first..=*last).collect()))
    }

    /// The weights in their order within the flat tensor.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Steps before the context that a step can be told of.
    pub fn reach(&self) -> usize {
        self.lags.iter().max().copied().unwrap_or(0)
    }

    /// Draws futures of a past, step by step; for each step of the horizon, the value of each future in BPM.
    ///
    /// `theta` `[len]`; `clock` tells the time of a step, counted from the past's first; `generator` gives the random
    /// numbers of a step of the horizon. The past holds at least `context` steps.
    pub fn draw(
        &self,
        theta: &Tensor,
        past: &Past,
        plan: Plan,
        clock: impl Fn(usize) -> [f64; 6],
        generator: impl Fn(usize) -> ChaCha8Rng,
    ) -> Result<Vec<Vec<f64>>> {
        let length = past.values.len();
        ensure!(length >= plan.context, "a past of {length} steps is shorter than a context of {}", plan.context);
        let weights = Named::new(theta, &self.parameters)?;
        let path = Path { values: past.values.clone(), ordered: Ordered::new(past) };
        let mut scales = vec![path.ordered.scale(); plan.samples];
        // All futures have one past, which is read once.
        let context = length - plan.context..length;
        let tokens = context.flat_map(|step| self.token(&path, step, scales[0], clock(step))).collect::<Vec<_>>();
        let mut cache = Cache::new(plan.context);
        let said = self.say(&weights, &tokens, 1, &mut cache)?;
        let mut said: Vec<[f64; 3]> = vec![said[0]; plan.samples];
        let mut cache = cache.repeated(plan.samples)?;
        let mut paths = vec![path; plan.samples];
        let mut drawn = Vec::with_capacity(plan.horizon);
        for step in length..length + plan.horizon {
            if step > length {
                scales = paths.iter().map(|path| path.ordered.scale()).collect();
                let tokens = paths.iter().zip(&scales);
                let tokens = tokens.flat_map(|(path, scale)| self.token(path, step - 1, *scale, clock(step - 1)));
                said = self.say(&weights, &tokens.collect::<Vec<_>>(), plan.samples, &mut cache)?;
            }
            let mut generator = generator(step - length);
            for ((path, scale), said) in paths.iter_mut().zip(&scales).zip(&said) {
                path.push(value(*said, *scale, &mut generator));
            }
            drawn.push(paths.iter().map(|path| path.values[step]).collect());
        }
        Ok(drawn)
    }

    /// What the network reads of a step: the values at the lags, standardised, 0 BPM before the start; the logarithms
    /// of level and spread; the time.
    fn token(&self, path: &Path, step: usize, scale: Scale, clock: [f64; 6]) -> impl Iterator<Item = f32> {
        let Scale { middle, spread } = scale;
        let value = move |lag: &usize| {
            let value = step.checked_sub(*lag).map_or(0.0, |step| path.values[step]);
            (value - middle) / spread
        };
        let beside = [middle.abs().ln_1p(), spread.ln()];
        let token: Vec<f64> = self.lags.iter().map(value).chain(beside).chain(clock).collect();
        token.into_iter().map(|number| number as f32)
    }

    /// What is said of the value after the last step of each row: degrees of freedom, location and scale of Student's
    /// t, standardised.
    fn say(&self, weights: &Named<'_>, tokens: &[f32], rows: usize, cache: &mut Cache) -> Result<Vec<[f64; 3]>> {
        let width = (self.lags.len() + BESIDE) as i64;
        let device = weights["model.transformer.ln_f.scale"].device();
        let tokens = Tensor::f_from_slice(tokens)?.f_to(device)?.f_view([rows as i64, -1, width])?;
        let steps = self.blocks.forward(weights, &tokens, Some(cache), &mut Pass::predict())?;
        let last = steps.f_narrow(1, steps.size()[1] - 1, 1)?;
        let said = SAID.map(|name| weights.linear(name, &last));
        let said = said.into_iter().collect::<Result<Vec<_>>>()?;
        let said = to_host(&Tensor::f_cat(&said, 2)?)?;
        Ok(said.chunks(3).map(|said| student_of([said[0], said[1], said[2]].map(f64::from))).collect())
    }
}

/// Degrees of freedom above 2, a location, and a scale above 0, from any three numbers.
fn student_of([freedom, location, scale]: [f64; 3]) -> [f64; 3] {
    [2.0 + softplus(freedom), location, softplus(scale).max(f64::from(f32::EPSILON))]
}

/// ln(1 + eˣ), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// A draw, BPM.
fn value([freedom, location, own]: [f64; 3], scale: Scale, generator: &mut ChaCha8Rng) -> f64 {
    let (above, around) = (fraction(generator), fraction(generator));
    (location + own * student(freedom, above, around)) * scale.spread + scale.middle
}
