//! Products of small matrices in registers: a few rows by a few vectors at a time, each sum in the order of its
//! terms. Unaware of cells and of sequences.
//!
//! Sums are taken and given back by value: a sum that is reached through a reference is stored at each term.

use crate::kernels::cell::SLOTS;
use crate::kernels::lanes::{Lanes, MOST};

/// Adds to the slots of each row the product of its numbers with `weights`, a vector for each gate a number.
#[inline(always)]
pub fn add_gates<V: Lanes, const GATES: usize, const ROWS: usize>(
    mut sums: [[V; SLOTS]; ROWS],
    mut rows: [&[f32]; ROWS],
    weights: &[[V; GATES]],
    slots: [usize; GATES],
) -> [[V; SLOTS]; ROWS] {
    for row in &mut rows {
        *row = &row[..weights.len()];
    }
    for (k, weight) in weights.iter().enumerate() {
        let weight = *weight;
        for (sums, row) in sums.iter_mut().zip(rows) {
            let factor = V::splat(row[k]);
            for gate in 0..GATES {
                sums[slots[gate]] = factor.mul_add(weight[gate], sums[slots[gate]]);
            }
        }
    }
    sums
}

/// Adds to each row of `sums` the product of its gates `[blocks][slots][lanes]` with `weights`
/// `[blocks][gates][lanes]`, which has `COLUMNS` vectors a gate of a unit.
#[inline(always)]
pub fn add_units<V: Lanes, const GATES: usize, const ROWS: usize, const COLUMNS: usize>(
    mut sums: [[V; COLUMNS]; ROWS],
    rows: [&[f32]; ROWS],
    weights: &[[V; COLUMNS]],
    slots: [usize; GATES],
) -> [[V; COLUMNS]; ROWS] {
    for (block, weights) in weights.chunks_exact(GATES * V::WIDTH).enumerate() {
        for (gate, weights) in weights.chunks_exact(V::WIDTH).enumerate() {
            let first = (block * SLOTS + slots[gate]) * V::WIDTH;
            let mut rows = rows;
            for row in &mut rows {
                *row = &row[first..][..V::WIDTH];
            }
            for (lane, weight) in weights.iter().enumerate() {
                let weight = *weight;
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let factor = V::splat(row[lane]);
                    for (sum, weight) in sums.iter_mut().zip(weight) {
                        *sum = factor.mul_add(weight, *sum);
                    }
                }
            }
        }
    }
    sums
}

/// Adds to `sums` over all rows the product of `NUMBERS` numbers of each row of `numbers`, from the place `first` on,
/// with the row's gates. A row of `numbers` is `width` long; one of `gates` has `blocks` places, of which `block` counts.
#[inline(always)]
pub fn add_outer<V: Lanes, const GATES: usize, const NUMBERS: usize>(
    sums: &mut [[V; GATES]],
    (numbers, width, first): (&[f32], usize, usize),
    (gates, blocks, block): (&[[V; SLOTS]], usize, usize),
    slots: [usize; GATES],
) {
    let sums: &mut [[V; GATES]; NUMBERS] = sums.try_into().expect("as many sums as numbers");
    let mut local = *sums;
    for (row, gates) in numbers.chunks_exact(width).zip(gates.chunks_exact(blocks)) {
        let (row, gates) = (&row[first..][..NUMBERS], gates[block]);
        for (local, number) in local.iter_mut().zip(row) {
            let factor = V::splat(*number);
            for gate in 0..GATES {
                local[gate] = factor.mul_add(gates[slots[gate]], local[gate]);
            }
        }
    }
    *sums = local;
}

/// The floats of vectors that lie one after the other.
pub fn floats<V: Lanes>(vectors: &[V]) -> &[f32] {
    assert_eq!(size_of::<V>(), V::WIDTH * size_of::<f32>(), "a vector is its floats and no more");
    // SAFETY: a vector is `WIDTH` floats without padding, by the assertion, and is aligned for them.
    unsafe { std::slice::from_raw_parts(vectors.as_ptr().cast(), vectors.len() * V::WIDTH) }
}

/// The vector from the place `first` on; 0 past the end.
#[inline(always)]
pub fn load_within<V: Lanes>(from: &[f32], first: usize) -> V {
    let rest = &from[first..];
    if rest.len() >= V::WIDTH {
        return V::load(rest);
    }
    let mut padded = [0.0; MOST];
    padded[..rest.len()].copy_from_slice(rest);
    V::load(&padded)
}

/// Stores a vector from the place `first` on; what is past the end falls away.
#[inline(always)]
pub fn store_within<V: Lanes>(vector: V, to: &mut [f32], first: usize) {
    let rest = &mut to[first..];
    if rest.len() >= V::WIDTH {
        return vector.store(rest);
    }
    let mut padded = [0.0; MOST];
    vector.store(&mut padded);
    rest.copy_from_slice(&padded[..rest.len()]);
}

/// Rows of a matrix from one on.
#[inline(always)]
pub fn rows_of<const ROWS: usize>(matrix: &[f32], width: usize, first: usize) -> [&[f32]; ROWS] {
    let mut rows = [&matrix[..0]; ROWS];
    for (row, place) in (first..).zip(&mut rows) {
        *place = &matrix[row * width..][..width];
    }
    rows
}

/// Goes through `rows` rows from `first` on with as many at once, `COUNT`, as the registers take.
macro_rules! by_rows {
    ($vector:ident, $rows:expr, |$first:ident, $count:ident| $body:block) => {
        let mut $first = 0;
        while $first < $rows {
            let left = $rows - $first;
            if $vector::ROWS >= 4 && left >= 4 {
                const $count: usize = 4;
                $body
                $first += $count;
            } else if left >= 2 {
                const $count: usize = 2;
                $body
                $first += $count;
            } else {
                const $count: usize = 1;
                $body
                $first += $count;
            }
        }
    };
}
pub(crate) use by_rows;
