//! Layers of LSTM and GRU on a processor, forward and back, worked out by hand over plain arrays. Unaware of LibTorch,
//! of threads and of what the numbers mean.
//!
//! LibTorch goes through a sequence step by step in many small operations; here a step stays in the registers and in
//! the nearest cache. Reading order: [`lanes`] (arithmetic of vectors), `activation`, `cell` with `lstm` and `gru`
//! (one step of one unit), `product` and `pack` (small matrices), `forward` and `back` (all steps).
//!
//! Arrays are row-major: sequences stand side by side at each step, `[steps, rows, width]`. All terms of a sum have a
//! fixed order, so the same call gives the same bits; another instruction set may give others.

mod activation;
mod back;
mod cell;
mod forward;
mod gru;
pub mod lanes;
mod lstm;
mod pack;
mod product;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::device;
use crate::kernels::gru::Gru;
use crate::kernels::lanes::{Lanes, Plain};
use crate::kernels::lstm::Lstm;
#[cfg(target_arch = "x86_64")]
use crate::kernels::x86::{Half, Wide};

/// The recurrent cell of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Long short-term memory, by the equations of PyTorch's `nn.LSTM`.
    Lstm,
    /// Gated recurrent unit, by the equations of PyTorch's `nn.GRU`.
    Gru,
}

impl Cell {
    /// Gates, which are the rows of weights that each unit has.
    pub const fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    /// Arrays that one step hands to the next: the hidden state, and an LSTM's cell state.
    pub const fn states(self) -> usize {
        match self {
            Self::Lstm => 2,
            Self::Gru => 1,
        }
    }
}

/// How large a layer and what it reads are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Steps of each sequence.
    pub steps: usize,
    /// Sequences.
    pub rows: usize,
    /// Numbers that come in at each step of a sequence.
    pub inputs: usize,
    /// Units.
    pub hidden: usize,
}

/// The arrays of a layer's weights, or of their gradients, with the gates in PyTorch's order.
#[derive(Clone, Copy, Debug)]
pub struct Weights<T> {
    /// Shape `[gates · hidden, inputs]`.
    pub input: T,
    /// Shape `[gates · hidden, hidden]`.
    pub hidden: T,
    /// Shape `[gates · hidden]`.
    pub input_bias: T,
    /// Shape `[gates · hidden]`.
    pub hidden_bias: T,
}

/// What is there before the first step, or the derivatives by it.
#[derive(Clone, Copy, Debug)]
pub struct Start<T> {
    /// The hidden state, shape `[rows, hidden]`.
    pub hidden: T,
    /// The cell state of an LSTM, shape `[rows, hidden]`; none of a GRU.
    pub memory: Option<T>,
}

/// All that a layer is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The weights.
    pub weights: Weights<&'a [f32]>,
    /// Shape `[steps, rows, inputs]`.
    pub inputs: &'a [f32],
    /// The states before the first step.
    pub start: Start<&'a [f32]>,
}

/// What the way forward made.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// The hidden states after each step, shape `[steps, rows, hidden]`.
    pub outputs: &'a [f32],
    /// The record of [`Layer::record`] numbers.
    pub record: &'a [f32],
}

/// Where the derivatives of a loss are written to.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// By the weights.
    pub weights: Weights<&'a mut [f32]>,
    /// By the inputs, where they are asked for.
    pub inputs: Option<&'a mut [f32]>,
    /// By the states before the first step.
    pub start: Start<&'a mut [f32]>,
}

/// The instructions that a layer is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// Those that every processor of its kind has.
    Plain,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// Those that LibTorch's own kernels use here; what the processor lacks is never chosen.
    #[cfg(target_arch = "x86_64")]
    pub fn chosen() -> Self {
        match device::capability() {
            "AVX512" if Self::Avx512.are_there() => Self::Avx512,
            "AVX512" | "AVX2" if Self::Avx2.are_there() => Self::Avx2,
            _ => Self::Plain,
        }
    }

    /// Those that LibTorch's own kernels use here.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn chosen() -> Self {
        Self::Plain
    }

    /// Whether this processor has them.
    pub fn are_there(self) -> bool {
        match self {
            Self::Plain => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma"),
        }
    }

    const fn width(self) -> usize {
        match self {
            Self::Plain => Plain::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Half::WIDTH,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Wide::WIDTH,
        }
    }
}

/// A layer over sequences, without its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    cell: Cell,
    sizes: Sizes,
    instructions: Instructions,
}

