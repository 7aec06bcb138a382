//! `pacer push` and `pacer pull`: results to the remote and artifacts from there. `pacer gc --remote` frees what it
//! does not need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::cache::afar::{Brought, Looker};
use crate::cache::push::{Pushed, Trust, YOUNG};
use crate::cache::{Artifact, Cache, Found};
use crate::care;
use crate::care::remote::{Doomed, Freed, Policy, collect};
use crate::cli::plan::in_format;
use crate::cli::project::{self, Project};
use crate::cli::{Exit, Format, PipelineArgs, Session, Sharing, ls, run};
use crate::digest::Digest;
use crate::engine::plan::{self, Wishes};
use crate::executor::Stop;
use crate::graph;
use crate::journal;
use crate::remote::{Meter, Remote, side_by_side};
use crate::ui::tables::Rows;
use crate::ui::{output, transfer};

/// Results that are put at once.
const PUSHERS: usize = 8;

/// Results that are moved into the store at once, for each waits for the disk.
const KEEPERS: usize = 16;

/// So long an interrupted transfer has to break off by itself.
const LEAVING: Duration = Duration::from_secs(2);

/// The arguments of `pacer push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// A run by its id, or a pipeline file [default: every result of the store]
    what: Option<String>,
    /// Set a parameter of [params]
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Seed of stages that name none
    #[arg(long)]
    seed: Option<u64>,
}

/// The arguments of `pacer pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// The pipeline file [default: whatever results were found in the remote and not brought]
    file: Option<PathBuf>,
    /// Stages whose artifacts are wanted, or single ones, STAGE.ARTIFACT [default: all]
    targets: Vec<String>,
    /// Set a parameter of [params]
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Seed of stages that name none
    #[arg(long)]
    seed: Option<u64>,
}

/// The remote of a cache, or how to name one.
fn remote(cache: &Cache) -> Result<&Arc<Remote>> {
    cache.remote.as_ref().context(
        "there is no remote: name one in `pacer.toml` at the top of the project, [remote] url = \"/shared/folder\" \
         or \"s3://bucket/prefix\"",
    )
}

/// Waits for the remote where it goes away in the midst of it: there is nothing else to do.
fn wait_for(cache: &Cache, stop: &Arc<Stop>) -> Result<()> {
    let stop = Arc::clone(stop);
    remote(cache)?.wait_for_it(move || stop.requested());
    Ok(())
}

/// Leaves a while after it was asked to, or at the second word: a thread that waits for a silent server hears nothing.
/// What is in the remote and in the store then is as whole as after any kill.
fn leave_if_stalled(stop: &Stop, stopped: &OnceLock<Instant>) {
    if stop.requested() && (stop.kill() || stopped.get_or_init(Instant::now).elapsed() > LEAVING) {
        output::say("interrupted in the midst of a transfer, which the next call goes on with");
        std::process::exit(Exit::Interrupted as i32);
    }
}

/// Puts results into the remote.
pub fn push(args: &PushArgs, session: &Session) -> Result<Exit> {
    if session.sharing == Sharing::ReadOnly {
        bail!("`push` would write to the remote, which --remote-only-read forbids");
    }
    let stop = Arc::new(Stop::default());
    let file = args.what.as_deref().map(Path::new).filter(|path| path.is_file());
    let (cache, keys) = match (file, &args.what) {
        (Some(file), _) => {
            let pipeline =
                PipelineArgs { file: file.to_owned(), set: args.set.clone(), seed: args.seed, executor: None };
            let Project { graph, cache, machine, .. } = match project::open(&pipeline, session)? {
                Ok(project) => project,
                Err(exit) => return Ok(exit),
            };
            let plan = plan::plan(&graph, &graph.needed(&[]), Wishes::default(), &cache, &machine)?;
            let here = plan.results.values().filter(|hit| !hit.afar);
            (cache, here.map(|hit| hit.key).collect::<BTreeSet<_>>())
        }
        (None, Some(run)) => {
            let cache = project::cache(session, None)?;
            let run = ls::run_beginning(&cache.store, run)?;
            let run = run.with_context(|| {
                format!("`{}` is neither a file nor a run: `pacer ls` lists them", args.what.as_deref().unwrap_or(""))
            })?;
            let keys = journal::keys(&cache.store, &run).into_values();
            let keys = keys.filter(|key| cache.store.result_path(key).exists()).collect();
            (cache, keys)
        }
        (None, None) => {
            let cache = project::cache(session, None)?;
            let files = care::files_below(&cache.store.path("results"));
            let key = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<Digest>().ok();
            (cache, files.iter().filter_map(key).collect())
        }
    };
    wait_for(&cache, &stop)?;
    remote(&cache)?.ensure_format()?;
    run::heed_signals(&stop)?;
    let keys: Vec<Digest> = keys.into_iter().collect();
    let meter = Meter::default();
    let looker = Looker { meter: &meter, stop: &|| stop.requested() };
    let stopped = OnceLock::new();
    let moved = || {
        if stop.requested() {
            meter.end();
        }
        leave_if_stalled(&stop, &stopped);
        meter.moved()
    };
    let work = || {
        let lists = cache.look_over(keys.len());
        let trust = lists.as_ref().map_or(Trust::Nothing, Trust::Lists);
        side_by_side(&keys, PUSHERS, |key| cache.push(key, trust, &looker))
    };
    let (outcomes, seconds) = transfer::watch("push", None, &moved, work);
    let (mut pushed, mut faults) = (Pushed::default(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(one) => pushed.add(one),
            Err(error) => faults.push(format!("{error:#}")),
        }
    }
    tell_pushed(&pushed, &faults, seconds, session)?;
    Ok(match (faults.is_empty(), stop.requested()) {
        (_, true) => Exit::Interrupted,
        (true, _) => Exit::Done,
        (false, _) => Exit::Failed,
    })
}

