//! Gathers what stored results say of the trials of a sweep. Unaware of how it is printed.
//!
//! Figures of the test part have no say unless their stage is named: a sweep is there to choose, and what the test has
//! chosen has no test any more.

mod rests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pacer_stages::artifact::ArtifactType;
use pacer_stages::ranking::{self, Better, Configuration, Tried};
use pacer_stages::stage::Metrics;
use serde_json::Value;

use crate::cli::project::Project;
pub use crate::cli::sweep::figures::rests::Rests;
use crate::engine::plan::{Plan, PlanState, Planned};
use crate::engine::reason::Reason;
use crate::graph::{Source, StageId, Trial};
use crate::leakage::lineage::{inputs, producer};

/// Figures to rank by where none is named, the first that trials have.
const USUAL: [&str; 4] = ["validation_mae", "mae", "loss", "figure"];

/// Which figure is wanted.
pub struct Wish<'a> {
    /// Its name.
    pub metric: Option<&'a str>,
    /// The stage to take it from.
    pub from: Option<&'a str>,
}

/// How a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has a result.
    Done,
    /// It failed, or what it reads from did.
    Failed,
    /// It has not run yet.
    Missing,
}

impl Standing {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }
}

/// A trial and what its result says.
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its values.
    pub coordinates: Vec<(String, Value)>,
    /// How it stands.
    pub standing: Standing,
    /// The sort of failure, or nothing.
    pub class: String,
    /// What it failed with, or nothing.
    pub message: String,
    /// The figure to rank by.
    pub figure: Option<f64>,
    /// What that figure rests on.
    pub rests: Rests,
    /// Epochs that it trained.
    pub epochs: Option<f64>,
    /// Seconds that it took.
    pub seconds: Option<f64>,
}

impl Row {
    /// Seconds of an epoch; of a training that went on from another, of those that it did itself at least.
    pub fn seconds_per_epoch(&self) -> Option<f64> {
        Some(self.seconds? / self.epochs.filter(|epochs| *epochs > 0.0)?)
    }

    /// A value as it is written in tables.
    pub fn value(&self, key: &str) -> String {
        match self.coordinates.iter().find(|(known, _)| known == key) {
            Some((_, Value::String(text))) => text.clone(),
            Some((_, value)) => value.to_string(),
            None => String::new(),
        }
    }
}

/// The trials of a sweep.
pub struct Sweep {
    /// The swept stage.
    pub group: String,
    /// The figure that they are ranked by; none where no trial has one.
    pub metric: Option<String>,
    /// Where it comes from, in words.
    pub source: String,
    /// The trials.
    pub rows: Vec<Row>,
    /// Names of all figures that trials have and that may rank them.
    figures: BTreeSet<String>,
    /// Stages whose figures of the test part were left out, with the names of these figures.
    tests: BTreeMap<String, BTreeSet<String>>,
}

impl Sweep {
    /// The swept parameters other than seeds, in order.
    pub fn keys(&self) -> Vec<String> {
        let keys =
            self.rows.first().map(|row| row.coordinates.iter().map(|(key, _)| key.clone())).into_iter().flatten();
        keys.filter(|key| !Trial::is_seed(key)).collect()
    }

    /// What its figures rest on, all of them together.
    pub fn rests(&self) -> rests::All<'_> {
        rests::All::of(self.rows.iter().filter(|row| row.figure.is_some()).map(|row| &row.rests))
    }

    /// Why there is nothing to rank it by, and what there is.
    pub fn lack(&self, wanted: Option<&str>) -> String {
        let group = &self.group;
        let figure = wanted.map_or_else(|| "figure to rank by".to_owned(), |metric| format!("figure `{metric}`"));
        let names: Vec<&str> = self.figures.iter().map(String::as_str).collect();
        let there = if names.is_empty() { String::new() } else { format!("; they have {}", names.join(", ")) };
        match self.tests.first_key_value() {
            Some((stage, _)) => format!(
                "trials of `{group}` have no {figure} but of the test part, by which nothing may be chosen{there}; \
                 `--from {stage}` looks at the test all the same, which is no choice any more"
            ),
            None if names.is_empty() => "no trial has a figure to rank by yet: run the sweep, or name one with \
                                         --metric and where from with --from"
                .to_owned(),
            None => format!("no trial of `{group}` has a {figure}{there}"),
        }
    }

    /// Its configurations, the best first.
    pub fn ranking(&self, better: Better) -> Vec<Configuration> {
        let trial = |row: &Row| Some(Tried::new(&row.name, &["seed"], row.figure?));
        ranking::rank(&self.rows.iter().filter_map(trial).collect::<Vec<_>>(), better)
    }

    /// The trials of a configuration, the best first.
    pub fn members(&self, configuration: &Configuration) -> Vec<&Row> {
        let with_figure: Vec<_> = self.rows.iter().filter(|row| row.figure.is_some()).collect();
        configuration.trials.iter().map(|at| with_figure[*at]).collect()
    }
}

