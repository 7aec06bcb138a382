//! What is told first of a run. Unaware of how it goes on.

use std::collections::BTreeMap;

use crate::event::Event;
use crate::graph::{Graph, Stage};

/// The event that begins a run; with the trials, so that a report can be made from the journal alone.
pub(super) fn started(graph: &Graph, needed: &[bool], run: String) -> Event {
    let stages = || graph.order.iter().filter(|id| needed[id.index()]).map(|&id| &graph.stages[id]);
    let trial = |stage: &Stage| Some((stage.name.clone(), stage.trial.clone()?));
    let trials: BTreeMap<_, _> = stages().filter_map(trial).collect();
    let names = stages().map(|stage| stage.name.clone()).collect();
    Event::Started { run, pipeline: graph.name.clone(), stages: names, trials }
}
