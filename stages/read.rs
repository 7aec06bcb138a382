//! The readers of formats. Unaware of kinds and of stages.

pub mod dict;
pub mod fitrec;
pub mod lines;
pub mod number;
pub mod record;