impl Layer {
    /// A layer of these sizes.
    ///
    /// # Panics
    ///
    /// Where there is no input or no unit, or where the processor lacks the instructions.
    pub fn new(cell: Cell, sizes: Sizes, instructions: Instructions) -> Self {
        assert!(sizes.inputs > 0 && sizes.hidden > 0, "a layer has inputs and units");
        assert!(instructions.are_there(), "the processor has no {instructions:?}");
        Self { cell, sizes, instructions }
    }

    /// Numbers of the record that the way back needs.
    pub fn record(&self) -> usize {
        let width = self.instructions.width();
        let Sizes { steps, rows, hidden, .. } = self.sizes;
        steps * rows * hidden.div_ceil(width) * width * cell::KEPT
    }

    /// Writes the hidden states after each step, shape `[steps, rows, hidden]`, and the record where one is given.
    ///
    /// # Panics
    ///
    /// Where an array is not as long as it should be.
    pub fn forward(&self, given: &Given<'_>, outputs: &mut [f32], record: Option<&mut [f32]>) {
        self.check(given);
        assert_eq!(outputs.len(), self.outputs(), "length of the outputs");
        assert!(record.as_ref().is_none_or(|record| record.len() == self.record()), "length of the record");
        match self.instructions {
            Instructions::Plain => self.forward_by::<Plain>(given, outputs, record),
            // SAFETY: `new` has seen that the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { self.forward_avx2(given, outputs, record) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { self.forward_avx512(given, outputs, record) },
        }
    }

    /// Writes the derivatives of a loss, given those by the outputs.
    ///
    /// # Panics
    ///
    /// Where an array is not as long as it should be.
    pub fn back(&self, given: &Given<'_>, made: Made<'_>, by_outputs: &[f32], gradients: Gradients<'_>) {
        self.check(given);
        assert_eq!([made.outputs.len(), by_outputs.len()], [self.outputs(); 2], "length of the outputs");
        assert_eq!(made.record.len(), self.record(), "length of the record");
        match self.instructions {
            Instructions::Plain => self.back_by::<Plain>(given, made, by_outputs, gradients),
            // SAFETY: `new` has seen that the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { self.back_avx2(given, made, by_outputs, gradients) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { self.back_avx512(given, made, by_outputs, gradients) },
        }
    }

    fn outputs(&self) -> usize {
        self.sizes.steps * self.sizes.rows * self.sizes.hidden
    }

    fn check(&self, given: &Given<'_>) {
        let Sizes { steps, rows, inputs, hidden } = self.sizes;
        let Given { weights, start, .. } = given;
        let long = self.cell.gates() * hidden;
        let found = [weights.input, weights.hidden, weights.input_bias, weights.hidden_bias].map(<[f32]>::len);
        assert_eq!(found, [long * inputs, long * hidden, long, long], "lengths of the weights");
        assert_eq!(given.inputs.len(), steps * rows * inputs, "length of the inputs");
        let memory = (self.cell == Cell::Lstm).then_some(rows * hidden);
        assert_eq!(
            (start.hidden.len(), start.memory.map(<[f32]>::len)),
            (rows * hidden, memory),
            "states at the start"
        );
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,fma")]
    fn forward_avx512(&self, given: &Given<'_>, outputs: &mut [f32], record: Option<&mut [f32]>) {
        self.forward_by::<Wide>(given, outputs, record);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn forward_avx2(&self, given: &Given<'_>, outputs: &mut [f32], record: Option<&mut [f32]>) {
        self.forward_by::<Half>(given, outputs, record);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,fma")]
    fn back_avx512(&self, given: &Given<'_>, made: Made<'_>, by_outputs: &[f32], gradients: Gradients<'_>) {
        self.back_by::<Wide>(given, made, by_outputs, gradients);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn back_avx2(&self, given: &Given<'_>, made: Made<'_>, by_outputs: &[f32], gradients: Gradients<'_>) {
        self.back_by::<Half>(given, made, by_outputs, gradients);
    }

    #[inline(always)]
    fn forward_by<V: Lanes>(&self, given: &Given<'_>, outputs: &mut [f32], record: Option<&mut [f32]>) {
        match self.cell {
            Cell::Lstm => forward::forward::<V, Lstm, 4>(self.sizes, given, outputs, record),
            Cell::Gru => forward::forward::<V, Gru, 3>(self.sizes, given, outputs, record),
        }
    }

    #[inline(always)]
    fn back_by<V: Lanes>(&self, given: &Given<'_>, made: Made<'_>, by_outputs: &[f32], gradients: Gradients<'_>) {
        match self.cell {
            Cell::Lstm => back::back::<V, Lstm, 4>(self.sizes, given, made, by_outputs, gradients),
            Cell::Gru => back::back::<V, Gru, 3>(self.sizes, given, made, by_outputs, gradients),
        }
    }
}
