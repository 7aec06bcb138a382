//! Rounds of a search: the trials so far are run, what comes next is decided from their figures, and the decision is
//! written down. Unaware of how decisions are made.
//!
//! A decision holds while the trials that it rests on have the figures that it saw. Where data, code or the failure of
//! a trial changed them, the file is cut there and the round is decided again. Several runs may write the file: each
//! goes on from what its graph was made of, and looks again where the file is another by then.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::digest::Digest;
use crate::engine::plan::{Plan, PlanState};
use crate::graph::{Graph, StageId};
use crate::search::decisions::{self, Judgement, Round, Today};
use crate::search::{Observation, Point, Search};
use crate::store::Store;

/// Version of the file of decisions.
const VERSION: u32 = 1;

/// What a search has decided, round by round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Decisions {
    v: u32,
    /// The swept stage.
    stage: String,
    /// The rounds.
    rounds: Vec<Round>,
}

impl Decisions {
    fn points(&self) -> impl Iterator<Item = &Point> {
        self.rounds.iter().flat_map(|round| &round.next)
    }
}

/// The file of a search: decisions belong to a pipeline's place, to the stage, and to the sweep and what it stands on
/// as they are written.
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
    let points = |search: &Search| (search.stage.clone(), read(store, graph, search).points().cloned().collect());
    graph.searches.iter().map(points).collect()
}

/// The searches that targets ask for, by the names of their stages: those of which all trials are needed before anything
/// is decided. Some of the trials cannot decide for all. The graph is that without decisions, for who reads a search
/// by halving reads its highest rung alone.
pub fn wanted(undecided: &Graph, targets: &[String]) -> BTreeSet<String> {
    let ids: Vec<_> = targets.iter().flat_map(|target| undecided.named(target)).collect();
    if ids.is_empty() && !targets.is_empty() {
        return BTreeSet::new();
    }
    let needed = undecided.needed(&ids);
    let is_whole = |search: &&Search| undecided.named(&search.stage).iter().all(|id| needed[id.index()]);
    undecided.searches.iter().filter(is_whole).map(|search| search.stage.clone()).collect()
}

/// The trials of searches by the names of their stages.
pub fn trials(graph: &Graph, wanted: &BTreeSet<String>) -> Vec<StageId> {
    graph.searches.iter().filter(|it| wanted.contains(&it.stage)).flat_map(|it| graph.named(&it.stage)).collect()
}

/// How far the searches are that are wanted.
pub enum Advance {
    /// These trials come first, and have not all ended yet.
    Waits(Vec<StageId>),
    /// New trials were decided on, or old ones are none any more; what was decided, in words.
    Decided(Vec<String>),
    /// Nothing comes after these trials.
    Over,
    /// Nothing can be decided.
    Blind(Blind),
}

/// A search whose trials ended well, and none of which has its figure.
pub struct Blind {
    /// The swept stage.
    pub stage: String,
    /// The figure that the search decides by.
    pub metric: String,
    /// Where that is written in the pipeline file, if it is written there.
    pub place: Option<Range<usize>>,
    /// The figures that its trials have.
    pub figures: Vec<String>,
}

/// A search with the trials of today and how far its decisions hold.
struct Judged<'a> {
    search: &'a Search,
    decisions: Decisions,
    trials: Trials,
    judgement: Judgement,
}

impl<'a> Judged<'a> {
    fn new(graph: &Graph, plan: &Plan, search: &'a Search, cache: &Cache) -> Self {
        let decisions = read(&cache.store, graph, search);
        let trials = Trials::of(graph, plan, search, cache);
        let judgement = decisions::judge(&decisions.rounds, &trials.today);
        Self { search, decisions, trials, judgement }
    }

    fn blind(&self) -> Option<Blind> {
        let Trials { today, figures, .. } = &self.trials;
        let figures = figures.as_ref().filter(|_| today.iter().all(|it| it.observation.figure.is_none()))?;
        let Search { stage, metric, place, .. } = self.search;
        let figures = figures.iter().cloned().collect();
        Some(Blind { stage: stage.clone(), metric: metric.clone(), place: place.clone(), figures })
    }
}

/// Decides what comes next, from the results that are there, and writes it down.
pub fn advance(graph: &Graph, plan: &Plan, wanted: &BTreeSet<String>, cache: &Cache) -> Result<Advance> {
    let searches = graph.searches.iter().filter(|search| wanted.contains(&search.stage));
    let judged: Vec<_> = searches.map(|search| Judged::new(graph, plan, search, cache)).collect();
    // Another run decided meanwhile.
    if judged.iter().any(|it| !it.decisions.points().eq(&it.search.points)) {
        return Ok(Advance::Decided(Vec::new()));
    }
    let awaited = |it: &Judged<'_>| match &it.judgement {
        Judgement::Waits { trials, .. } => trials.iter().flat_map(|at| it.trials.ids[*at].clone()).collect(),
        Judgement::Open { .. } | Judgement::Stands => Vec::new(),
    };
    let waits: Vec<StageId> = judged.iter().flat_map(awaited).collect();
    if !waits.is_empty() {
        return Ok(Advance::Waits(waits));
    }
    if let Some(blind) = judged.iter().find_map(Judged::blind) {
        return Ok(Advance::Blind(blind));
    }
    let mut told = Vec::new();
    for Judged { search, decisions, judgement, .. } in judged {
        if let Judgement::Open { round, seen } = judgement {
            told.extend(decide(graph, search, decisions, (round, seen), cache)?);
        }
    }
    Ok(if told.is_empty() { Advance::Over } else { Advance::Decided(told) })
}

