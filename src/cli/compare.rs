//! `pacer compare`: configurations, results and artifacts side by side.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use pacer_stages::artifact::ArtifactType;
use pacer_stages::comparison::points::Differing;
use pacer_stages::comparison::verdict::Verdict;
use pacer_stages::comparison::{Judged, Settings, Unit};

use crate::cache::{Cache, StageResult};
use crate::cli::ls;
use crate::cli::project::{self, Project};
use crate::cli::report::write;
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::compare::operand::{self, Of, Operand, Place};
use crate::compare::{Answer, Question, Source, artifacts, provenance};
use crate::digest::Digest;
use crate::engine::plan::{self, Wishes};
use crate::graph::StageId;
use crate::journal;
use crate::report::{page, pair};
use crate::ui::{self, comparison, output};

/// Beginnings of runs and keys shorter than this name nothing.
const FEWEST_DIGITS: usize = 8;

/// The arguments of `pacer compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// What to compare: [STORE//]PLACE[:STAGE[:MODEL]] or …:STAGE.ARTIFACT, where PLACE is a pipeline file, a run or a
    /// key; STAGE alone is of the places before it
    #[arg(required = true, value_name = "WHAT")]
    what: Vec<String>,
    /// The configuration that the others are held against [default: the first; of several results, the namesake in the
    /// first]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Differences up to this many BPM count as none
    #[arg(long, value_name = "BPM", default_value_t = 0.25, value_parser = margin)]
    margin: f64,
    /// Where test sets differ, compare on what all have in common
    #[arg(long)]
    common: bool,
    /// What counts once and is resampled; by workout nothing is said of other users
    #[arg(long, value_enum, default_value_t = By::User)]
    by: By,
    /// What the verdict is about; that on trainings says nothing of other seeds
    #[arg(long, value_enum, default_value_t = Judge::Configurations)]
    judge: Judge,
    /// Exit with 1 where a candidate has this verdict; may be given again
    #[arg(long, value_enum, value_name = "VERDICT")]
    fail_on: Vec<FailOn>,
    /// Also write two artifacts as a page for a browser: predictions over each other, drawings side by side
    #[arg(long, value_name = "PATH")]
    page: Option<PathBuf>,
    /// Set a parameter of [params] of the pipelines
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Seed of stages that name none
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    User,
    Workout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Judge {
    Configurations,
    Trainings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Worse,
    CannotTell,
}

fn margin(text: &str) -> Result<f64, String> {
    let margin: f64 = text.parse().map_err(|_| "must be a number of BPM".to_owned())?;
    if margin >= 0.0 && margin.is_finite() { Ok(margin) } else { Err("must be 0 or more".to_owned()) }
}

/// Compares what was named.
pub fn compare(args: &CompareArgs, session: &Session) -> Result<Exit> {
    let look = |store: Option<&PathBuf>, text: &str| look(store, text, session);
    let operands = operand::parse(&args.what, &look)?;
    let mut sources = Vec::new();
    for (at, operand) in operands.iter().enumerate() {
        match found(at, operand, args, session)? {
            Ok(found) => sources.extend(found),
            Err(exit) => return Ok(exit),
        }
    }
    let named: Vec<Option<String>> =
        sources.iter().map(|source| artifact(source, &operands[source.operand])).collect::<Result<_>>()?;
    if named.iter().any(Option::is_some) {
        return compare_artifacts(&sources, &named, args.page.as_deref(), session.format);
    }
    if args.page.is_some() {
        bail!("--page shows two artifacts, STAGE.ARTIFACT; of runs and their models, `pacer report` makes a page");
    }
    let settings = Settings {
        unit: if args.by == By::User { Unit::User } else { Unit::Workout },
        judged: if args.judge == Judge::Configurations { Judged::Configurations } else { Judged::Trainings },
        margin: args.margin,
        differing: if args.common { Differing::Common } else { Differing::Refuse },
    };
    let answer = crate::compare::compare(&sources, &Question { settings, baseline: args.baseline.clone() })?;
    match session.format {
        Format::Json => output::print_json(&answer)?,
        Format::Table => output::print(&comparison::text(&answer)),
        Format::Markdown => output::print(&comparison::markdown(&answer)),
        Format::Csv => output::print(&comparison::csv(&answer)),
    }
    Ok(verdict(&answer, &args.fail_on))
}

fn verdict(answer: &Answer, fail_on: &[FailOn]) -> Exit {
    let fails = |verdict: Verdict| match verdict {
        Verdict::Worse => fail_on.contains(&FailOn::Worse),
        Verdict::CannotTell => fail_on.contains(&FailOn::CannotTell),
        Verdict::Better | Verdict::Same => false,
    };
    let differences = answer.comparison.rows.iter().filter_map(|row| row.difference.as_ref());
    let failed = differences.into_iter().any(|difference| fails(difference.judgement.verdict));
    if failed { Exit::Failed } else { Exit::Done }
}

