//! The cell of a GRU, by the equations of PyTorch's `nn.GRU`. Unaware of products and of sequences.
//!
//! Gates in their order r, z, n: n = tanh(xₙ + σ(r)·hₙ), h = (1 − σ(z))·n + σ(z)·h₋₁, where xₙ and hₙ are what the
//! candidate has from the input and from the hidden state, each with its bias.

use crate::kernels::activation::{sigmoid, slope, tanh};
use crate::kernels::cell::{Back, Equations, Forward, KEPT, SLOTS};
use crate::kernels::lanes::Lanes;

/// Gated recurrent unit.
pub struct Gru;

impl Equations<3> for Gru {
    const FROM_INPUT: [usize; 3] = [0, 1, 2];
    const FROM_HIDDEN: [usize; 3] = [0, 1, 3];

    #[inline(always)]
    fn forward<V: Lanes>(sums: [V; SLOTS], before: V) -> Forward<V> {
        let [r, z, own] = [sigmoid(sums[0]), sigmoid(sums[1]), sums[3]];
        let n = tanh(r.mul_add(own, sums[2]));
        let hidden = z.mul_add(before.sub(n), n);
        Forward { gates: [r, z, n, own], memory: hidden, hidden }
    }

    #[inline(always)]
    fn back<V: Lanes>(kept: [V; KEPT], hidden: V, memory: V) -> Back<V> {
        let [r, z, n, own, before] = kept;
        let one = V::splat(1.0);
        let candidate = hidden.mul(one.sub(z)).mul(n.mul_sub_from(n, one));
        let sums =
            [candidate.mul(own).mul(slope(r)), hidden.mul(before.sub(n)).mul(slope(z)), candidate, candidate.mul(r)];
        Back { sums, memory, hidden: hidden.mul(z) }
    }
}
