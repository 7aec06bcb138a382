//! The readers of formats.

pub mod fitrec;
