//! A vector of 32-bit floats as the arithmetic of the kernels sees it, with the form for any processor.
//! Unaware of networks.

/// The largest [`Lanes::WIDTH`].
pub const MOST: usize = 16;

/// Some 32-bit floats that are computed with side by side.
///
/// Every operation is rounded once and in the order that is written, so results are the same wherever the same
/// implementation runs.
pub trait Lanes: Copy {
    /// How many floats.
    const WIDTH: usize;

    /// How many rows of four vectors fit into the processor's registers.
    const ROWS: usize;

    /// The same value in every lane.
    fn splat(value: f32) -> Self;

    /// The first [`Self::WIDTH`] values.
    fn load(from: &[f32]) -> Self;

    /// Writes to the first [`Self::WIDTH`] places.
    fn store(self, to: &mut [f32]);

    /// The sum.
    fn add(self, other: Self) -> Self;

    /// The difference.
    fn sub(self, other: Self) -> Self;

    /// The product.
    fn mul(self, other: Self) -> Self;

    /// The quotient.
    fn div(self, other: Self) -> Self;

    /// `self * factor + addend`, rounded once where the processor can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;

    /// `addend - self * factor`, rounded once where the processor can.
    fn mul_sub_from(self, factor: Self, addend: Self) -> Self;

    /// Within ± `bound`; a NaN stays one.
    fn clamp(self, bound: f32) -> Self;

    /// 2 to the integer in the low bits of the float, which lie where adding 1.5 · 2²³ puts them.
    fn power_of_two(self) -> Self;

    /// No value.
    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }
}

/// Four floats for any processor; compilers turn the loops into its vectors.
#[derive(Clone, Copy)]
pub struct Plain([f32; 4]);

impl Plain {
    #[inline(always)]
    fn each(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        let mut result = self.0;
        for (result, other) in result.iter_mut().zip(other.0) {
            *result = operation(*result, other);
        }
        Self(result)
    }
}

impl Lanes for Plain {
    const WIDTH: usize = 4;
    const ROWS: usize = 2;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        Self([from[0], from[1], from[2], from[3]])
    }

    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[..4].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.each(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.each(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.each(other, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul(factor).add(addend)
    }

    #[inline(always)]
    fn mul_sub_from(self, factor: Self, addend: Self) -> Self {
        addend.sub(self.mul(factor))
    }

    #[inline(always)]
    fn clamp(self, bound: f32) -> Self {
        self.each(self, |value, _| {
            let value = if value > bound { bound } else { value };
            if value < -bound { -bound } else { value }
        })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        self.each(self, |value, _| f32::from_bits((value.to_bits() << 23).wrapping_add(1f32.to_bits())))
    }
}
