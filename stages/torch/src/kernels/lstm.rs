//! The cell of an LSTM, by the equations of PyTorch's `nn.LSTM`. Unaware of products and of sequences.
//!
//! Gates in their order i, f, g, o: c = σ(f)·c₋₁ + σ(i)·tanh(g), h = σ(o)·tanh(c).

use crate::kernels::activation::{sigmoid, slope, tanh};
use crate::kernels::cell::{Back, Equations, Forward, KEPT, SLOTS};
use crate::kernels::lanes::Lanes;

/// Long short-term memory.
pub struct Lstm;

impl Equations<4> for Lstm {
    const FROM_INPUT: [usize; 4] = [0, 1, 2, 3];
    const FROM_HIDDEN: [usize; 4] = [0, 1, 2, 3];

    #[inline(always)]
    fn forward<V: Lanes>(sums: [V; SLOTS], before: V) -> Forward<V> {
        let [i, f, g, o] = [sigmoid(sums[0]), sigmoid(sums[1]), tanh(sums[2]), sigmoid(sums[3])];
        let memory = f.mul_add(before, i.mul(g));
        Forward { gates: [i, f, g, o], memory, hidden: o.mul(tanh(memory)) }
    }

    #[inline(always)]
    fn back<V: Lanes>(kept: [V; KEPT], hidden: V, memory: V) -> Back<V> {
        let [i, f, g, o, before] = kept;
        let one = V::splat(1.0);
        // As in the way forward, to the bit.
        let bent = tanh(f.mul_add(before, i.mul(g)));
        let memory = hidden.mul(o).mul_add(bent.mul_sub_from(bent, one), memory);
        let sums = [
            memory.mul(g).mul(slope(i)),
            memory.mul(before).mul(slope(f)),
            memory.mul(i).mul(g.mul_sub_from(g, one)),
            hidden.mul(bent).mul(slope(o)),
        ];
        Back { sums, memory: memory.mul(f), hidden: V::zero() }
    }
}
