//! The blocks of Lag-Llama (Rasul et al. 2023, arXiv 2310.08278): a stack of causal attention and gated layers over
//! steps of any meaning. Unaware of heart rates and of what the steps hold.
//!
//! Names and shapes of the weights are those of the published state dict, which begin with `model.transformer`.

#[cfg(test)]
pub mod plain;

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::models::pass::Pass;
use crate::models::weights::{Named, Parameter, Start};

/// Keeps a norm from dividing by zero.
const EPSILON: f64 = 1e-5;

/// The slowest turn of a position takes 2π times nearly this many steps.
const BASE: f64 = 10_000.0;

/// Units of a gated layer come in multiples of this.
const MULTIPLE: usize = 256;

/// A stack of blocks: its sizes, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocks {
    /// Blocks.
    pub layers: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Numbers of a head, even.
    pub width: usize,
    /// Dropout of what a block adds, in training only.
    pub dropout: f64,
    /// What positions are divided by before they turn anything.
    pub stretch: f64,
}

/// Keys and values of the steps before, of every block, so that one more step costs one step.
#[derive(Debug)]
pub struct Cache {
    window: usize,
    position: usize,
    blocks: Vec<[Tensor; 2]>,
}

impl Cache {
    /// Nothing yet; a step will look back at `window` steps, its own among them.
    pub const fn new(window: usize) -> Self {
        Self { window, position: 0, blocks: Vec::new() }
    }

    /// The same past for each of `rows` futures; it must be of one row.
    pub fn repeated(&self, rows: usize) -> Result<Self> {
        let repeat = |tensor: &Tensor| tensor.f_repeat([rows as i64, 1, 1, 1]);
        let blocks = self.blocks.iter().map(|[keys, values]| Ok([repeat(keys)?, repeat(values)?]));
        Ok(Self { blocks: blocks.collect::<Result<_>>()?, ..*self })
    }

    /// Adds keys and values `[rows, heads, steps, width]` to those of a block, and gives all that are in the window.
    fn extend(&mut self, block: usize, new: [Tensor; 2]) -> Result<[Tensor; 2]> {
        let [keys, values] = match self.blocks.get(block) {
            None => new,
            Some([keys, values]) => {
                let join = |old: &Tensor, new: &Tensor| Tensor::f_cat(&[old, new], 2);
                [join(keys, &new[0])?, join(values, &new[1])?]
            }
        };
        let steps = keys.size()[2];
        let kept = steps.min(self.window as i64);
        let last = |tensor: Tensor| tensor.f_narrow(2, steps - kept, kept);
        let all = [last(keys)?, last(values)?];
        let stored = [all[0].shallow_clone(), all[1].shallow_clone()];
        match self.blocks.get_mut(block) {
            None => self.blocks.push(stored),
            Some(own) => *own = stored,
        }
        Ok(all)
    }
}

impl Blocks {
    /// Numbers of a step within the stack.
    pub const fn size(&self) -> usize {
        self.heads * self.width
    }

    /// Units of a gated layer: two thirds of four times the size, rounded up.
    pub const fn hidden(&self) -> usize {
        (8 * self.size() / 3).next_multiple_of(MULTIPLE)
    }

    /// The weights of a stack whose steps hold so many numbers, in the order of the published state dict.
    pub fn parameters(&self, inputs: usize) -> Vec<Parameter> {
        let (size, hidden) = (self.size(), self.hidden());
        let matrix = |name: String, outputs: usize, inputs: usize| {
            Parameter::new(name, &[outputs, inputs], Start::Uniform(1.0 / (inputs as f32).sqrt()))
        };
        let scale = |name: String| Parameter::new(name, &[size], Start::Fixed(1.0));
        let mut all = Vec::from(Parameter::linear("model.transformer.wte", size, inputs));
        for block in (0..self.layers).map(name) {
            all.push(scale(format!("{block}.rms_1.scale")));
            all.push(matrix(format!("{block}.attn.q_proj.weight"), size, size));
            all.push(matrix(format!("{block}.attn.kv_proj.weight"), 2 * size, size));
            all.push(matrix(format!("{block}.attn.c_proj.weight"), size, size));
            all.push(scale(format!("{block}.rms_2.scale")));
            all.push(matrix(format!("{block}.mlp.c_fc1.weight"), hidden, size));
            all.push(matrix(format!("{block}.mlp.c_fc2.weight"), hidden, size));
            all.push(matrix(format!("{block}.mlp.c_proj.weight"), size, hidden));
        }
        all.push(scale("model.transformer.ln_f.scale".into()));
        all
    }

