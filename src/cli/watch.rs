//! `pacer watch`: runs a pipeline whenever it or a file that it reads changes. Each run is a process of its own, so
//! that what goes wrong in one ends nothing else. Unaware of how a run goes.
//!
//! It looks twice a second rather than be told: that works on every file system, also one that another machine
//! writes to.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::project;
use crate::cli::{Exit, Format, PipelineArgs, Session, Sharing};
use crate::graph::{Graph, Source};
use crate::ui::output::{self, FAINT, paint};

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// How often it looks whether a run has ended.
const TICK: Duration = Duration::from_millis(50);

/// The arguments of `pacer watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Stages to run, with what they need [default: all]
    stages: Vec<String>,
    /// Stages that may run side by side [default: the processor's threads]
    #[arg(long, short)]
    jobs: Option<usize>,
    /// After a failure, still run what does not depend on it
    #[arg(long, short)]
    keep_going: bool,
}

/// What `stat` tells of a file; `None` where there is none.
type Stat = Option<(u64, u64, i64, i64)>;

/// Runs a pipeline again and again until it is interrupted.
pub fn watch(args: &WatchArgs, session: &Session) -> Result<Exit> {
    // A path that cannot be read now is a mistyped one; a fault within may be mended.
    let _ = project::resolved(&args.pipeline, session)?;
    let signal = heed_signals()?;
    loop {
        let seen = state(&args.pipeline, session);
        run(args, session, &signal)?;
        let told = format!("watching {} file{}; Ctrl-C ends it", seen.len(), if seen.len() == 1 { "" } else { "s" });
        output::say(&paint(FAINT, &told));
        if wait_for_change(|| state(&args.pipeline, session), &seen, &signal) {
            return Ok(Exit::Interrupted);
        }
    }
}

/// The number of a signal that came, or 0.
fn heed_signals() -> Result<Arc<AtomicUsize>> {
    let came = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_usize(signal, Arc::clone(&came), signal.unsigned_abs() as usize)?;
    }
    Ok(came)
}

/// Runs once and waits for its end; a signal that came here reaches the run too.
fn run(args: &WatchArgs, session: &Session, signal: &AtomicUsize) -> Result<()> {
    let mut child = command(args, session)?.spawn().context("`pacer run` cannot be started")?;
    let mut passed_on = 0;
    while child.try_wait()?.is_none() {
        let came = signal.load(Ordering::Relaxed);
        // A terminal sends Ctrl-C to both; to ask twice would be to kill.
        if came != passed_on && came != SIGINT.unsigned_abs() as usize {
            pass_on(&child, came);
        }
        passed_on = came;
        std::thread::sleep(TICK);
    }
    Ok(())
}

fn pass_on(child: &Child, signal: usize) {
    let process = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let signal = i32::try_from(signal).ok().and_then(rustix::process::Signal::from_named_raw);
    if let Some((process, signal)) = process.zip(signal) {
        // One that is gone already needs no signal.
        let _ = rustix::process::kill_process(process, signal);
    }
}

fn command(args: &WatchArgs, session: &Session) -> Result<Command> {
    let mut words: Vec<OsString> = vec!["run".into(), args.pipeline.file.clone().into()];
    words.extend(args.stages.iter().map(OsString::from));
    words.extend(args.pipeline.set.iter().flat_map(|set| ["--set".into(), set.into()]));
    words.extend(args.pipeline.seed.iter().flat_map(|seed| ["--seed".into(), seed.to_string().into()]));
    words.extend(args.pipeline.executor.iter().flat_map(|name| ["--executor".into(), name.into()]));
    words.extend(args.jobs.iter().flat_map(|jobs| ["--jobs".into(), jobs.to_string().into()]));
    words.extend(session.store.iter().flat_map(|store| ["--store".into(), store.into()]));
    words.extend(args.keep_going.then(|| "--keep-going".into()));
    words.extend((session.sharing == Sharing::Off).then(|| "--no-remote".into()));
    words.extend((session.sharing == Sharing::ReadOnly).then(|| "--remote-only-read".into()));
    words.extend(session.quiet.then(|| "--quiet".into()));
    if session.format == Format::Json {
        words.extend(["--format".into(), "json".into()]);
    }
    match anstream::ColorChoice::global() {
        anstream::ColorChoice::Never => words.extend(["--color".into(), "never".into()]),
        anstream::ColorChoice::Always => words.extend(["--color".into(), "always".into()]),
        anstream::ColorChoice::Auto | anstream::ColorChoice::AlwaysAnsi => {}
    }
    let mut command = Command::new(std::env::current_exe().context("the program does not know its own path")?);
    command.args(words);
    Ok(command)
}

/// Waits until something has changed and stayed so from one look to the next; true where a signal came instead.
fn wait_for_change(look: impl Fn() -> Vec<(PathBuf, Stat)>, seen: &[(PathBuf, Stat)], signal: &AtomicUsize) -> bool {
    let mut last = seen.to_vec();
    loop {
        if signal.load(Ordering::Relaxed) != 0 {
            return true;
        }
        std::thread::sleep(INTERVAL);
        let now = look();
        // Half a file is no news yet.
        if now == last && now != seen {
            return false;
        }
        last = now;
    }
}

/// The pipeline and all files that it reads, each with what `stat` tells; of a pipeline that has a fault, itself alone.
/// It is read anew each time, so that a file that was missing, or is new in a folder, is seen as it comes.
fn state(pipeline: &PipelineArgs, session: &Session) -> Vec<(PathBuf, Stat)> {
    let mut paths = vec![pipeline.file.clone()];
    if let Ok((_, Ok(graph))) = project::resolved(pipeline, session) {
        paths.extend(inputs(&graph));
    }
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|path| (path.clone(), stat(&path))).collect()
}

fn inputs(graph: &Graph) -> impl Iterator<Item = PathBuf> {
    let inputs = graph.stages.node_weights().flat_map(|stage| &stage.inputs);
    inputs.filter_map(|input| match &input.source {
        Source::File(path) => Some(path.clone()),
        Source::Output(..) => None,
    })
}

fn stat(path: &Path) -> Stat {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}
