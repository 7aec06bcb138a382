//! The checks of the fuzz targets on their corpus, so that they build and hold with every change. Fuzzing itself, with
//! inputs that nobody wrote, is described in `fuzz/README.md`.

#[path = "../../fuzz/checks/apple.rs"]
mod apple;
#[path = "../../fuzz/checks/csv.rs"]
mod csv;
#[path = "../../fuzz/checks/fit.rs"]
mod fit;
#[path = "../../fuzz/checks/fitrec.rs"]
mod fitrec;
#[path = "../../fuzz/checks/gpx.rs"]
mod gpx;
#[path = "../../fuzz/checks/key.rs"]
mod key;
#[path = "../../fuzz/checks/kinds.rs"]
mod kinds;
#[path = "../../fuzz/checks/pipeline.rs"]
mod pipeline;
#[path = "../../fuzz/checks/results.rs"]
mod results;
#[path = "../../fuzz/checks/tcx.rs"]
mod tcx;
#[path = "../../fuzz/checks/workouts.rs"]
mod workouts;

use std::fs;
use std::path::Path;

/// Gives every input of a target's corpus to its check, and every half of one.
fn hold(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty());
    for input in inputs {
        check(&input);
        check(&input[..input.len() / 2]);
    }
}

#[test]
fn the_checks_of_the_fuzz_targets_hold_on_their_corpus() {
    hold("apple", apple::check);
    hold("csv", csv::check);
    hold("fit", fit::check);
    hold("fitrec", fitrec::check);
    hold("gpx", gpx::check);
    hold("key", key::check);
    hold("kinds", kinds::check);
    hold("pipeline", pipeline::check);
    hold("results", results::check);
    hold("tcx", tcx::check);
}
