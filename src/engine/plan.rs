//! Decides what a run would do, without doing it. Unaware of slots and of processes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::Serialize;

use crate::cache::{Cache, Found};
use crate::engine::reason::{self, Reason};
use crate::engine::records::{self, Known, Prepared, Results};
use crate::engine::run::trials;
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
    /// It would not run: it failed before, or what it reads from did.
    Failed,
}

/// What a run would do, stage by stage in order, and the results that it would reuse.
pub struct Plan {
    /// Every needed stage.
    pub stages: Vec<Planned>,
    /// Results that are there.
    pub results: Results,
}

/// What a run is asked for beside its stages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// Stages to run even if their results are there.
    pub forced: &'a [StageId],
    /// Whether trials that failed before are tried again.
    pub retry_failed: bool,
}

/// Plans a run of the needed stages. The remote is asked for all that is not here at once, and for what builds on that
/// in turn.
pub fn plan(graph: &Graph, needed: &[bool], wishes: Wishes<'_>, cache: &Cache, machine: &Machine) -> Result<Plan> {
    loop {
        let plan = plan_from_here(graph, needed, wishes, cache, machine)?;
        let misses = plan.stages.iter().filter(|it| it.state == PlanState::Run && !wishes.forced.contains(&it.id));
        let keys = misses.filter_map(|planned| Some(planned.prepared.as_ref()?.key));
        let keys: Vec<_> = keys.filter(|key| cache.could_ask(key)).collect();
        if cache.ask(&keys) == 0 {
            return Ok(plan);
        }
    }
}

fn plan_from_here(
    graph: &Graph,
    needed: &[bool],
    wishes: Wishes<'_>,
    cache: &Cache,
    machine: &Machine,
) -> Result<Plan> {
    let forced = wishes.forced;
    let mut stats = StatCache::load(&cache.store);
    let mut index = Index::load(&cache.store, &graph.name, &graph.path);
    let mut plan = Plan { stages: Vec::new(), results: Results::new() };
    // Stages that would run, by key: another of the same key finds the result there.
    let mut twins = BTreeMap::new();
    let mut gone = BTreeSet::new();
    index.look_ahead(cache);
    for &id in graph.order.iter().filter(|id| needed[id.index()]) {
        let stage = &graph.stages[id].name;
        if let Some(lost) = lost(graph, id, &gone) {
            gone.insert(id);
            let reason = Some(Reason::Lost(graph.stages[lost].name.clone()));
            plan.stages.push(Planned { id, state: PlanState::Failed, reason, prepared: None, seconds: None });
            continue;
        }
        let is_open = |producer: &StageId| !plan.results.contains_key(producer) && !gone.contains(producer);
        let upstream = graph.producers(id).find(is_open);
        let known = Known { results: &plan.results, gone: &gone };
        let prepared = records::prepare(graph, id, &known, &mut stats, machine)?;
        if let Some(upstream) = upstream {
            let reason = reason::explain_waiting(graph, id, upstream, &prepared, &mut index, cache);
            let seconds = index.seconds(stage);
            plan.stages.push(Planned { id, state: PlanState::Maybe, reason: Some(reason), prepared: None, seconds });
            continue;
        }
        let found = index.find(stage, &prepared.key, cache);
        let (state, reason) = match found {
            Found::Hit(hit) if !forced.contains(&id) => {
                let reason = hit.afar.then_some(Reason::Afar);
                plan.results.insert(id, hit);
                (PlanState::Reused, reason)
            }
            Found::Hit(_) => (PlanState::Run, Some(Reason::Forced)),
            Found::Absent | Found::Damaged(_) if twins.contains_key(&prepared.key) && !forced.contains(&id) => {
                let twin: StageId = twins[&prepared.key];
                (PlanState::Reused, Some(Reason::Twin(graph.stages[twin].name.clone())))
            }
            Found::Absent | Found::Damaged(_) if known_failure(graph, id, &prepared, wishes, cache).is_some() => {
                gone.insert(id);
                (PlanState::Failed, known_failure(graph, id, &prepared, wishes, cache))
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

/// A stage without which another cannot run, among those that are gone.
fn lost(graph: &Graph, id: StageId, gone: &BTreeSet<StageId>) -> Option<StageId> {
    if gone.is_empty() {
        return None;
    }
    let stage = &graph.stages[id];
    let needed = graph.producers(id).find(|producer| gone.contains(producer) && !stage.spares(*producer));
    needed.or_else(|| {
        let gathered = trials::gathered(graph, id, gone);
        gathered.into_iter().find(|entry| entry.there.is_empty()).map(|entry| entry.away[0])
    })
}

/// Why a trial is not tried again.
fn known_failure(graph: &Graph, id: StageId, prepared: &Prepared, wishes: Wishes<'_>, cache: &Cache) -> Option<Reason> {
    let asked = graph.stages[id].trial.is_some() && !wishes.forced.contains(&id) && !wishes.retry_failed;
    let known = if asked { cache.failure(&prepared.key) } else { None };
    known.map(|known| Reason::FailedBefore { class: known.class, message: known.message })
}
