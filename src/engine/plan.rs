//! Decides what a run would do, without doing it. Unaware of slots and of processes.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::cache::{Cache, Found};
use crate::engine::reason::{self, Reason};
use crate::engine::records::{self, Prepared, Results};
use crate::executor::machine::Machine;
use crate::graph::{Graph, StageId};
use crate::index::Index;
use crate::stat_cache::StatCache;

/// What a run would do with a stage.
pub struct Planned {
    /// The stage.
    pub id: StageId,
    /// What would be done.
    pub state: PlanState,
    /// Why, for a stage that would run or may.
    pub reason: Option<Reason>,
    /// Its record and key, where its inputs are known.
    pub prepared: Option<Prepared>,
    /// Seconds that it took when it last ran.
    pub seconds: Option<f64>,
}

/// What a run would do with a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlanState {
    /// Its result is there.
    Reused,
    /// It would run.
    Run,
    /// It would run unless its inputs come out unchanged.
    Maybe,
}

/// What a run would do, stage by stage in order, and the results that it would reuse.
pub struct Plan {
    /// Every needed stage.
    pub stages: Vec<Planned>,
    /// Results that are there.
    pub results: Results,
}

/// Plans a run of the needed stages.
pub fn plan(graph: &Graph, needed: &[bool], forced: &[StageId], cache: &Cache, machine: &Machine) -> Result<Plan> {
    let mut stats = StatCache::load(&cache.store);
    let mut index = Index::load(&cache.store, &graph.name, &graph.path);
    let mut plan = Plan { stages: Vec::new(), results: Results::new() };
    // Stages that would run, by key: another of the same key finds the result there.
    let mut twins = BTreeMap::new();
    index.look_ahead(cache);
    for &id in graph.order.iter().filter(|id| needed[id.index()]) {
        let stage = &graph.stages[id].name;
        let upstream = graph.producers(id).find(|producer| !plan.results.contains_key(producer));
        let prepared = records::prepare(graph, id, &plan.results, &mut stats, machine)?;
        if let Some(upstream) = upstream {
            let reason = reason::explain_waiting(graph, id, upstream, &prepared, &mut index, cache);
            let seconds = index.seconds(stage);
            plan.stages.push(Planned { id, state: PlanState::Maybe, reason: Some(reason), prepared: None, seconds });
            continue;
        }
        let found = index.find(stage, &prepared.key, cache);
        let (state, reason) = match found {
            Found::Hit(hit) if !forced.contains(&id) => {
                plan.results.insert(id, hit);
                (PlanState::Reused, None)
            }
            Found::Hit(_) => (PlanState::Run, Some(Reason::Forced)),
            Found::Absent | Found::Damaged(_) if twins.contains_key(&prepared.key) && !forced.contains(&id) => {
                let twin: StageId = twins[&prepared.key];
                (PlanState::Reused, Some(Reason::Twin(graph.stages[twin].name.clone())))
            }
            Found::Absent | Found::Damaged(_) => {
                twins.insert(prepared.key, id);
                (PlanState::Run, Some(reason::explain(graph, id, &prepared, &mut index, cache)))
            }
        };
        let seconds = index.seconds(stage);
        plan.stages.push(Planned { id, state, reason, prepared: Some(prepared), seconds });
    }
    stats.save(&cache.store);
    index.save(None, &cache.store);
    Ok(plan)
}