fn compare_artifacts(
    sources: &[Source],
    named: &[Option<String>],
    page: Option<&Path>,
    format: Format,
) -> Result<Exit> {
    let ([one, other], [Some(first), Some(second)]) = (sources, named) else {
        bail!("artifacts are compared two by two: name two of them, STAGE.ARTIFACT");
    };
    let compared = artifacts::compare([(one, first), (other, second)])?;
    if let Some(path) = page {
        write(path, &page::html(&pair::report(&compared)))?;
        output::say(&format!("wrote {}", path.display()));
    }
    match format {
        Format::Json => output::print_json(&compared)?,
        Format::Table => output::print(&ui::artifacts::text(&compared)),
        Format::Markdown => output::print(&ui::artifacts::markdown(&compared)),
        Format::Csv => output::print(&ui::artifacts::csv(&compared)),
    }
    Ok(Exit::Done)
}

/// The artifact that an operand means; none where it means predictions.
fn artifact(source: &Source, operand: &Operand) -> Result<Option<String>> {
    let artifacts = &source.result.artifacts;
    match &operand.of {
        Of::Artifact(name) => Ok(Some(name.clone())),
        Of::Model(_) => Ok(None),
        Of::AllModels if artifacts.iter().any(|artifact| artifact.artifact == ArtifactType::Predictions) => Ok(None),
        Of::AllModels => match artifacts.as_slice() {
            [only] => Ok(Some(only.name.clone())),
            several => {
                let names: Vec<_> = several.iter().map(|artifact| artifact.name.as_str()).collect();
                bail!(
                    "`{}` scored no models; name one of its artifacts, STAGE.ARTIFACT: {}",
                    source.label,
                    names.join(", ")
                )
            }
        },
    }
}

/// What a text names in a store: a pipeline file, a run or a key.
fn look(store: Option<&PathBuf>, text: &str, session: &Session) -> Result<Option<Place>> {
    if Path::new(text).is_file() {
        return Ok(Some(Place::File(text.into())));
    }
    let is_id = |c: char| c.is_ascii_hexdigit() || "-.".contains(c);
    if text.len() < FEWEST_DIGITS || !text.chars().all(is_id) {
        return Ok(None);
    }
    let cache = cache(store, None, session)?;
    if let Some(run) = ls::run_beginning(&cache.store, text)? {
        return Ok(Some(Place::Run(run)));
    }
    match provenance::keys_beginning(&cache, text).as_slice() {
        [key] => Ok(Some(Place::Key(*key))),
        [] => Ok(None),
        several => bail!("`{text}` begins {} keys: give more digits", several.len()),
    }
}

fn cache(store: Option<&PathBuf>, pipeline: Option<&Path>, session: &Session) -> Result<Cache> {
    let folder = store.cloned().unwrap_or_else(|| project::store_folder(session, pipeline));
    if store.is_some() && !folder.join("FORMAT").is_file() {
        bail!("`{}` is no store", folder.display());
    }
    project::cache_in(&folder, session, pipeline)
}

/// Results of stages, by the stages' names, and the keys beside them.
struct Found {
    cache: Cache,
    stages: Vec<(String, StageResult)>,
    beside: BTreeSet<Digest>,
}

/// The results that an operand means: one, or those of all trials of a sweep.
fn found(at: usize, operand: &Operand, args: &CompareArgs, session: &Session) -> Result<Result<Vec<Source>, Exit>> {
    let prefix = operand.store.as_ref().map_or_else(String::new, |store| format!("{}//", store.display()));
    let (label, found) = match &operand.place {
        Place::File(path) => match of_pipeline(path, operand, args, session)? {
            Ok(found) => (path.display().to_string(), found),
            Err(exit) => return Ok(Err(exit)),
        },
        Place::Run(run) => (run.clone(), of_run(run, operand, session)?),
        Place::Key(key) => {
            let cache = cache(operand.store.as_ref(), None, session)?;
            let result = cache.result(key)?;
            (key.short(), Found { cache, stages: vec![(String::new(), result)], beside: BTreeSet::new() })
        }
    };
    let model = match &operand.of {
        Of::Model(model) => Some(model.clone()),
        Of::AllModels | Of::Artifact(_) => None,
    };
    let source = |(stage, result): (String, StageResult)| Source {
        operand: at,
        label: if stage.is_empty() { format!("{prefix}{label}") } else { format!("{prefix}{label}:{stage}") },
        cache: found.cache.clone(),
        result,
        model: model.clone(),
        beside: found.beside.clone(),
    };
    Ok(Ok(found.stages.into_iter().map(source).collect()))
}

