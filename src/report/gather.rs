//! What a report rests on, read from the store: runs with their stages, results, and predictions by model. Unaware of
//! how it is shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pacer_stages::agreement::Agreement;
use pacer_stages::artifact::ArtifactType;
use pacer_stages::comparison::points::{Differing, Points, Scored};
use pacer_stages::comparison::{Judged, Settings, Unit};
use pacer_stages::table::Table;
use rayon::iter::{IntoParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use crate::cache::{Artifact, Cache, StageResult};
use crate::compare::{self, Answer, Question, Source};
use crate::digest::Digest;
use crate::event::Event;
use crate::graph::Trial;
use crate::history::Stands;
use crate::journal::{self, Summary};
use crate::recipe::{self, Planned, Recipe};
use crate::report::figures::plain;

/// Differences up to this many BPM count as none.
pub const MARGIN: f64 = 0.25;

/// A run with what it left.
pub struct Run {
    /// Its summary.
    pub summary: Summary,
    /// How it stands.
    pub stands: Stands,
    /// How it was asked for; none for a run of an older `pacer`.
    pub recipe: Option<Recipe>,
    /// The pipeline's text as it was.
    pub text: Option<String>,
    /// Its stages in the order of the run.
    pub stages: Vec<StageRun>,
}

/// A stage of a run.
pub struct StageRun {
    /// Its name.
    pub name: String,
    /// Its kind and what it reads from, where that was written down.
    pub planned: Option<Planned>,
    /// How it ended.
    pub state: State,
    /// Seconds from the run's beginning to its own, where that was written down.
    pub began: Option<f64>,
    /// What it left, where that is still in the store.
    pub result: Option<StageResult>,
    /// Where it computed, where it ran.
    pub device: Option<String>,
    /// Which trial it is, where a sweep made it.
    pub trial: Option<Trial>,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It ran.
    Ran,
    /// Its result was there.
    Reused,
    /// It failed.
    Failed {
        /// The sort of failure.
        class: String,
        /// What happened.
        message: String,
    },
    /// It was not run, with the reason.
    Skipped(String),
    /// It did not come to an end.
    Unended,
}

/// Models that were scored on the same part of the same split.
pub struct Scoring {
    /// The stage that scored them.
    pub stage: String,
    /// The comparison; its error where it cannot be made.
    pub answer: Result<Answer, String>,
    /// The models with their predictions, the best first.
    pub models: Vec<Model>,
}

/// A model with what it predicted.
pub struct Model {
    /// Its name.
    pub name: String,
    /// The kind of network or baseline.
    pub architecture: String,
    /// The seed of its training.
    pub seed: Option<u64>,
    /// Its figures, as `evaluate` gave them.
    pub figures: serde_json::Value,
    /// What it predicted where.
    pub scored: Scored,
    /// How that agrees with the truth.
    pub agreement: Agreement,
}

impl State {
    /// In a word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Reused => "reused",
            Self::Failed { .. } => "failed",
            Self::Skipped(_) => "skipped",
            Self::Unended => "unended",
        }
    }
}

impl StageRun {
    /// The kind of work, which its record tells, or its plan.
    pub fn kind(&self) -> &str {
        let planned = || self.planned.as_ref().map(|planned| planned.kind.as_str());
        self.result.as_ref().and_then(|result| result.record["kind"].as_str()).or_else(planned).unwrap_or_default()
    }

    /// A short name: of a trial, its group and the values of its parameters.
    pub fn short(&self) -> String {
        let Some(trial) = &self.trial else { return self.name.clone() };
        let values = trial.coordinates.iter().map(|(_, own)| plain(own));
        std::iter::once(trial.group.clone()).chain(values).collect::<Vec<_>>().join(" · ")
    }

    /// The name without its seed, under which trainings that differ in nothing else are one configuration.
    pub fn configuration(&self) -> String {
        let Some(trial) = &self.trial else { return self.name.clone() };
        let kept = trial.coordinates.iter().filter(|(name, _)| !Trial::is_seed(name));
        let kept: Vec<String> = kept.map(|(name, value)| format!("{name}={}", plain(value))).collect();
        if kept.is_empty() { trial.group.clone() } else { format!("{}[{}]", trial.group, kept.join(",")) }
    }

