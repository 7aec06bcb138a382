//! How trainings went, and what sweeps found. Unaware of HTML.

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::table::{Table, Values};

use crate::graph;
use crate::report::Block;
use crate::report::figures::curves::{Curves, curves as drawn};
use crate::report::figures::sweep::{self, Trial};
use crate::report::gather::StageRun;
use crate::report::sections::{Stored, figure};

/// Configurations in one figure of curves.
const TOGETHER: usize = 6;

/// The figures, so many configurations in each, the best first.
const FIGURES: usize = 2;

/// Training curves, seeds of one configuration together.
pub fn curves(stored: &Stored<'_>) -> Vec<Block> {
    let mut all: Vec<Curves> = Vec::new();
    let mut seen = BTreeSet::new();
    for stage in stored.runs.iter().flat_map(|run| &run.stages) {
        let Some(line) = stage.table("history", stored.cache).and_then(|table| line(&table)) else { continue };
        if !stage.result.as_ref().is_some_and(|result| seen.insert(result.key)) {
            continue;
        }
        let name = configuration(stage);
        match all.iter_mut().find(|curves| curves.name == name) {
            Some(curves) => curves.trainings.push(line),
            None => all.push(Curves { name, trainings: vec![line] }),
        }
    }
    let least = |curves: &Curves| curves.trainings.iter().flatten().map(|point| point[1]).fold(f64::INFINITY, f64::min);
    all.sort_by(|a, b| least(a).total_cmp(&least(b)).then_with(|| a.name.cmp(&b.name)));
    all.chunks(TOGETHER).take(FIGURES).flat_map(|some| figure(drawn(some))).collect()
}

fn line(history: &Table) -> Option<Vec<[f64; 2]>> {
    let (Values::Int(epochs), Values::Float(errors)) =
        (history.column("epoch").ok()?, history.column("validation_mae_bpm").ok()?)
    else {
        return None;
    };
    Some(epochs.iter().zip(errors).filter_map(|(epoch, error)| Some([(*epoch)? as f64, (*error)?])).collect())
}

/// The name of a stage without its seed.
fn configuration(stage: &StageRun) -> String {
    let Some(trial) = &stage.trial else { return stage.name.clone() };
    let kept = trial.coordinates.iter().filter(|(name, _)| !graph::Trial::is_seed(name));
    let kept: Vec<String> = kept.map(|(name, value)| format!("{name}={value}")).collect();
    if kept.is_empty() { trial.group.clone() } else { format!("{}[{}]", trial.group, kept.join(",")) }
}

/// The sweeps of trainings: each group of trials that has errors on the validation part.
pub fn sweeps(stored: &Stored<'_>) -> Vec<Block> {
    let mut groups: BTreeMap<&str, Vec<Trial>> = BTreeMap::new();
    for stage in stored.runs.iter().flat_map(|run| &run.stages) {
        let (Some(trial), Some(result)) = (&stage.trial, &stage.result) else { continue };
        let Some(mae) = result.metrics.get("validation_mae").and_then(serde_json::Value::as_f64) else { continue };
        let coordinates = trial.coordinates.clone();
        groups.entry(&trial.group).or_default().push(Trial { coordinates, mae, seconds: result.seconds });
    }
    groups.iter().flat_map(|(group, trials)| sweep::sweep(group, trials)).map(Block::Figure).collect()
}
