//! The way forward of a layer through all steps of some sequences. Unaware of which cell and of which vectors it
//! computes with.
//!
//! A block of units is summed up over inputs and hidden state and activated in registers; what goes to memory is
//! the output and, where the way back will be asked for, the record.

use crate::kernels::cell::{Equations, Forward, KEPT, SLOTS};
use crate::kernels::lanes::Lanes;
use crate::kernels::pack::{biases, by_block, vectors};
use crate::kernels::product::{add_gates, by_rows, rows_of, store_within};
use crate::kernels::{Given, Sizes};

/// Weights in the order of the products.
struct Packed<V, const GATES: usize> {
    bias: Vec<[V; SLOTS]>,
    input: Vec<[V; GATES]>,
    hidden: Vec<[V; GATES]>,
}

/// A step.
struct Now<'a> {
    inputs: &'a [f32],
    past: &'a [f32],
    outputs: &'a mut [f32],
    record: Option<&'a mut [f32]>,
}

/// Writes the hidden states of all steps and, where asked for, the record of them.
#[inline(always)]
pub fn forward<V: Lanes, C: Equations<GATES>, const GATES: usize>(
    sizes: Sizes,
    given: &Given<'_>,
    outputs: &mut [f32],
    mut record: Option<&mut [f32]>,
) {
    let Sizes { rows, inputs, hidden, .. } = sizes;
    let weights = &given.weights;
    let packed = Packed::<V, GATES> {
        bias: biases([(weights.input_bias, C::FROM_INPUT), (weights.hidden_bias, C::FROM_HIDDEN)], hidden),
        input: by_block(weights.input, inputs, hidden),
        hidden: by_block(weights.hidden, hidden, hidden),
    };
    let start = given.start.memory.unwrap_or(given.start.hidden);
    let mut memory = vectors::<V>(start, hidden);
    let long = rows * packed.bias.len() * KEPT * V::WIDTH;
    for step in 0..sizes.steps {
        let (past, rest) = outputs.split_at_mut(step * rows * hidden);
        let now = Now {
            inputs: &given.inputs[step * rows * inputs..][..rows * inputs],
            past: if step == 0 { given.start.hidden } else { &past[(step - 1) * rows * hidden..] },
            outputs: &mut rest[..rows * hidden],
            record: record.as_deref_mut().map(|record| &mut record[step * long..][..long]),
        };
        one::<V, C, GATES>(sizes, &packed, now, &mut memory);
    }
}

/// One step of all sequences.
#[inline(always)]
fn one<V: Lanes, C: Equations<GATES>, const GATES: usize>(
    sizes: Sizes,
    packed: &Packed<V, GATES>,
    mut now: Now<'_>,
    memory: &mut [V],
) {
    let Sizes { rows, inputs, hidden, .. } = sizes;
    let blocks = packed.bias.len();
    for block in 0..blocks {
        let by_input = &packed.input[block * inputs..][..inputs];
        let by_hidden = &packed.hidden[block * hidden..][..hidden];
        by_rows!(V, rows, |first, ROWS| {
            let sums = [packed.bias[block]; ROWS];
            let sums = add_gates::<V, GATES, ROWS>(sums, rows_of(now.inputs, inputs, first), by_input, C::FROM_INPUT);
            let sums = add_gates::<V, GATES, ROWS>(sums, rows_of(now.past, hidden, first), by_hidden, C::FROM_HIDDEN);
            for (row, sums) in (first..).zip(sums) {
                let at = row * blocks + block;
                let before = memory[at];
                let Forward { gates, memory: after, hidden: output } = C::forward(sums, before);
                memory[at] = after;
                store_within(output, &mut now.outputs[row * hidden..][..hidden], block * V::WIDTH);
                if let Some(record) = &mut now.record {
                    keep(gates, before, &mut record[at * KEPT * V::WIDTH..][..KEPT * V::WIDTH]);
                }
            }
        });
    }
}

#[inline(always)]
fn keep<V: Lanes>(gates: [V; SLOTS], before: V, to: &mut [f32]) {
    for slot in 0..SLOTS {
        gates[slot].store(&mut to[slot * V::WIDTH..]);
    }
    before.store(&mut to[SLOTS * V::WIDTH..]);
}
