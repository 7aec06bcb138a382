//! The way back of a layer through all steps of some sequences. Unaware of which cell and of which vectors it
//! computes with.
//!
//! The derivatives by the sums of a stretch of steps stay in the cache until the products for weights and inputs
//! are taken over them.

use crate::kernels::cell::{Back, Equations, KEPT, SLOTS};
use crate::kernels::lanes::Lanes;
use crate::kernels::pack::{by_unit, from_blocks, from_slots, from_vectors, groups};
use crate::kernels::product::{add_outer, add_units, by_rows, floats, load_within, rows_of, store_within};
use crate::kernels::{Given, Gradients, Made, Sizes};

/// Rows of a stretch.
const STRETCH: usize = 128;

/// Weights in the order of the products.
struct Packed<V> {
    hidden: Vec<V>,
    /// Empty where the derivatives by the inputs are not asked for.
    input: Vec<V>,
}

/// Sums of the gradients of weights.
struct Totals<V, const GATES: usize> {
    bias: Vec<[V; SLOTS]>,
    input: Vec<[V; GATES]>,
    hidden: Vec<[V; GATES]>,
}

/// Derivatives that go from step to step.
struct Carry<V> {
    hidden: Vec<V>,
    memory: Vec<V>,
}

/// Writes the derivatives of a loss, given those by the outputs, all that the way forward was given, and what it made.
#[inline(always)]
pub fn back<V: Lanes, C: Equations<GATES>, const GATES: usize>(
    sizes: Sizes,
    given: &Given<'_>,
    made: Made<'_>,
    by_outputs: &[f32],
    mut gradients: Gradients<'_>,
) {
    let Sizes { steps, rows, inputs, hidden } = sizes;
    let blocks = hidden.div_ceil(V::WIDTH);
    // Not by a closure, which would be compiled without the wide instructions.
    let mut input = Vec::new();
    if gradients.inputs.is_some() {
        input = by_unit::<V, GATES>(given.weights.input, inputs, hidden);
    }
    let packed = Packed { hidden: by_unit::<V, GATES>(given.weights.hidden, hidden, hidden), input };
    let mut totals = Totals::<V, GATES> {
        bias: vec![[V::zero(); SLOTS]; blocks],
        input: vec![[V::zero(); GATES]; blocks * inputs],
        hidden: vec![[V::zero(); GATES]; blocks * hidden],
    };
    let mut carry = Carry { hidden: vec![V::zero(); rows * blocks], memory: vec![V::zero(); rows * blocks] };
    let stretch = (STRETCH / rows.max(1)).max(1);
    let mut sums = vec![[V::zero(); SLOTS]; stretch * rows * blocks];
    let (wide, long) = (rows * hidden, rows * blocks * KEPT * V::WIDTH);
    for first in (0..steps).step_by(stretch).rev() {
        let last = (first + stretch).min(steps);
        for step in (first..last).rev() {
            let own = &mut sums[(step - first) * rows * blocks..][..rows * blocks];
            let record = &made.record[step * long..][..long];
            one::<V, C, GATES>(sizes, &packed.hidden, record, &by_outputs[step * wide..][..wide], own, &mut carry);
        }
        let sums = &sums[..(last - first) * rows * blocks];
        total::<V, C, GATES>(sizes, (given, made.outputs), (first, last), sums, &mut totals);
        if let Some(to) = &mut gradients.inputs {
            let to = &mut to[first * rows * inputs..last * rows * inputs];
            by_inputs::<V, C, GATES>(&packed.input, floats(sums.as_flattened()), to, inputs, blocks);
        }
    }
    from_blocks(&totals.input, gradients.weights.input, inputs, hidden);
    from_blocks(&totals.hidden, gradients.weights.hidden, hidden, hidden);
    from_slots(&totals.bias, gradients.weights.input_bias, C::FROM_INPUT, hidden);
    from_slots(&totals.bias, gradients.weights.hidden_bias, C::FROM_HIDDEN, hidden);
    from_vectors(&carry.hidden, gradients.start.hidden, hidden);
    if let Some(memory) = gradients.start.memory {
        from_vectors(&carry.memory, memory, hidden);
    }
}

/// One step of all sequences: the derivatives by its sums, and those that go on to the step before.
#[inline(always)]
fn one<V: Lanes, C: Equations<GATES>, const GATES: usize>(
    sizes: Sizes,
    packed: &[V],
    record: &[f32],
    by_outputs: &[f32],
    sums: &mut [[V; SLOTS]],
    carry: &mut Carry<V>,
) {
    let Sizes { rows, hidden, .. } = sizes;
    let blocks = hidden.div_ceil(V::WIDTH);
    for row in 0..rows {
        for block in 0..blocks {
            let at = row * blocks + block;
            let from_output: V = load_within(&by_outputs[row * hidden..][..hidden], block * V::WIDTH);
            let kept = kept_of(&record[at * KEPT * V::WIDTH..][..KEPT * V::WIDTH]);
            let step = C::back(kept, from_output.add(carry.hidden[at]), carry.memory[at]);
            let Back { sums: own, memory, hidden } = step;
            (sums[at], carry.memory[at], carry.hidden[at]) = (own, memory, hidden);
        }
    }
    let scalars = floats(sums.as_flattened());
    let mut rest = packed;
    for (start, count) in groups(blocks) {
        let (weights, after) = rest.split_at(blocks * GATES * V::WIDTH * count);
        rest = after;
        by_rows!(V, rows, |first, ROWS| {
            let rows = rows_of::<ROWS>(scalars, blocks * SLOTS * V::WIDTH, first);
            let to = &mut carry.hidden[first * blocks..][..ROWS * blocks];
            match count {
                4 => add_to_carry::<V, GATES, ROWS, 4>(to, (start, blocks), rows, weights, C::FROM_HIDDEN),
                2 => add_to_carry::<V, GATES, ROWS, 2>(to, (start, blocks), rows, weights, C::FROM_HIDDEN),
                _ => add_to_carry::<V, GATES, ROWS, 1>(to, (start, blocks), rows, weights, C::FROM_HIDDEN),
            }
        });
    }
}