    /// What the stack makes of the steps `[rows, steps, inputs]`: shape `[rows, steps, size]`.
    ///
    /// Steps look back at one another and at those in `cache`, where they are then added. Into a cache that holds
    /// steps already, they must come one by one; into an empty one no more than its window.
    pub fn forward(
        &self,
        weights: &Named<'_>,
        inputs: &Tensor,
        mut cache: Option<&mut Cache>,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let (first, steps) = (cache.as_ref().map_or(0, |cache| cache.position), inputs.size()[1]);
        let turn = Turn::new(first, steps, self, inputs.device())?;
        let mut x = weights.linear("model.transformer.wte", inputs)?;
        for block in 0..self.layers {
            let own = name(block);
            let normed = norm(weights, &format!("{own}.rms_1"), &x)?;
            let seen = self.attend(weights, block, &normed, &turn, cache.as_deref_mut())?;
            x = x.f_add(&pass.dropout(&seen, self.dropout)?)?;
            let normed = norm(weights, &format!("{own}.rms_2"), &x)?;
            let gate = product(weights, &format!("{own}.mlp.c_fc1"), &normed)?.f_silu()?;
            let gated = gate.f_mul(&product(weights, &format!("{own}.mlp.c_fc2"), &normed)?)?;
            let added = product(weights, &format!("{own}.mlp.c_proj"), &gated)?;
            x = x.f_add(&pass.dropout(&added, self.dropout)?)?;
        }
        if let Some(cache) = cache {
            cache.position += steps as usize;
        }
        norm(weights, "model.transformer.ln_f", &x)
    }

    /// Attention of one block: `[rows, steps, size]` from the same.
    fn attend(
        &self,
        weights: &Named<'_>,
        block: usize,
        x: &Tensor,
        turn: &Turn,
        cache: Option<&mut Cache>,
    ) -> Result<Tensor> {
        let [rows, steps] = [x.size()[0], x.size()[1]];
        let (heads, width) = (self.heads as i64, self.width as i64);
        let by_head = |tensor: Tensor| tensor.f_view([rows, steps, -1, width])?.f_transpose(1, 2);
        let own = format!("{}.attn", name(block));
        let query = by_head(product(weights, &format!("{own}.q_proj"), x)?)?;
        let both = by_head(product(weights, &format!("{own}.kv_proj"), x)?)?;
        let (keys, values) = (both.f_narrow(1, 0, heads)?, both.f_narrow(1, heads, heads)?);
        let (query, keys) = (turn.apply(&query)?, turn.apply(&keys)?);
        let [keys, values] = match cache {
            None => [keys, values],
            Some(cache) => cache.extend(block, [keys, values])?,
        };
        // One step may see everything that is there; LibTorch's own attention skips what lies ahead, and took half
        // the time of masked products at 500 steps on a processor.
        let ahead = steps > 1;
        let seen =
            Tensor::f_scaled_dot_product_attention(&query, &keys, &values, None::<Tensor>, 0.0, ahead, None, false)?;
        let joined = seen.f_transpose(1, 2)?.f_reshape([rows, steps, heads * width])?;
        product(weights, &format!("{own}.c_proj"), &joined)
    }
}

/// Turns of queries and keys by their positions, so that products of them depend on their distance alone
/// (Su et al. 2021); a number is paired with the one half a head further on.
struct Turn {
    cos: Tensor,
    sin: Tensor,
}

impl Turn {
    fn new(first: usize, steps: i64, blocks: &Blocks, device: Device) -> Result<Self> {
        let (half, options) = ((blocks.width / 2) as i64, (Kind::Double, device));
        let positions = Tensor::f_arange(steps, options)?.f_add_scalar(first as f64)?.f_div_scalar(blocks.stretch)?;
        let speeds = Tensor::f_arange(half, options)?.f_mul_scalar(-BASE.ln() / half as f64)?.f_exp()?;
        let angles = positions.f_outer(&speeds)?;
        let twice = |side: Tensor| Tensor::f_cat(&[&side, &side], 1)?.f_to_kind(Kind::Float);
        Ok(Self { cos: twice(angles.f_cos()?)?, sin: twice(angles.f_sin()?)? })
    }

    /// `[rows, heads, steps, width]`, turned.
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let halves = x.f_chunk(2, 3)?;
        let turned = Tensor::f_cat(&[&halves[1].f_neg()?, &halves[0]], 3)?;
        Ok(x.f_mul(&self.cos)?.f_add(&turned.f_mul(&self.sin)?)?)
    }
}

fn name(block: usize) -> String {
    format!("model.transformer.h.{block}")
}

/// The steps through a matrix without a bias.
fn product(weights: &Named<'_>, name: &str, x: &Tensor) -> Result<Tensor> {
    Ok(x.f_linear(&weights[format!("{name}.weight").as_str()], None::<&Tensor>)?)
}

