//! How trainings went, and what sweeps found. Unaware of HTML.

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::table::{Table, Values};

use crate::report::figures::curves::{Curves, curves as drawn};
use crate::report::figures::sweep::{self, Trial};
use crate::report::gather::{StageRun, State};
use crate::report::sections::course::Failures;
use crate::report::sections::{Stored, counted, figure, stages};
use crate::report::{Block, Mark};

/// Configurations in one figure of curves.
const TOGETHER: usize = 6;

/// The figures for each split, so many configurations in each, the best first.
const FIGURES: usize = 2;

/// Training curves, seeds of one configuration together. Errors on different validation parts are no comparison, so that
/// each split has figures of its own.
pub fn curves(stored: &Stored<'_>) -> Vec<Block> {
    let mut splits: Vec<(String, Vec<Curves>)> = Vec::new();
    let mut seen = BTreeSet::new();
    for (run, stage) in stages(stored) {
        let Some(line) = stage.table("history", stored.cache).and_then(|table| line(&table)) else { continue };
        let Some(result) = stage.result.as_ref().filter(|result| seen.insert(result.key)) else { continue };
        let split = result.record["inputs"]["split"].as_str().unwrap_or_default();
        let place = splits.iter().position(|(own, _)| own == split).unwrap_or_else(|| {
            splits.push((split.to_owned(), Vec::new()));
            splits.len() - 1
        });
        let (all, name) = (&mut splits[place].1, format!("{run}{}", stage.configuration()));
        match all.iter_mut().find(|curves| curves.name == name) {
            Some(curves) => curves.trainings.push(line),
            None => all.push(Curves { name, trainings: vec![line] }),
        }
    }
    let several = splits.len() > 1;
    let mut blocks = Vec::new();
    for (split, mut all) in splits {
        let least =
            |curves: &Curves| curves.trainings.iter().flatten().map(|point| point[1]).fold(f64::INFINITY, f64::min);
        all.sort_by(|a, b| least(a).total_cmp(&least(b)).then_with(|| a.name.cmp(&b.name)));
        let title = match named(stored, &split) {
            Some(name) if several => format!("Training under {name}"),
            _ => "Training".to_owned(),
        };
        blocks.extend(all.chunks(TOGETHER).take(FIGURES).flat_map(|some| figure(drawn(&title, some))));
        if all.len() > TOGETHER * FIGURES {
            let more = counted(all.len() - TOGETHER * FIGURES, "configuration");
            blocks.push(Block::words(format!("{more} whose least error is larger have no curve here.")));
        }
    }
    blocks
}

/// The stage that made a split.
fn named<'a>(stored: &'a Stored<'_>, split: &str) -> Option<&'a str> {
    let makes = |stage: &&StageRun| {
        let artifacts = stage.result.iter().flat_map(|result| &result.artifacts);
        artifacts.map(|artifact| artifact.digest.hex()).any(|digest| digest == split)
    };
    Some(&stored.runs.iter().flat_map(|run| &run.stages).find(makes)?.name)
}

fn line(history: &Table) -> Option<Vec<[f64; 2]>> {
    let (Values::Int(epochs), Values::Float(errors)) =
        (history.column("epoch").ok()?, history.column("validation_mae_bpm").ok()?)
    else {
        return None;
    };
    Some(epochs.iter().zip(errors).filter_map(|(epoch, error)| Some([(*epoch)? as f64, (*error)?])).collect())
}

/// The sweeps of trainings: each group of trials that has errors on the validation part, and those that failed.
pub fn sweeps(stored: &Stored<'_>) -> Vec<Block> {
    let mut groups: BTreeMap<String, Vec<Trial>> = BTreeMap::new();
    let mut failed: BTreeMap<String, Failures> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (run, stage) in stages(stored) {
        let Some(trial) = &stage.trial else { continue };
        let group = format!("{run}{}", trial.group);
        if let State::Failed { class, message } = &stage.state {
            failed.entry(group.clone()).or_default().take(&stage.name, class, message);
        }
        let Some(result) = stage.result.as_ref().filter(|result| seen.insert(result.key)) else { continue };
        let Some(mae) = result.metrics.get("validation_mae").and_then(serde_json::Value::as_f64) else { continue };
        let coordinates = trial.coordinates.clone();
        groups.entry(group).or_default().push(Trial { coordinates, mae, seconds: result.seconds });
    }
    let mut blocks: Vec<Block> =
        groups.iter().flat_map(|(group, trials)| sweep::sweep(group, trials)).map(Block::Figure).collect();
    for (group, failures) in failed {
        let words = format!("{} of {group} failed, and in no figure:", counted(failures.count, "trial"));
        blocks.push(Block::check(Mark::Bad, words));
        blocks.push(Block::Table(failures.table("trials")));
    }
    blocks
}
