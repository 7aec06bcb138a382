//! Weights in the order in which the products read them, and gradients back in the order of the weights.
//! Unaware of products and of sequences.

use crate::kernels::cell::SLOTS;
use crate::kernels::lanes::{Lanes, MOST};
use crate::kernels::product::{load_within, store_within};

/// `[gates · hidden, width]` as `[blocks, width]` places of a vector for each gate; 0 past the last unit.
#[inline(always)]
pub fn by_block<V: Lanes, const GATES: usize>(weights: &[f32], width: usize, hidden: usize) -> Vec<[V; GATES]> {
    let mut packed = Vec::with_capacity(hidden.div_ceil(V::WIDTH) * width);
    for first in (0..hidden).step_by(V::WIDTH) {
        for k in 0..width {
            let mut place = [V::zero(); GATES];
            for (gate, place) in place.iter_mut().enumerate() {
                let mut lanes = [0.0; MOST];
                for (unit, lane) in (first..hidden).zip(&mut lanes[..V::WIDTH]) {
                    *lane = weights[(gate * hidden + unit) * width + k];
                }
                *place = V::load(&lanes);
            }
            packed.push(place);
        }
    }
    packed
}

/// The way back of [`by_block`].
#[inline(always)]
pub fn from_blocks<V: Lanes, const GATES: usize>(packed: &[[V; GATES]], to: &mut [f32], width: usize, hidden: usize) {
    for (first, places) in (0..hidden).step_by(V::WIDTH).zip(packed.chunks_exact(width)) {
        for (k, place) in places.iter().enumerate() {
            for (gate, vector) in place.iter().enumerate() {
                let mut lanes = [0.0; MOST];
                vector.store(&mut lanes);
                for (unit, lane) in (first..hidden).zip(&lanes[..V::WIDTH]) {
                    to[(gate * hidden + unit) * width + k] = *lane;
                }
            }
        }
    }
}

/// Biases `[gates · hidden]`, each with the slots that its gates go to, summed up by slots for each block.
#[inline(always)]
pub fn biases<V: Lanes, const GATES: usize>(parts: [(&[f32], [usize; GATES]); 2], hidden: usize) -> Vec<[V; SLOTS]> {
    let mut packed = Vec::with_capacity(hidden.div_ceil(V::WIDTH));
    for first in (0..hidden).step_by(V::WIDTH) {
        let mut place = [V::zero(); SLOTS];
        for (bias, slots) in parts {
            for (gate, bias) in bias.chunks_exact(hidden).enumerate() {
                place[slots[gate]] = place[slots[gate]].add(load_within(bias, first));
            }
        }
        packed.push(place);
    }
    packed
}

/// The slots of each block that a bias `[gates · hidden]` went to.
#[inline(always)]
pub fn from_slots<V: Lanes, const GATES: usize>(
    packed: &[[V; SLOTS]],
    to: &mut [f32],
    slots: [usize; GATES],
    hidden: usize,
) {
    for (gate, bias) in to.chunks_exact_mut(hidden).enumerate() {
        for (first, place) in (0..hidden).step_by(V::WIDTH).zip(packed) {
            store_within(place[slots[gate]], bias, first);
        }
    }
}

/// First and number of the vectors of a row that are computed at once: four as long as there are four, then two,
/// then one.
pub fn groups(columns: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let count = [4, 2, 1].into_iter().find(|count| first + count <= columns)?;
        first += count;
        Some((first - count, count))
    })
}

/// `[gates · hidden, width]` as `[groups, blocks, gates, lanes, vectors]`; 0 past the last unit and past the width.
#[inline(always)]
pub fn by_unit<V: Lanes, const GATES: usize>(weights: &[f32], width: usize, hidden: usize) -> Vec<V> {
    let (columns, blocks) = (width.div_ceil(V::WIDTH), hidden.div_ceil(V::WIDTH));
    let mut packed = Vec::with_capacity(columns * blocks * GATES * V::WIDTH);
    for (start, count) in groups(columns) {
        for first in (0..hidden).step_by(V::WIDTH) {
            for gate in 0..GATES {
                for unit in first..first + V::WIDTH {
                    for column in start..start + count {
                        packed.push(if unit < hidden {
                            load_within(&weights[(gate * hidden + unit) * width..][..width], column * V::WIDTH)
                        } else {
                            V::zero()
                        });
                    }
                }
            }
        }
    }
    packed
}

/// `[rows, width]` as `[rows, blocks]` vectors; 0 past the width.
#[inline(always)]
pub fn vectors<V: Lanes>(matrix: &[f32], width: usize) -> Vec<V> {
    let mut vectors = Vec::with_capacity(matrix.len() / width * width.div_ceil(V::WIDTH));
    for row in matrix.chunks_exact(width) {
        for first in (0..width).step_by(V::WIDTH) {
            vectors.push(load_within(row, first));
        }
    }
    vectors
}

/// The way back of [`vectors`].
#[inline(always)]
pub fn from_vectors<V: Lanes>(packed: &[V], to: &mut [f32], width: usize) {
    for (row, vectors) in to.chunks_exact_mut(width).zip(packed.chunks_exact(width.div_ceil(V::WIDTH))) {
        for (block, vector) in vectors.iter().enumerate() {
            store_within(*vector, row, block * V::WIDTH);
        }
    }
}