#[inline(always)]
fn kept_of<V: Lanes>(from: &[f32]) -> [V; KEPT] {
    let mut kept = [V::zero(); KEPT];
    for (place, kept) in kept.iter_mut().enumerate() {
        *kept = V::load(&from[place * V::WIDTH..]);
    }
    kept
}

#[inline(always)]
fn add_to_carry<V: Lanes, const GATES: usize, const ROWS: usize, const COLUMNS: usize>(
    to: &mut [V],
    (start, blocks): (usize, usize),
    rows: [&[f32]; ROWS],
    weights: &[V],
    slots: [usize; GATES],
) {
    let mut sums = [[V::zero(); COLUMNS]; ROWS];
    for (sums, to) in sums.iter_mut().zip(to.chunks_exact(blocks)) {
        sums.copy_from_slice(&to[start..][..COLUMNS]);
    }
    let sums = add_units::<V, GATES, ROWS, COLUMNS>(sums, rows, weights.as_chunks().0, slots);
    for (sums, to) in sums.iter().zip(to.chunks_exact_mut(blocks)) {
        to[start..][..COLUMNS].copy_from_slice(sums);
    }
}

/// The derivatives by the inputs of a stretch.
#[inline(always)]
fn by_inputs<V: Lanes, C: Equations<GATES>, const GATES: usize>(
    packed: &[V],
    scalars: &[f32],
    to: &mut [f32],
    width: usize,
    blocks: usize,
) {
    let rows = to.len() / width;
    let mut rest = packed;
    for (start, count) in groups(width.div_ceil(V::WIDTH)) {
        let (weights, after) = rest.split_at(blocks * GATES * V::WIDTH * count);
        rest = after;
        by_rows!(V, rows, |first, ROWS| {
            let rows = rows_of::<ROWS>(scalars, blocks * SLOTS * V::WIDTH, first);
            let to = &mut to[first * width..][..ROWS * width];
            match count {
                4 => by_input::<V, GATES, ROWS, 4>(to, (start, width), rows, weights, C::FROM_INPUT),
                2 => by_input::<V, GATES, ROWS, 2>(to, (start, width), rows, weights, C::FROM_INPUT),
                _ => by_input::<V, GATES, ROWS, 1>(to, (start, width), rows, weights, C::FROM_INPUT),
            }
        });
    }
}

#[inline(always)]
fn by_input<V: Lanes, const GATES: usize, const ROWS: usize, const COLUMNS: usize>(
    to: &mut [f32],
    (start, width): (usize, usize),
    rows: [&[f32]; ROWS],
    weights: &[V],
    slots: [usize; GATES],
) {
    let sums = [[V::zero(); COLUMNS]; ROWS];
    let sums = add_units::<V, GATES, ROWS, COLUMNS>(sums, rows, weights.as_chunks().0, slots);
    for (sums, to) in sums.iter().zip(to.chunks_exact_mut(width)) {
        for (column, sum) in (start..).zip(sums) {
            store_within(*sum, to, column * V::WIDTH);
        }
    }
}

/// Adds what a stretch has to the gradients of the weights.
#[inline(always)]
fn total<V: Lanes, C: Equations<GATES>, const GATES: usize>(
    sizes: Sizes,
    (given, outputs): (&Given<'_>, &[f32]),
    (first, last): (usize, usize),
    sums: &[[V; SLOTS]],
    to: &mut Totals<V, GATES>,
) {
    let Sizes { rows, inputs, hidden, .. } = sizes;
    for row in sums.chunks_exact(to.bias.len()) {
        for (bias, own) in to.bias.iter_mut().zip(row) {
            for slot in 0..SLOTS {
                bias[slot] = bias[slot].add(own[slot]);
            }
        }
    }
    let own = &given.inputs[first * rows * inputs..last * rows * inputs];
    outer::<V, GATES>(&mut to.input, (own, inputs), sums, C::FROM_INPUT);
    // The first step comes after the start, every other after the outputs of the one before.
    let (at_start, after) = sums.split_at(if first == 0 { rows * to.bias.len() } else { 0 });
    outer::<V, GATES>(&mut to.hidden, (given.start.hidden, hidden), at_start, C::FROM_HIDDEN);
    let past = &outputs[(first.max(1) - 1) * rows * hidden..(last - 1) * rows * hidden];
    outer::<V, GATES>(&mut to.hidden, (past, hidden), after, C::FROM_HIDDEN);
}

/// Adds the products of all rows' numbers with their gates.
#[inline(always)]
fn outer<V: Lanes, const GATES: usize>(
    to: &mut [[V; GATES]],
    (numbers, width): (&[f32], usize),
    sums: &[[V; SLOTS]],
    slots: [usize; GATES],
) {
    let blocks = to.len() / width;
    for block in 0..blocks {
        let to = &mut to[block * width..][..width];
        by_rows!(V, width, |first, NUMBERS| {
            let to = &mut to[first..][..NUMBERS];
            add_outer::<V, GATES, NUMBERS>(to, (numbers, width, first), (sums, blocks, block), slots);
        });
    }
}
