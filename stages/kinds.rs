//! The table of kinds. Unaware of the engine and of LibTorch.

pub mod baseline;
pub mod command;
pub mod correlate;
pub mod evaluate;
pub mod filter;
pub mod finetune;
pub mod import;
pub mod pretrain;
pub mod resample;
pub mod split;
pub mod synthesize;

use crate::kind::Kind;

/// Every kind, in the order of a pipeline.
pub static KINDS: &[Kind] = &[];

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