    /// An artifact by its name.
    pub fn artifact(&self, name: &str) -> Option<&Artifact> {
        self.result.as_ref()?.artifacts.iter().find(|artifact| artifact.name == name)
    }

    /// A table by its name; none where it is not there or cannot be read.
    pub fn table(&self, name: &str, cache: &Cache) -> Option<Table> {
        Table::read(&cache.blob(self.artifact(name)?).ok()?).ok()
    }
}

impl Model {
    /// Whose each point is.
    pub fn users(points: &Points) -> Vec<i64> {
        points.workouts.iter().flat_map(|block| block.places.clone().map(|_| block.user)).collect()
    }

    /// Whether it is the mean of training.
    pub fn is_constant(&self) -> bool {
        self.architecture == "constant"
    }
}

/// Reads a run.
pub fn run(cache: &Cache, id: &str) -> Result<Run> {
    let store = &cache.store;
    let summary = journal::summary(store, id).with_context(|| format!("run `{id}` has no summary"))?;
    let recipe = Recipe::read(store, id);
    let mut stages = Stages::default();
    for (at, event) in journal::timed_events(store, id)? {
        stages.see(at, event, cache);
    }
    let planned = recipe.iter().flat_map(|recipe| &recipe.stages).map(|planned| (planned.name.as_str(), planned));
    let planned: BTreeMap<&str, &Planned> = planned.collect();
    for stage in stages.known.values_mut() {
        stage.planned = planned.get(stage.name.as_str()).map(|planned| (*planned).clone());
    }
    let Stages { order, mut known } = stages;
    let stages = order.into_iter().filter_map(|name| known.remove(&name)).collect();
    Ok(Run { stands: Stands::of(store, &summary), text: recipe::pipeline(store, id), summary, recipe, stages })
}

/// What the events of a run tell of its stages.
#[derive(Default)]
struct Stages {
    order: Vec<String>,
    known: BTreeMap<String, StageRun>,
}

impl Stages {
    fn stage(&mut self, name: &str) -> &mut StageRun {
        let order = &mut self.order;
        self.known.entry(name.to_owned()).or_insert_with(|| {
            order.push(name.to_owned());
            StageRun {
                name: name.to_owned(),
                planned: None,
                state: State::Unended,
                began: None,
                result: None,
                device: None,
                trial: None,
            }
        })
    }

    fn see(&mut self, at: Option<f64>, event: Event, cache: &Cache) {
        let (name, state, key) = match event {
            Event::Started { stages, trials, .. } => {
                stages.iter().for_each(|name| _ = self.stage(name));
                trials.into_iter().for_each(|(name, trial)| self.stage(&name).trial = Some(trial));
                return;
            }
            Event::Running { stage, device, .. } => {
                let stage = self.stage(&stage);
                (stage.state, stage.began, stage.device) = (State::Unended, at, Some(device));
                return;
            }
            Event::Reused { stage, key, .. } => (stage, State::Reused, Some(key)),
            Event::Finished { stage, key, .. } => (stage, State::Ran, Some(key)),
            Event::Failed { stage, class, message, .. } => (stage, State::Failed { class, message }, None),
            Event::Skipped { stage, because } => (stage, State::Skipped(because), None),
            _ => return,
        };
        let stage = self.stage(&name);
        stage.state = state;
        stage.result = key.and_then(|key: Digest| cache.result(&key).ok()).or(stage.result.take());
    }
}

/// The scorings of some runs: for each part of each split, all that was scored there.
pub fn scorings(cache: &Cache, runs: &[Run], baseline: Option<&str>) -> Vec<Scoring> {
    // The test part is the answer, other parts are how it was come by.
    let mut sets: BTreeMap<(bool, usize), Vec<(usize, &StageRun)>> = BTreeMap::new();
    let mut first_seen: BTreeMap<(String, String), (bool, usize)> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        for stage in &run.stages {
            let Some(result) = &stage.result else { continue };
            if !result.artifacts.iter().any(|artifact| artifact.artifact == ArtifactType::Predictions) {
                continue;
            }
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let set = (text(&result.record["inputs"]["split"]), text(&result.record["params"]["part"]));
            let next = (set.1 != "test", first_seen.len());
            let place = *first_seen.entry(set).or_insert(next);
            let stages = sets.entry(place).or_default();
            // The same result in several runs is one.
            if !stages.iter().any(|(_, other)| other.result.as_ref().is_some_and(|other| other.key == result.key)) {
                stages.push((at, stage));
            }
        }
    }
    let scoring = |stages: Vec<(usize, &StageRun)>| scoring(cache, runs, &stages, baseline);
    sets.into_values().collect::<Vec<_>>().into_par_iter().map(scoring).collect()
}

