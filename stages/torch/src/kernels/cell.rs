//! What a recurrent cell does with its gates at one step, forward and back, and how its gates meet inputs and hidden
//! state. Unaware of products, of sequences and of memory.

use crate::kernels::lanes::Lanes;

/// Vectors that each cell sums up before its activations; GRU keeps apart what its candidate has from the input and
/// from the hidden state.
pub const SLOTS: usize = 4;

/// Vectors that a step keeps for the way back: the activated gates and the memory before the step.
pub const KEPT: usize = SLOTS + 1;

/// The equations of a cell with weights for so many gates.
pub trait Equations<const GATES: usize> {
    /// The slot that each gate's product with the inputs is added to.
    const FROM_INPUT: [usize; GATES];

    /// The slot that each gate's product with the hidden state is added to.
    const FROM_HIDDEN: [usize; GATES];

    /// Activates the sums of a step, given the memory before it.
    fn forward<V: Lanes>(sums: [V; SLOTS], before: V) -> Forward<V>;

    /// The derivatives of a loss by a step's sums and by what came before it, from what was kept of the step and
    /// from the derivatives by its hidden state and by its memory.
    fn back<V: Lanes>(kept: [V; KEPT], hidden: V, memory: V) -> Back<V>;
}

/// What a step comes to.
pub struct Forward<V> {
    /// The activated gates.
    pub gates: [V; SLOTS],
    /// What the next step remembers: LSTM's cell state, GRU's hidden state.
    pub memory: V,
    /// The hidden state.
    pub hidden: V,
}

/// Derivatives of a loss.
pub struct Back<V> {
    /// By the sums before the activations.
    pub sums: [V; SLOTS],
    /// By the memory before the step, where it is more than the hidden state.
    pub memory: V,
    /// By the hidden state before the step, without what goes through the sums.
    pub hidden: V,
}
