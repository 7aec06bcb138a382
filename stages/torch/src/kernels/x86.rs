//! The vectors of AVX-512 and of AVX2 with FMA. Unaware of networks and of which processor it runs on.
//!
//! Functions here may run only where the processor has the instructions: `kernels` makes no value of these types
//! but within functions that are compiled for them, and calls those after having asked the processor.

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_epi32, _mm256_add_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_div_ps,
    _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_slli_epi32, _mm256_sub_ps, _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_div_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_slli_epi32, _mm512_sub_ps,
};

use crate::kernels::lanes::Lanes;

/// Sixteen floats of AVX-512.
#[derive(Clone, Copy)]
pub struct Wide(__m512);

/// Eight floats of AVX2.
#[derive(Clone, Copy)]
pub struct Half(__m256);

/// Implements [`Lanes`] by the intrinsics of one instruction set.
macro_rules! lanes {
    ($name:ident, $width:literal, $rows:literal, $inner:ident, $splat:ident, $add:ident, $sub:ident,
     $mul:ident, $div:ident, $fma:ident, $fnma:ident, $max:ident, $min:ident, $bits:ident, $floats:ident,
     $shift:ident, $sum:ident, $integer:ident) => {
        impl Lanes for $name {
            const WIDTH: usize = $width;
            const ROWS: usize = $rows;

            #[inline(always)]
            fn splat(value: f32) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $splat(value) })
            }

            #[inline(always)]
            fn load(from: &[f32]) -> Self {
                let from = &from[..$width];
                // Not by the intrinsic, which LLVM leaves as a call here and there.
                // SAFETY: the slice is as long as the vector, every bit of which is one of a float.
                Self(unsafe { from.as_ptr().cast::<$inner>().read_unaligned() })
            }

            #[inline(always)]
            fn store(self, to: &mut [f32]) {
                let to = &mut to[..$width];
                // SAFETY: the slice is as long as the vector, every bit of which is one of a float.
                unsafe { to.as_mut_ptr().cast::<$inner>().write_unaligned(self.0) }
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $add(self.0, other.0) })
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $sub(self.0, other.0) })
            }

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $mul(self.0, other.0) })
            }

            #[inline(always)]
            fn div(self, other: Self) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $div(self.0, other.0) })
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $fma(self.0, factor.0, addend.0) })
            }

            #[inline(always)]
            fn mul_sub_from(self, factor: Self, addend: Self) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $fnma(self.0, factor.0, addend.0) })
            }

            #[inline(always)]
            fn clamp(self, bound: f32) -> Self {
                // The second operand is what comes out where one is NaN.
                // SAFETY: the processor has the instructions, as the module says.
                Self(unsafe { $min($splat(bound), $max($splat(-bound), self.0)) })
            }

            #[inline(always)]
            fn power_of_two(self) -> Self {
                // SAFETY: the processor has the instructions, as the module says.
                unsafe {
                    let exponent = $shift::<23>($bits(self.0));
                    Self($floats($sum(exponent, $integer(1f32.to_bits() as i32))))
                }
            }
        }
    };
}

lanes!(
    Wide,
    16,
    4,
    __m512,
    _mm512_set1_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_div_ps,
    _mm512_fmadd_ps,
    _mm512_fnmadd_ps,
    _mm512_max_ps,
    _mm512_min_ps,
    _mm512_castps_si512,
    _mm512_castsi512_ps,
    _mm512_slli_epi32,
    _mm512_add_epi32,
    _mm512_set1_epi32
);
lanes!(
    Half,
    8,
    2,
    __m256,
    _mm256_set1_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_div_ps,
    _mm256_fmadd_ps,
    _mm256_fnmadd_ps,
    _mm256_max_ps,
    _mm256_min_ps,
    _mm256_castps_si256,
    _mm256_castsi256_ps,
    _mm256_slli_epi32,
    _mm256_add_epi32,
    _mm256_set1_epi32
);
