//! Rounds of a search: the trials so far are run, what comes next is decided from their figures, and the decision is
//! written down. Unaware of how decisions are made.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::digest::Digest;
use crate::engine::plan::{Plan, PlanState};
use crate::graph::{Graph, StageId};
use crate::search::{Observation, Point, Search};
use crate::store::Store;

/// Version of the file of decisions.
const VERSION: u32 = 1;

/// What a search has decided, round by round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Decisions {
    v: u32,
    /// The swept stage.
    stage: String,
    /// The rounds.
    rounds: Vec<Round>,
}

/// One decision and what it rests on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Round {
    /// The trials that had ended.
    seen: Vec<Observation>,
    /// The trials that come next.
    next: Vec<Point>,
}

/// The file of a search: decisions belong to a pipeline's place, to the stage and to the sweep as it is written.
fn path(store: &Store, graph: &Graph, search: &Search) -> std::path::PathBuf {
    let place = std::path::absolute(&graph.path).unwrap_or_else(|_| graph.path.clone());
    let text = format!("{}\n{}\n{}", place.display(), search.stage, search.written);
    store.path("searches").join(format!("{}.json", &Digest::of(text.as_bytes()).hex()[..16]))
}

fn read(store: &Store, graph: &Graph, search: &Search) -> Decisions {
    let text = std::fs::read(path(store, graph, search)).ok();
    let known = text.and_then(|text| serde_json::from_slice::<Decisions>(&text).ok());
    known.filter(|known| known.v == VERSION).unwrap_or_default()
}

/// What searches have decided so far, by the name of the swept stage.
pub fn points(store: &Store, graph: &Graph) -> BTreeMap<String, Vec<Point>> {
    let points = |search: &Search| {
        let rounds = read(store, graph, search).rounds.into_iter();
        (search.stage.clone(), rounds.flat_map(|round| round.next).collect())
    };
    graph.searches.iter().map(points).collect()
}

/// The trials of searches that are needed.
pub fn trials(graph: &Graph, needed: &[bool]) -> Vec<StageId> {
    let of = |search: &Search| graph.named(&search.stage);
    graph.searches.iter().flat_map(of).filter(|id| needed[id.index()]).collect()
}

/// How far the searches are that are needed.
pub enum Advance {
    /// Trials of these stages have not ended yet.
    Waits,
    /// New trials were decided on; what was decided, in words.
    Decided(Vec<String>),
    /// Nothing comes after these trials.
    Over,
}

/// Decides what comes next, from the results that are there, and writes it down.
pub fn advance(graph: &Graph, plan: &Plan, needed: &[bool], cache: &Cache) -> Result<Advance> {
    let mut told = Vec::new();
    for search in &graph.searches {
        let trials: Vec<_> = graph.named(&search.stage).into_iter().filter(|id| needed[id.index()]).collect();
        if trials.is_empty() {
            continue;
        }
        let Some(seen) = observations(graph, plan, search, &trials, cache) else { return Ok(Advance::Waits) };
        let next = search.next(&seen);
        if next.is_empty() {
            continue;
        }
        let mut decisions = read(&cache.store, graph, search);
        decisions.v = VERSION;
        decisions.stage.clone_from(&search.stage);
        told.push(format!(
            "search of `{}`, round {}: {} of {} trials go on or are added",
            search.stage,
            decisions.rounds.len() + 1,
            next.len(),
            seen.len()
        ));
        decisions.rounds.push(Round { seen, next });
        cache.store.write_json(&path(&cache.store, graph, search), &decisions)?;
    }
    Ok(if told.is_empty() { Advance::Over } else { Advance::Decided(told) })
}

/// The figures of all trials of a search, those that differ in what it does not decide as their mean; none where a
/// trial has not ended.
fn observations(
    graph: &Graph,
    plan: &Plan,
    search: &Search,
    trials: &[StageId],
    cache: &Cache,
) -> Option<Vec<Observation>> {
    let mut seen: Vec<(Point, Vec<Option<f64>>)> = Vec::new();
    for planned in plan.stages.iter().filter(|planned| trials.contains(&planned.id)) {
        let coordinates = &graph.stages[planned.id].trial.as_ref()?.coordinates;
        let value = |key: &String| {
            let own = key.strip_prefix(&format!("{}.", search.stage)).unwrap_or(key);
            coordinates.iter().find(|(known, _)| known == own).map(|(_, value)| value.clone())
        };
        let point: Point = search.keys.iter().map(value).collect::<Option<_>>()?;
        let figure = match (planned.state, plan.results.get(&planned.id)) {
            (PlanState::Reused, Some(hit)) => {
                let result = cache.result(&hit.key).ok()?;
                result.metrics.get(&search.metric).and_then(serde_json::Value::as_f64).filter(|it| it.is_finite())
            }
            (PlanState::Failed, _) => None,
            _ => return None,
        };
        match seen.iter_mut().find(|(known, _)| *known == point) {
            Some((_, figures)) => figures.push(figure),
            None => seen.push((point, vec![figure])),
        }
    }
    let mean = |figures: Vec<Option<f64>>| {
        let there: Vec<f64> = figures.into_iter().flatten().collect();
        (!there.is_empty()).then(|| there.iter().sum::<f64>() / there.len() as f64)
    };
    Some(seen.into_iter().map(|(point, figures)| Observation { point, figure: mean(figures) }).collect())
}
