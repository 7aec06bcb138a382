//! Gathers what stored results say of the trials of a sweep. Unaware of how it is printed.

use std::collections::BTreeMap;

use pacer_stages::ranking::{self, Better, Configuration, Tried};
use pacer_stages::stage::Metrics;
use serde_json::Value;

use crate::cli::project::Project;
use crate::engine::plan::{Plan, PlanState, Planned};
use crate::engine::reason::Reason;
use crate::graph::{Source, StageId, Trial};

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
}

impl Sweep {
    /// The swept parameters other than seeds, in order.
    pub fn keys(&self) -> Vec<String> {
        let keys =
            self.rows.first().map(|row| row.coordinates.iter().map(|(key, _)| key.clone())).into_iter().flatten();
        keys.filter(|key| !Trial::is_seed(key)).collect()
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
    let sources: Vec<Vec<Value>> = members.iter().map(|member| known.sources(member.id, wish.from)).collect();
    let metric = wish.metric.map(str::to_owned).or_else(|| known_metric(&sources));
    let metric = metric.filter(|metric| sources.iter().flatten().any(|source| source[metric].is_number()));
    let mut rows = Vec::new();
    for (member, sources) in members.iter().zip(&sources) {
        let own = known.own(member.id);
        let figure = metric.as_ref().and_then(|metric| sources.iter().find_map(|source| source[metric].as_f64()));
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
            epochs: own.get("epochs").and_then(Value::as_f64),
            seconds: hit.map(|hit| hit.seconds),
        });
    }
    let source = wish
        .from
        .map_or_else(|| "each trial's own figure, or of who gathers it".to_owned(), |from| format!("from `{from}`"));
    Sweep { group: group.to_owned(), metric, source, rows }
}

/// The first usual figure that a trial has, or the first of all.
fn known_metric(sources: &[Vec<Value>]) -> Option<String> {
    let has = |metric: &str| sources.iter().flatten().any(|source| source[metric].is_number());
    let usual = USUAL.into_iter().find(|metric| has(metric)).map(str::to_owned);
    usual.or_else(|| {
        let figures = sources.iter().flatten().filter_map(Value::as_object).flatten();
        figures.filter(|(_, value)| value.is_number()).map(|(name, _)| name.clone()).next()
    })
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

    /// Where a trial's figures may stand: in its own result, and under its name in the results of those that gather it.
    fn sources(&mut self, id: StageId, from: Option<&str>) -> Vec<Value> {
        let graph = &self.project.graph;
        let own = if from.is_none() { vec![Value::Object(self.own(id).clone())] } else { Vec::new() };
        let mut gathered = Vec::new();
        for consumer in
            graph.consumers(id).filter(|it| from.is_none_or(|from| graph.stages[*it].written_name() == from))
        {
            let reads = |source: &Source| matches!(source, Source::Output(producer, _) if *producer == id);
            let names = graph.stages[consumer].inputs.iter().filter(|input| reads(&input.source));
            for name in names.filter_map(|input| input.name.as_ref()) {
                gathered.extend(self.own(consumer).get(name).cloned());
            }
        }
        [own, gathered].concat()
    }
}