/// Decides a round and forgets those after it; in words, unless there was nothing to decide or to forget.
fn decide(
    graph: &Graph,
    search: &Search,
    mut decisions: Decisions,
    (round, seen): (usize, Vec<Observation>),
    cache: &Cache,
) -> Result<Option<String>> {
    let next = search.next(&seen);
    let is_cut = round < decisions.rounds.len();
    if next.is_empty() && !is_cut {
        return Ok(None);
    }
    let (stage, number) = (&search.stage, round + 1);
    let again = if is_cut { ", decided anew, as figures are no more those that it rests on" } else { "" };
    let told = match next.len() {
        0 => format!("search of `{stage}`, round {number}{again}: nothing comes after {} trials", seen.len()),
        some => {
            format!("search of `{stage}`, round {number}{again}: {some} of {} trials go on or are added", seen.len())
        }
    };
    decisions.v = VERSION;
    decisions.stage.clone_from(stage);
    decisions.rounds.truncate(round);
    decisions.rounds.extend((!next.is_empty()).then_some(Round { seen, next }));
    cache.store.write_json(&path(&cache.store, graph, search), &decisions)?;
    Ok(Some(told))
}

/// What cannot be relied on of what searches have decided, in words: the figures that it rests on are others by now, or
/// are not known.
pub fn doubts(graph: &Graph, plan: &Plan, cache: &Cache) -> Vec<String> {
    let planned: BTreeSet<StageId> = plan.stages.iter().map(|planned| planned.id).collect();
    let doubt = |search: &Search| {
        // Some of the trials tell nothing of the search.
        if !graph.named(&search.stage).iter().all(|id| planned.contains(id)) {
            return None;
        }
        let Judged { decisions, judgement, .. } = Judged::new(graph, plan, search, cache);
        let (round, why) = match judgement {
            Judgement::Waits { round, .. } => (round, "may be decided anew, as trials before it have to run again"),
            Judgement::Open { round, .. } => (round, "is decided anew, as trials before it have other figures by now"),
            Judgement::Stands => return None,
        };
        let told = || format!("search of `{}`: its round {} {why}", search.stage, round + 1);
        (round < decisions.rounds.len()).then(told)
    };
    graph.searches.iter().filter_map(doubt).collect()
}

/// The trials of a search, those that differ in what it does not decide as one.
struct Trials {
    /// How they stand, with the mean of their figures.
    today: Vec<Today>,
    /// The stages of each.
    ids: Vec<Vec<StageId>>,
    /// The figures that those have that ended well; none where there is no such trial.
    figures: Option<BTreeSet<String>>,
}

impl Trials {
    fn of(graph: &Graph, plan: &Plan, search: &Search, cache: &Cache) -> Self {
        let members: BTreeSet<_> = graph.named(&search.stage).into_iter().collect();
        let mut all = Self { today: Vec::new(), ids: Vec::new(), figures: None };
        let mut found: Vec<Vec<f64>> = Vec::new();
        for planned in plan.stages.iter().filter(|planned| members.contains(&planned.id)) {
            let Some(point) = point(graph, planned.id, search) else { continue };
            let hit = plan.results.get(&planned.id).filter(|_| planned.state == PlanState::Reused);
            let metrics = hit.and_then(|hit| cache.result(&hit.key).ok()).map(|result| result.metrics);
            let figure = metrics.as_ref().and_then(|metrics| metrics.get(&search.metric)?.as_f64());
            let ended = metrics.is_some() || planned.state == PlanState::Failed;
            if let Some(metrics) = metrics {
                let numbers = metrics.into_iter().filter(|(_, value)| value.is_number());
                all.figures.get_or_insert_default().extend(numbers.map(|(name, _)| name));
            }
            let at = all.today.iter().position(|it| it.observation.point == point).unwrap_or_else(|| {
                all.today.push(Today { observation: Observation { point, figure: None }, ended: true });
                all.ids.push(Vec::new());
                found.push(Vec::new());
                all.today.len() - 1
            });
            all.today[at].ended &= ended;
            all.ids[at].push(planned.id);
            found[at].extend(figure.filter(|figure| figure.is_finite()));
        }
        let mean =
            |figures: Vec<f64>| (!figures.is_empty()).then(|| figures.iter().sum::<f64>() / figures.len() as f64);
        all.today.iter_mut().zip(found).for_each(|(it, figures)| it.observation.figure = mean(figures));
        all
    }
}

/// The values of a trial, in the order of the search's keys.
fn point(graph: &Graph, id: StageId, search: &Search) -> Option<Point> {
    let coordinates = &graph.stages[id].trial.as_ref()?.coordinates;
    let value = |key: &String| {
        let own = key.strip_prefix(&format!("{}.", search.stage)).unwrap_or(key);
        coordinates.iter().find(|(known, _)| known == own).map(|(_, value)| value.clone())
    };
    search.keys.iter().map(value).collect()
}