/// What the figures of some trials rest on.
pub fn rests_of<'a>(rows: &[&'a Row]) -> rests::All<'a> {
    rests::All::of(rows.iter().map(|row| &row.rests))
}

/// The mean of those that are there.
pub fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let there: Vec<f64> = values.flatten().collect();
    (!there.is_empty()).then(|| there.iter().sum::<f64>() / there.len() as f64)
}

/// Gathers the trials of a group.
pub fn gather(project: &Project, plan: &Plan, group: &str, wish: &Wish<'_>) -> Sweep {
    let graph = &project.graph;
    let is_member =
        |planned: &&Planned| graph.stages[planned.id].trial.as_ref().is_some_and(|trial| trial.group == group);
    let members: Vec<_> = plan.stages.iter().filter(is_member).collect();
    let mut known = Known { project, plan, metrics: BTreeMap::new() };
    let mut told: Vec<Vec<Told>> = members.iter().map(|member| known.told(member.id, wish.from)).collect();
    let tests = if wish.from.is_none() { without_tests(&mut told, wish.metric) } else { BTreeMap::new() };
    let figures: BTreeSet<String> = told.iter().flatten().flat_map(Told::names).collect();
    let metric = match wish.metric {
        Some(metric) => Some(metric.to_owned()).filter(|metric| figures.contains(metric)),
        None => known_metric(&figures, &tests),
    };
    let mut rows = Vec::new();
    let mut sources = BTreeSet::new();
    for (member, told) in members.iter().zip(&told) {
        let has = |told: &&Told| metric.as_ref().is_some_and(|metric| told.figures[metric].is_number());
        let told = told.iter().find(has);
        let figure = told.zip(metric.as_ref()).and_then(|(told, metric)| told.figures[metric].as_f64());
        let rests = told.zip(metric.as_ref()).map(|(told, metric)| known.rests(member.id, told, metric));
        sources.extend(told.map(Told::source));
        let hit = plan.results.get(&member.id);
        let (class, message) = failure(member);
        rows.push(Row {
            name: graph.stages[member.id].name.clone(),
            coordinates: graph.stages[member.id].trial.as_ref().map(|it| it.coordinates.clone()).unwrap_or_default(),
            standing: match member.state {
                PlanState::Reused if hit.is_some() => Standing::Done,
                PlanState::Failed => Standing::Failed,
                _ => Standing::Missing,
            },
            class,
            message,
            figure: figure.filter(|figure| figure.is_finite()),
            rests: rests.unwrap_or_default(),
            epochs: known.own(member.id).get("epochs").and_then(Value::as_f64),
            seconds: hit.map(|hit| hit.seconds),
        });
    }
    let source = sources.into_iter().collect::<Vec<_>>().join(", ");
    Sweep { group: group.to_owned(), metric, source, rows, figures, tests }
}

/// Takes out what was found on the test part; the stages that found it, with the figures that are wanted of them.
fn without_tests(told: &mut [Vec<Told>], wanted: Option<&str>) -> BTreeMap<String, BTreeSet<String>> {
    let mut tests: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for told in told {
        for test in told.extract_if(.., |told| told.figures["part"] == "test") {
            let names: BTreeSet<_> = test.names().filter(|name| wanted.is_none_or(|wanted| wanted == name)).collect();
            if let Some(stage) = test.from.filter(|_| !names.is_empty()) {
                tests.entry(stage).or_default().extend(names);
            }
        }
    }
    tests
}

