//! Looks ahead: what a change would make run again, and how long that took last time. Unaware of keys.

use crate::engine::plan::{Plan, PlanState};
use crate::graph::{Graph, Stage, StageId};
use crate::index::Index;

/// Stages, and the time that they took when they last ran.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outlook {
    /// The stages, producers first.
    pub stages: Vec<StageId>,
    /// Seconds of those whose time is known.
    pub seconds: f64,
    /// How many never ran here.
    pub unknown: usize,
}

impl Outlook {
    fn add(&mut self, id: StageId, seconds: Option<f64>) {
        self.stages.push(id);
        self.seconds += seconds.unwrap_or(0.0);
        self.unknown += usize::from(seconds.is_none());
    }
}

/// What a change of some stages would make run again, unless it comes out unchanged on the way.
pub fn after_change(graph: &Graph, changed: &[StageId], index: &Index) -> Outlook {
    let mut reached = vec![false; graph.stages.node_count()];
    changed.iter().for_each(|id| reached[id.index()] = true);
    let mut outlook = Outlook::default();
    for &id in &graph.order {
        if reached[id.index()] || graph.producers(id).any(|producer| reached[producer.index()]) {
            reached[id.index()] = true;
            outlook.add(id, index.seconds(&graph.stages[id].name));
        }
    }
    outlook
}

/// What a plan would run, at most.
pub fn of_plan(plan: &Plan) -> Outlook {
    let mut outlook = Outlook::default();
    for planned in plan.stages.iter().filter(|planned| !matches!(planned.state, PlanState::Reused | PlanState::Failed))
    {
        outlook.add(planned.id, planned.seconds);
    }
    outlook
}

/// The stages that a name stands for: a stage, a parameter of a stage (`resample.grid`), or one of the pipeline's own
/// parameters; all of them where it stands for several.
pub fn named(graph: &Graph, name: &str) -> Vec<StageId> {
    let parameter = |stage: &Stage| {
        let parameter = name.strip_prefix(stage.written_name()).and_then(|rest| rest.strip_prefix('.'));
        let first = parameter.and_then(|parameter| parameter.split('.').next());
        first.is_some_and(|first| stage.params.get(first).is_some())
    };
    let is_meant = |id: &StageId| {
        let stage = &graph.stages[*id];
        stage.name == name
            || stage.written_name() == name
            || parameter(stage)
            || stage.uses.iter().any(|used| used == name)
    };
    graph.order.iter().copied().filter(is_meant).collect()
}
