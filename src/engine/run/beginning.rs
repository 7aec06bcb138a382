//! How a run begins: what is told first, and how its stages stand. Unaware of how it goes on.

use std::collections::BTreeMap;

use crate::engine::run::State;
use crate::event::Event;
use crate::graph::{Graph, Stage, StageId};

/// The event that begins a run; with the trials, so that a report can be made from the journal alone.
pub(super) fn started(graph: &Graph, needed: &[bool], run: String) -> Event {
    let stages = || graph.order.iter().filter(|id| needed[id.index()]).map(|&id| &graph.stages[id]);
    let trial = |stage: &Stage| Some((stage.name.clone(), stage.trial.clone()?));
    let trials: BTreeMap<_, _> = stages().filter_map(trial).collect();
    let names = stages().map(|stage| stage.name.clone()).collect();
    Event::Started { run, pipeline: graph.name.clone(), stages: names, trials }
}

pub(super) fn initial_states(graph: &Graph, needed: &[bool]) -> Vec<State> {
    let state = |id: StageId| match needed[id.index()] {
        true => State::Waiting(graph.producers(id).count()),
        false => State::Unneeded,
    };
    graph.stages.node_indices().map(state).collect()
}

/// For each stage, the number of stages on the longest path that begins with it.
pub(super) fn remaining_paths(graph: &Graph) -> Vec<usize> {
    let mut paths = vec![1; graph.stages.node_count()];
    for &id in graph.order.iter().rev() {
        let below = graph.consumers(id).map(|consumer| paths[consumer.index()]).max().unwrap_or(0);
        paths[id.index()] = below + 1;
    }
    paths
}