fn tell_pushed(pushed: &Pushed, faults: &[String], seconds: f64, session: &Session) -> Result<()> {
    let Pushed { results, there, blobs, bytes, diverged } = pushed;
    if session.format == Format::Json {
        return output::print_json(&json!({
            "v": 1, "results": results, "there": there, "blobs": blobs, "bytes": bytes, "diverged": diverged,
            "failed": faults.len(), "seconds": seconds,
        }));
    }
    for key in diverged {
        output::say(&format!(
            "the remote has a result of key {}… with other bytes, which stays: its stage is not deterministic",
            key.short()
        ));
    }
    if let Some(first) = faults.first() {
        output::say(&format!("{} not pushed: {first}", output::number(faults.len(), "result")));
    }
    let moved = transfer::in_words(*bytes, seconds);
    let (results, there) = (output::number(*results, "result"), output::number(*there, "result"));
    let blobs = output::number(*blobs, "blob");
    output::print(&format!("pushed {results}, {blobs}, {moved}; {there} there before\n"));
    Ok(())
}

/// Brings artifacts from the remote.
pub fn pull(args: &PullArgs, session: &Session) -> Result<Exit> {
    let stop = Arc::new(Stop::default());
    let (cache, wanted, lacking) = match &args.file {
        None => {
            let cache = project::cache(session, None)?;
            let (wanted, lacking) = known_afar(&cache)?;
            (cache, wanted, lacking)
        }
        Some(file) => {
            let pipeline = PipelineArgs { file: file.clone(), set: args.set.clone(), seed: args.seed, executor: None };
            let project = match project::open(&pipeline, session)? {
                Ok(project) => project,
                Err(exit) => return Ok(exit),
            };
            match wanted(&project, &args.targets)? {
                Ok((wanted, lacking)) => (project.cache, wanted, lacking),
                Err(exit) => return Ok(exit),
            }
        }
    };
    let name = remote(&cache)?.url().to_owned();
    wait_for(&cache, &stop)?;
    run::heed_signals(&stop)?;
    let artifacts: Vec<Artifact> = wanted.values().flatten().cloned().collect();
    let total = cache.absent(&artifacts).iter().map(|artifact| artifact.bytes).sum();
    let meter = Meter::default();
    let looker = Looker { meter: &meter, stop: &|| stop.requested() };
    let work = || -> Result<Brought> {
        let brought = cache.bring(&artifacts, &looker);
        let keys: Vec<Digest> = wanted.keys().copied().collect();
        let kept = side_by_side(&keys, KEEPERS, |key| cache.keep(key));
        kept.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(brought)
    };
    let stopped = OnceLock::new();
    let moved = || {
        leave_if_stalled(&stop, &stopped);
        meter.moved()
    };
    let (brought, seconds) = transfer::watch("pull", Some(total), &moved, work);
    let brought = brought?;
    if session.format == Format::Json {
        let faults: Vec<_> = brought.lacking.iter().map(|(_, why)| why).collect();
        output::print_json(&json!({
            "v": 1, "blobs": brought.blobs, "bytes": brought.bytes, "moved": meter.moved(), "failed": faults,
            "no_result": lacking, "seconds": seconds,
        }))?;
    } else {
        brought.lacking.iter().for_each(|(_, why)| output::say(why));
        if !brought.lacking.is_empty() && !remote(&cache)?.is_down() && !stop.requested() {
            output::say("`pacer run` makes anew what could not be had, and with --push puts it right in the remote");
        }
        let moved = transfer::in_words(brought.bytes, seconds);
        output::print(&format!("pulled {}, {moved}\n", output::number(brought.blobs, "blob")));
        if !lacking.is_empty() {
            output::say(&format!("neither here nor in `{name}`: {}; `pacer run` makes them", lacking.join(", ")));
        }
    }
    Ok(match (stop.requested(), brought.lacking.is_empty() && lacking.is_empty()) {
        (true, _) => Exit::Interrupted,
        (_, true) => Exit::Done,
        (_, false) => Exit::Failed,
    })
}