/// The first usual figure that trials have, or the first of all; none where the usual one is of the test part alone.
fn known_metric(figures: &BTreeSet<String>, tests: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let usual = |figures: &BTreeSet<String>| USUAL.into_iter().find(|metric| figures.contains(*metric));
    match usual(figures) {
        Some(metric) => Some(metric.to_owned()),
        None if tests.values().any(|figures| usual(figures).is_some()) => None,
        None => figures.first().cloned(),
    }
}

/// The class of a failure as people call it, and its message.
fn failure(planned: &Planned) -> (String, String) {
    match &planned.reason {
        Some(Reason::FailedBefore { class, message }) => {
            let class = match class.as_str() {
                "nan" => "diverged",
                "out_of_memory" => "out of memory",
                "blame" => "parameter",
                other => other,
            };
            (class.to_owned(), message.clone())
        }
        Some(Reason::Lost(stage)) => ("not run".to_owned(), format!("`{stage}` failed")),
        _ => (String::new(), String::new()),
    }
}

/// Figures of a trial as one result tells them.
struct Told {
    /// The stage that gathers the trial; none for the trial's own result.
    from: Option<String>,
    /// The figures by their names, and what they rest on.
    figures: Value,
}

impl Told {
    fn names(&self) -> impl Iterator<Item = String> {
        let figures = self.figures.as_object().into_iter().flatten();
        figures.filter(|(_, value)| value.is_number()).map(|(name, _)| name.clone())
    }

    /// In words.
    fn source(&self) -> String {
        self.from.as_ref().map_or_else(|| "each trial's own figure".to_owned(), |from| format!("from `{from}`"))
    }
}

/// The figures of stages, each read once.
struct Known<'a> {
    project: &'a Project,
    plan: &'a Plan,
    metrics: BTreeMap<StageId, Metrics>,
}

impl Known<'_> {
    fn own(&mut self, id: StageId) -> &Metrics {
        self.metrics.entry(id).or_insert_with(|| {
            let hit = self.plan.results.get(&id);
            hit.and_then(|hit| self.project.cache.result(&hit.key).ok())
                .map(|result| result.metrics)
                .unwrap_or_default()
        })
    }

    /// What is told of a trial: in its own result, and under its name in the results of those that gather it.
    fn told(&mut self, id: StageId, from: Option<&str>) -> Vec<Told> {
        let graph = &self.project.graph;
        let mut told = Vec::new();
        if from.is_none() {
            told.push(Told { from: None, figures: Value::Object(self.own(id).clone()) });
        }
        for consumer in
            graph.consumers(id).filter(|it| from.is_none_or(|from| graph.stages[*it].written_name() == from))
        {
            let reads = |source: &Source| matches!(source, Source::Output(producer, _) if *producer == id);
            let names = graph.stages[consumer].inputs.iter().filter(|input| reads(&input.source));
            for name in names.filter_map(|input| input.name.as_ref()) {
                let from = graph.stages[consumer].written_name().to_owned();
                told.extend(self.own(consumer).get(name).cloned().map(|figures| Told { from: Some(from), figures }));
            }
        }
        told
    }

    /// What a figure rests on: as the result says it, or where it is the trial's own, as its name and what the trial
    /// reads from say it.
    fn rests(&mut self, id: StageId, told: &Told, metric: &str) -> Rests {
        let said = Rests::said(&told.figures);
        if told.from.is_some() {
            return said;
        }
        let graph = &self.project.graph;
        let made = inputs(graph, id, ArtifactType::Split).find_map(|input| producer(&input.source));
        let split = made.and_then(|split| rests::split_of(&graph.stages[split].params));
        let data = if said.data.is_none() { self.data_above(id) } else { None };
        said.or(Rests { part: rests::part_of(metric).map(str::to_owned), split, data })
    }

    /// Where the data came from that a stage reads, as the nearest stage above it says.
    fn data_above(&mut self, id: StageId) -> Option<String> {
        let graph = &self.project.graph;
        let (mut seen, mut queue) = (BTreeSet::from([id]), VecDeque::from([id]));
        while let Some(at) = queue.pop_front() {
            if let Some(data) = self.own(at).get("data").and_then(Value::as_str) {
                return Some(data.to_owned());
            }
            queue.extend(graph.producers(at).filter(|producer| seen.insert(*producer)));
        }
        None
    }
}
