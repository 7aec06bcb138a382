//! Decides what a run would do, without doing it. Unaware of slots and of processes.

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use crate::cache::{Cache, Found};
use crate::engine::reason::{self, Reason};
use crate::engine::records::{self, Results};
use crate::executor::machine::Machine;
use crate::graph::{Graph, StageId};
use crate::journal;
use crate::key;
use crate::stat_cache::StatCache;

/// What a run would do with a stage.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The stage.
    pub id: StageId,
    /// What would be done.
    pub state: PlanState,
    /// Why, for a stage that would run or may.
    pub reason: Option<Reason>,
    /// Its record, where its inputs are known.
    pub record: Option<Value>,
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
    let mut plan = Plan { stages: Vec::new(), results: Results::new() };
    let mut earlier = None;
    for &id in graph.order.iter().filter(|id| needed[id.index()]) {
        let upstream = graph.producers(id).find(|producer| !plan.results.contains_key(producer));
        if let Some(upstream) = upstream {
            let reason = Some(Reason::Upstream(graph.stages[upstream].name.clone()));
            plan.stages.push(Planned { id, state: PlanState::Maybe, reason, record: None });
            continue;
        }
        let record = records::prepare(graph, id, &plan.results, &cache.store, &mut stats, machine)?.record;
        let found = cache.find(&key::digest(&record));
        let (state, reason) = match found {
            Found::Hit(result) if !forced.contains(&id) => {
                plan.results.insert(id, *result);
                (PlanState::Reused, None)
            }
            Found::Hit(_) => (PlanState::Run, Some(Reason::Forced)),
            Found::Absent | Found::Damaged(_) => {
                let earlier = earlier.get_or_insert_with(|| journal::newest_keys(&cache.store, &graph.name));
                let before = earlier.get(&graph.stages[id].name).copied();
                (PlanState::Run, Some(reason::explain(graph, id, &record, before, cache)))
            }
        };
        plan.stages.push(Planned { id, state, reason, record: Some(record) });
    }
    stats.save(&cache.store);
    Ok(plan)
}