/// Steps divided by the root of their mean square and scaled (Zhang and Sennrich 2019).
fn norm(weights: &Named<'_>, name: &str, x: &Tensor) -> Result<Tensor> {
    let square = x.f_square()?.f_mean_dim(&[-1][..], true, Kind::Float)?;
    let normed = x.f_mul(&square.f_add_scalar(EPSILON)?.f_rsqrt()?)?;
    Ok(normed.f_mul(&weights[format!("{name}.scale").as_str()])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::llama::plain::Plain;
    use crate::models::weights::{initial, to_host};

    fn blocks(stretch: f64) -> Blocks {
        Blocks { layers: 3, heads: 2, width: 4, dropout: 0.0, stretch }
    }

    /// Rows of steps of three numbers.
    fn inputs(rows: i64, steps: i64) -> Tensor {
        Tensor::arange(rows * steps * 3, (Kind::Float, Device::Cpu)).sin().view([rows, steps, 3])
    }

    fn assert_close(found: &Tensor, expected: &[f64]) {
        let found = to_host(found).unwrap();
        assert_eq!(found.len(), expected.len());
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{at}: {found} instead of {expected}");
        }
    }

    /// The last row of a stack by 64-bit loops.
    fn expected(blocks: &Blocks, theta: &[f32], inputs: &Tensor, window: usize) -> Vec<f64> {
        let plain = Plain::new(blocks, &blocks.parameters(3), theta, window);
        let row = to_host(&inputs.select(0, inputs.size()[0] - 1)).unwrap();
        let steps: Vec<Vec<f64>> = row.chunks(3).map(|step| step.iter().copied().map(f64::from).collect()).collect();
        plain.steps(&steps).concat()
    }

    #[test]
    fn all_steps_at_once_are_what_loops_over_64_bit_floats_say() {
        for stretch in [1.0, 2.5] {
            let blocks = blocks(stretch);
            let parameters = blocks.parameters(3);
            let theta = initial(&parameters, 4);
            let (flat, inputs) = (Tensor::from_slice(&theta), inputs(2, 9));
            let weights = Named::new(&flat, &parameters).unwrap();
            let found = blocks.forward(&weights, &inputs, None, &mut Pass::predict()).unwrap();
            assert_close(&found.select(0, 1), &expected(&blocks, &theta, &inputs, 9));
        }
    }

    #[test]
    fn step_by_step_with_a_cache_is_what_all_at_once_is() {
        let blocks = blocks(1.5);
        let parameters = blocks.parameters(3);
        let theta = initial(&parameters, 4);
        let (flat, inputs) = (Tensor::from_slice(&theta), inputs(2, 12));
        let weights = Named::new(&flat, &parameters).unwrap();
        // The second window forgets, as it does from the sixth step on.
        for window in [100, 5] {
            let mut cache = Cache::new(window);
            let mut found = Vec::new();
            for (first, steps) in std::iter::once((0, 5)).chain((5..12).map(|step| (step, 1))) {
                let some = inputs.narrow(1, first, steps);
                found.push(blocks.forward(&weights, &some, Some(&mut cache), &mut Pass::predict()).unwrap());
            }
            let found = Tensor::cat(&found, 1);
            assert_close(&found.select(0, 1), &expected(&blocks, &theta, &inputs, window));
            let whole = blocks.forward(&weights, &inputs, None, &mut Pass::predict()).unwrap();
            let apart = (found - whole).abs().max().double_value(&[]);
            assert!(if window == 100 { apart < 1e-5 } else { apart > 1e-3 }, "{window}: {apart}");
        }
    }

    #[test]
    fn one_past_serves_several_futures() {
        let blocks = blocks(1.0);
        let parameters = blocks.parameters(3);
        let flat = Tensor::from_slice(&initial(&parameters, 4));
        let (weights, inputs) = (Named::new(&flat, &parameters).unwrap(), inputs(1, 6));
        let mut one = Cache::new(6);
        let next = |cache: &mut Cache, inputs: &Tensor| {
            blocks.forward(&weights, inputs, Some(cache), &mut Pass::predict()).unwrap()
        };
        let _ = next(&mut one, &inputs.narrow(1, 0, 5));
        let mut many = one.repeated(3).unwrap();
        let last = inputs.narrow(1, 5, 1);
        let (one, many) = (next(&mut one, &last), next(&mut many, &last.repeat([3, 1, 1])));
        assert!((many - one).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn the_units_of_a_gated_layer_follow_the_published_rule() {
        let of = |heads| Blocks { heads, width: 16, ..blocks(1.0) }.hidden();
        assert_eq!([4, 6, 9, 32].map(of), [256, 256, 512, 1536]);
    }
}
