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
pub static KINDS: &[Kind] = &[
    Kind::here::<synthesize::Synthesize>(),
    Kind::here::<import::Import>(),
    Kind::here::<filter::Filter>(),
    Kind::here::<resample::Resample>(),
    Kind::here::<correlate::Correlate>(),
    Kind::here::<split::SplitStage>(),
    Kind::here::<baseline::Baseline>(),
    Kind::in_worker::<pretrain::Pretrain>(),
    Kind::in_worker::<finetune::Finetune>(),
    Kind::in_worker::<evaluate::Evaluate>(),
    Kind::here::<command::Command>(),
];

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
