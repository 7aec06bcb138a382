//! The table of kinds. Unaware of the engine and of LibTorch.

pub mod baseline;
pub mod choose;
pub mod command;
pub mod correlate;
pub mod density;
pub mod evaluate;
pub mod filter;
pub mod finetune;
pub mod forecast;
pub mod import;
pub mod inspect;
pub mod pretrain;
pub mod quality;
pub mod resample;
pub mod split;
pub mod synthesize;
pub mod trivial;

use crate::kind::Kind;

/// Every kind, in the order of a pipeline.
pub static KINDS: &[Kind] = &[
    Kind::here::<synthesize::Synthesize>(),
    Kind::here::<import::Import>(),
    Kind::here::<filter::Filter>(),
    Kind::here::<inspect::Inspect>(),
    Kind::here::<resample::Resample>(),
    Kind::here::<quality::QualityStage>(),
    Kind::here::<density::Density>(),
    Kind::here::<correlate::Correlate>(),
    Kind::here::<split::SplitStage>(),
    Kind::here::<baseline::Baseline>(),
    Kind::in_worker::<pretrain::Pretrain>(),
    Kind::in_worker::<finetune::Finetune>(),
    Kind::in_worker::<evaluate::Evaluate>(),
    Kind::in_worker::<forecast::Forecast>(),
    Kind::here::<choose::Choose>(),
    Kind::here::<command::Command>(),
    Kind::here::<trivial::Trivial>(),
];

/// The kinds that people are told of.
pub fn shown() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| !kind.hidden)
}

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint;

    #[test]
    fn every_kind_has_a_fingerprint_of_its_own_code() {
        // The build script finds a kind's code by its name, so file and name must agree.
        for kind in KINDS {
            assert!(fingerprint::of(kind.name).is_some(), "`{}` is not in kinds/{}.rs", kind.name, kind.name);
            let own = format!("stages::kinds::{}", kind.name);
            assert!(fingerprint::parts(kind.name).iter().any(|(part, _)| *part == own), "{own}");
        }
    }

    #[test]
    fn training_rests_on_the_loop_and_on_the_library() {
        let parts: Vec<_> = fingerprint::parts("pretrain").iter().map(|(part, _)| *part).collect();
        assert!(parts.contains(&"torch::training") && parts.contains(&"library tch"), "{parts:?}");
    }
}