/// Artifacts to bring, by the keys of their results, and stages that have none.
type Wanted = (BTreeMap<Digest, Vec<Artifact>>, Vec<String>);

fn wanted(project: &Project, targets: &[String]) -> Result<Result<Wanted, Exit>> {
    let Project { graph, cache, machine, .. } = project;
    let mut asked = Vec::new();
    for target in targets {
        let (stage, artifact) = graph::stage_and_artifact(target);
        match project::targets(graph, &[stage.to_owned()]) {
            Ok(ids) => asked.extend(ids.into_iter().map(|id| (id, artifact))),
            Err(exit) => return Ok(Err(exit)),
        }
    }
    if targets.is_empty() {
        asked.extend(graph.order.iter().map(|id| (*id, None)));
    }
    let ids: Vec<_> = asked.iter().map(|(id, _)| *id).collect();
    let plan = plan::plan(graph, &graph.needed(&ids), Wishes::default(), cache, machine)?;
    let (mut wanted, mut lacking) = (BTreeMap::<_, Vec<Artifact>>::new(), Vec::new());
    for (id, name) in asked {
        let Some(hit) = plan.results.get(&id) else {
            lacking.push(graph.stages[id].name.clone());
            continue;
        };
        let artifacts = match name {
            Some(name) => vec![hit.artifact(name)?.clone()],
            None => hit.artifacts.clone(),
        };
        wanted.entry(hit.key).or_default().extend(artifacts);
    }
    Ok(Ok((wanted, lacking)))
}

/// All that was found in the remote and is not all here.
fn known_afar(cache: &Cache) -> Result<Wanted> {
    let folder = cache.store.path("afar").join(remote(cache)?.id());
    let key = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<Digest>().ok();
    let (mut wanted, mut lacking) = (BTreeMap::new(), Vec::new());
    for key in care::files_below(&folder).into_iter().filter_map(|path| key(&path)) {
        match cache.find(&key) {
            Found::Hit(hit) => drop(wanted.insert(key, hit.artifacts)),
            Found::Absent | Found::Damaged(_) => lacking.push(format!("all of the result {}…", key.short())),
        }
    }
    Ok((wanted, lacking))
}

/// Frees what no result of the remote reaches.
pub fn gc(grace: Duration, older_than: Option<Duration>, dry_run: bool, session: &Session) -> Result<Exit> {
    if session.sharing == Sharing::ReadOnly && !dry_run {
        bail!("`gc --remote` would write to the remote, which --remote-only-read forbids");
    }
    if grace < 2 * YOUNG && !dry_run {
        output::say("with a grace below 2h, what somebody pushes right now may go: make sure that nobody does");
    }
    let cache = project::cache(session, None)?;
    let freed = collect(remote(&cache)?, Policy { grace, older_than, dry_run })?;
    let Freed { doomed, damaged, blobs, unfinished, letters, bytes, kept, kept_bytes, young, foreign } = freed;
    let results = doomed.len();
    if session.format == Format::Json {
        output::print_json(&json!({
            "v": 1, "results": results, "damaged": damaged, "blobs": blobs, "unfinished": unfinished, "letters": letters, "bytes": bytes,
            "kept": kept, "kept_bytes": kept_bytes, "young": young, "foreign": foreign, "dry_run": dry_run,
            "doomed": doomed.iter().map(|it| json!({
                "key": it.key, "kind": it.kind, "bytes": it.bytes, "age": it.age.as_secs(),
            })).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    if dry_run && !doomed.is_empty() {
        output::print(&in_format(&table(&doomed), session.format));
    }
    output::print(&format!(
        "{} {}: {results} results ({damaged} damaged), {blobs} blobs that no result reaches, {unfinished} unfinished \
         uploads, {letters} letters of clusters; {kept} results of {} stay, with {young} loose blobs that are too young to go\n",
        if dry_run { "would free" } else { "freed" },
        output::bytes(bytes),
        output::bytes(kept_bytes),
    ));
    if foreign > 0 {
        output::say(&format!("{} there, by their names none of pacer's, stay", output::number(foreign, "object")));
    }
    Ok(Exit::Done)
}

/// The results of a remote that would go.
fn table(doomed: &[Doomed]) -> Rows {
    let mut rows = Rows::new(["result", "kind", "put", "size"]);
    for Doomed { key, kind, bytes, age } in doomed {
        let put = Timestamp::now().checked_sub(*age).map(|time| time.strftime("%Y-%m-%d %H:%M").to_string());
        let kind = kind.clone().unwrap_or_else(|| "(damaged)".to_owned());
        rows.push([key.short(), kind, put.unwrap_or_default(), output::bytes(*bytes)]);
    }
    rows
}
