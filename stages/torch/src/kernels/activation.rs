//! Logistic function and hyperbolic tangent of vectors, right to about two units in the last place.
//! Unaware of networks.

use crate::kernels::lanes::Lanes;

/// 1.5 · 2²³: what a small float is rounded to an integer by when it is added, which then stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Coefficients of q where eʳ = 1 + r + r²·q(r) for |r| ≤ ½ ln 2, lowest first. They were found by Remez's
/// exchange with the error relative to eʳ, which is at most 3.1e-9.
const Q: [f32; 5] = [0.499_999_93, 0.166_665_2, 0.041_668_4, 0.008_368_851, 0.001_381_432];

/// eˣ as `scale` and `scale · more`, where scale is a power of 2: eˣ = scale + scale · more.
#[inline(always)]
fn exponential<V: Lanes>(x: V) -> (V, V) {
    let turns = x.mul_add(V::splat(std::f32::consts::LOG2_E), V::splat(ROUNDER));
    let whole = turns.sub(V::splat(ROUNDER));
    let r = whole.mul_sub_from(V::splat(std::f32::consts::LN_2), x);
    let mut q = V::splat(Q[4]);
    for coefficient in [Q[3], Q[2], Q[1], Q[0]] {
        q = q.mul_add(r, V::splat(coefficient));
    }
    (turns.power_of_two(), r.mul(r).mul_add(q, r))
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<V: Lanes>(x: V) -> V {
    let (scale, more) = exponential(V::zero().sub(x).clamp(87.0));
    let one = V::splat(1.0);
    one.div(scale.mul_add(more, scale).add(one))
}

/// (e²ˣ − 1) / (e²ˣ + 1), through e²ˣ − 1 so that nothing cancels near 0.
#[inline(always)]
pub fn tanh<V: Lanes>(x: V) -> V {
    let (scale, more) = exponential(x.add(x).clamp(60.0));
    let less_one = scale.mul_add(more, scale.sub(V::splat(1.0)));
    less_one.div(less_one.add(V::splat(2.0)))
}

/// The derivative of the logistic function where its value is `gate`.
#[inline(always)]
pub fn slope<V: Lanes>(gate: V) -> V {
    gate.mul_sub_from(gate, gate)
}