/// The results of a stage, or of its trials, in a run.
fn of_run(run: &str, operand: &Operand, session: &Session) -> Result<Found> {
    let cache = cache(operand.store.as_ref(), None, session)?;
    let keys = journal::keys(&cache.store, run);
    let scoring = |key: &Digest| cache.result(key).is_ok_and(|result| scores(&result));
    let names: Vec<&str> = match &operand.stage {
        Some(stage) => meant(stage, keys.keys().map(String::as_str)),
        None => {
            let names: Vec<&str> = keys.iter().filter(|(_, key)| scoring(key)).map(|(name, _)| name.as_str()).collect();
            only(&names, run)?;
            names
        }
    };
    if let (Some(stage), []) = (&operand.stage, names.as_slice()) {
        bail!("run `{run}` has no result of a stage `{stage}`");
    }
    let result = |name: &&str| Ok(((*name).to_owned(), cache.result(&keys[*name])?));
    let stages = names.iter().map(result).collect::<Result<_>>()?;
    Ok(Found { cache, stages, beside: keys.values().copied().collect() })
}

/// The stage of this name, or the trials that a sweep made of it.
fn meant<'a>(stage: &str, names: impl Iterator<Item = &'a str> + Clone) -> Vec<&'a str> {
    let is_trial = |name: &&str| name.strip_prefix(stage).is_some_and(|rest| rest.starts_with('['));
    match names.clone().find(|name| *name == stage) {
        Some(name) => vec![name],
        None => names.filter(is_trial).collect(),
    }
}

/// The results of a stage, or of its trials, that a run of a pipeline would reuse now.
fn of_pipeline(path: &Path, operand: &Operand, args: &CompareArgs, session: &Session) -> Result<Result<Found, Exit>> {
    let pipeline = PipelineArgs { file: path.to_owned(), set: args.set.clone(), seed: args.seed, executor: None };
    let session = Session { store: operand.store.clone().or_else(|| session.store.clone()), ..*session };
    let Project { graph, cache, machine, .. } = match project::open(&pipeline, &session)? {
        Ok(project) => project,
        Err(exit) => return Ok(Err(exit)),
    };
    let all = graph.order.iter().map(|id| graph.stages[*id].name.as_str());
    let names = match &operand.stage {
        Some(stage) => meant(stage, all),
        None => {
            let is_scoring = |id: &&StageId| {
                graph.stages[**id].outputs.iter().any(|port| port.artifact == ArtifactType::Predictions)
            };
            let scoring = graph.order.iter().filter(is_scoring).map(|id| graph.stages[*id].name.as_str());
            let names: Vec<&str> = scoring.collect();
            only(&names, &path.display().to_string())?;
            names
        }
    };
    let mut ids = Vec::new();
    for name in operand.stage.iter().map(String::as_str).filter(|_| names.is_empty()).chain(names.iter().copied()) {
        match project::targets(&graph, &[name.to_owned()]) {
            Ok(found) => ids.extend(found),
            Err(exit) => return Ok(Err(exit)),
        }
    }
    let plan = plan::plan(&graph, &graph.needed(&ids), Wishes::default(), &cache, &machine)?;
    let mut stages = Vec::new();
    for id in ids {
        let name = &graph.stages[id].name;
        let hit = plan.results.get(&id).with_context(|| {
            let command = project::again("run", &pipeline, &session, std::slice::from_ref(name));
            let file = path.display();
            format!("`{name}` of `{file}` has no result for these parameters and inputs; make it with: {command}")
        })?;
        stages.push((name.clone(), cache.result(&hit.key)?));
    }
    Ok(Ok(Found { cache, stages, beside: plan.results.values().map(|hit| hit.key).collect() }))
}

/// Whether a result holds predictions.
fn scores(result: &StageResult) -> bool {
    result.artifacts.iter().any(|artifact| artifact.artifact == ArtifactType::Predictions)
}

/// Fails unless exactly one stage scores models, or all that do are trials of one.
fn only(stages: &[&str], place: &str) -> Result<()> {
    let written = |name: &str| name.split('[').next().unwrap_or_default().to_owned();
    match stages {
        [first, rest @ ..] if rest.iter().all(|other| written(other) == written(first)) => Ok(()),
        [] => bail!("no stage of `{place}` scored models: name a stage, or an artifact, STAGE.ARTIFACT"),
        several => bail!("several stages of `{place}` scored models, say which: {}", several.join(", ")),
    }
}