fn scoring(cache: &Cache, runs: &[Run], stages: &[(usize, &StageRun)], baseline: Option<&str>) -> Scoring {
    let several = stages.iter().any(|(run, _)| *run > 0);
    let operands: BTreeMap<usize, usize> =
        stages.iter().map(|(run, _)| *run).collect::<BTreeSet<_>>().into_iter().zip(0..).collect();
    let source = |(run, stage): &(usize, &StageRun)| {
        let result = stage.result.clone()?;
        let beside = runs[*run].stages.iter().filter_map(|stage| Some(stage.result.as_ref()?.key)).collect();
        let label = if several { format!("run {}:{}", run + 1, stage.name) } else { stage.name.clone() };
        let operand = if several { operands[run] } else { 0 };
        Some(Source { operand, label, cache: cache.clone(), result, model: None, beside })
    };
    let sources: Vec<Source> = stages.iter().filter_map(source).collect();
    // Read one by one, so that a file that is gone takes no other with it.
    let read = sources.par_iter().map(|source| compare::gather::read_all(std::slice::from_ref(source)));
    let read: Vec<Result<Vec<HashMap<String, Scored>>>> = read.collect();
    let models = models(&sources, &read);
    let settings =
        Settings { unit: Unit::User, judged: Judged::Configurations, margin: MARGIN, differing: Differing::Refuse };
    let is_here = |name: &&str| models.iter().any(|model| model.name == **name);
    let constant = models.iter().find(|model| model.is_constant()).map(|model| model.name.clone());
    let baseline = baseline.filter(is_here).map(str::to_owned).or(constant).filter(|_| !several);
    let read: Result<Vec<_>> = read.into_iter().collect();
    let answer = read.and_then(|read| {
        compare::compare_read(&sources, read.into_iter().flatten().collect(), &Question { settings, baseline })
    });
    let answer = answer.map_err(|error| format!("{error:#}"));
    let names: BTreeSet<&str> = stages.iter().map(|(_, stage)| stage.name.as_str()).collect();
    Scoring { stage: names.into_iter().collect::<Vec<_>>().join(", "), answer, models }
}

/// Models with their agreement, the least error first.
fn models(sources: &[Source], read: &[Result<Vec<HashMap<String, Scored>>>]) -> Vec<Model> {
    let several = sources.iter().any(|source| source.operand > 0);
    let mut models = Vec::new();
    for (source, read) in sources.iter().zip(read) {
        let scored: Vec<&Scored> = read.iter().flatten().flat_map(HashMap::values).collect();
        let Some(first) = scored.first().map(|scored| Arc::clone(&scored.points)) else { continue };
        let users = Model::users(&first);
        let of = |scored: &Scored| {
            let own = (!Arc::ptr_eq(&scored.points, &first)).then(|| Model::users(&scored.points));
            let agreement = Agreement::of(&scored.points.truth, &scored.prediction, own.as_ref().unwrap_or(&users))?;
            let figures = source.result.metrics.get(&scored.model).cloned().unwrap_or_default();
            let architecture = figures["architecture"].as_str().unwrap_or_default().to_owned();
            let seed = figures["seed"].as_u64();
            let scored = scored.clone();
            let name = if several { format!("{}:{}", source.label, scored.model) } else { scored.model.clone() };
            Some(Model { name, architecture, seed, figures, agreement, scored })
        };
        models.extend(scored.into_par_iter().filter_map(of).collect::<Vec<_>>());
    }
    models.sort_by(|a, b| a.agreement.mae.total_cmp(&b.agreement.mae).then_with(|| a.name.cmp(&b.name)));
    // What was reused from one run to the next is the same model.
    models.dedup_by(|later, kept| later.scored.model == kept.scored.model && later.agreement == kept.agreement);
    models
}
