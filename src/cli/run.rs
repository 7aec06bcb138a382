//! `pacer run`: runs a pipeline and shows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::cluster;
use crate::cli::leaks;
use crate::cli::leaks::watch::Watch;
use crate::cli::locked;
use crate::cli::plan::tell_plan;
use crate::cli::project::{self, Project, Selection};
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::diagnostic::{Diagnostic, Place};
use crate::engine::plan::{self, Wishes};
use crate::engine::records::Results;
use crate::engine::rounds::{self, Advance, Blind};
use crate::engine::run::{self, Options, Tally};
use crate::event::Event;
use crate::executor::{Stop, memory};
use crate::graph::{Graph, Stage, StageId};
use crate::leakage::{self, Check};
use crate::recipe::{self, Recipe};
use crate::ui::output::{self, BAD, GOOD, ODD, paint};
use crate::ui::progress::{Progress, Style};

/// The arguments of `pacer run`.
#[derive(Debug, Args)]
pub struct RunArgs {
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
    /// Memory that stages in worker processes may take together, such as 4GB, judged by what earlier ones took
    /// [default: what is free]
    #[arg(long, value_name = "SIZE", value_parser = super::care::bytes)]
    memory: Option<u64>,
    /// Try trials again that failed in an earlier run
    #[arg(long)]
    retry_failed: bool,
    /// Run a stage even if its result is there; may be given again
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Start a stage only when what it reads is safe on the disk, not as soon as it can be read
    #[arg(long)]
    strict_sync: bool,
    /// Say what would be done, as `pacer plan` does
    #[arg(long)]
    dry_run: bool,
    /// Refuse a pipeline that would run programs (stages of kind `command`)
    #[arg(long)]
    no_commands: bool,
    /// Put what is made into the remote of the profile, while the run goes on
    #[arg(long, conflicts_with_all = ["no_remote", "remote_only_read"])]
    push: bool,
    /// Afterwards write the lock file beside the pipeline: the key of each stage, the digests of its artifacts
    #[arg(long)]
    lock: bool,
    /// Fail where keys or artifacts are not those of the lock file
    #[arg(long, conflicts_with = "lock")]
    locked: bool,
}

/// Runs a pipeline.
pub fn run(args: &RunArgs, session: &Session) -> Result<Exit> {
    let mut selection = match project::select(&args.pipeline, session, &args.stages, &args.force)? {
        Ok(selection) => selection,
        Err(exit) => return Ok(exit),
    };
    if args.push && selection.project.cache.remote.is_none() {
        bail!("--push needs a remote: name one in `pacer.toml`, [remote] url = \"/shared/folder\" or \"s3://…\"");
    }
    if !args.dry_run {
        cluster::ask(&mut selection.project, &selection.needed)?;
    }
    if args.no_commands {
        refuse_commands(&selection.project.graph, &selection.needed)?;
    }
    let stop = Arc::new(Stop::default());
    if !args.dry_run {
        let mut told = Vec::new();
        if leaks::stopped_by_graph(&selection.project.graph, &selection.needed, &mut told) {
            output::say("nothing was run");
            return Ok(Exit::Fault);
        }
        heed_signals(&stop)?;
        selection = match settle_searches(selection, args, session, &stop, &mut told)? {
            Ok(selection) => selection,
            Err(exit) => return Ok(exit),
        };
    }
    let Selection { project, needed, forced } = selection;
    let Project { graph, cache, machine, .. } = &project;
    let wishes = Wishes { forced: &forced, retry_failed: args.retry_failed };
    let locked = if args.locked { Some(locked::required(graph)?) } else { None };
    if let Some(file) = &locked {
        let plan = plan::plan(graph, &needed, wishes, cache, machine)?;
        if locked::told_drift_of_plan(file, graph, &plan) {
            return Ok(Exit::Failed);
        }
    }
    if args.dry_run {
        let plan = plan::plan(graph, &needed, wishes, cache, machine)?;
        tell_plan(graph, &needed, &plan, cache, session.format)?;
        return Ok(Exit::Done);
    }
    let Ended { tally, results, seconds, checks, leaked } = execute(&project, needed, forced, args, session, &stop)?;
    let graph = &project.graph;
    let drifted = locked.is_some_and(|file| locked::told_drift_of_results(&file, graph, &results));
    if args.lock && tally.failed == 0 && !tally.interrupted {
        locked::write(graph, &results)?;
    }
    // The process is about to end; to give the memory of a large graph back piece by piece would only take time.
    std::mem::forget((project, results));
    if session.format != Format::Json && !session.quiet {
        conclude(&tally, seconds, args, session);
        if !tally.interrupted {
            leaks::tell_not_made(&checks);
        }
    }
    Ok(match tally {
        _ if leaked => Exit::Failed,
        Tally { interrupted: true, .. } => Exit::Interrupted,
        _ if drifted => Exit::Failed,
        Tally { failed: 0, .. } => Exit::Done,
        _ => Exit::Failed,
    })
}

/// What a run came to, and how long it took.
struct Ended {
    tally: Tally,
    results: Results,
    seconds: f64,
    /// What the checks for leaks came to.
    checks: Vec<Check>,
    /// Whether a leak stopped it.
    leaked: bool,
}

/// Runs what is needed and shows it.
fn execute(
    project: &Project,
    needed: Vec<bool>,
    forced: Vec<StageId>,
    args: &RunArgs,
    session: &Session,
    stop: &Arc<Stop>,
) -> Result<Ended> {
    let clusters = cluster::open(project, &needed, stop)?;
    let Project { graph, text, cache, machine } = project;
    cache.remote.iter().filter(|_| args.push).for_each(|remote| remote.push_too());
    let command = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let recipe = Recipe::of(graph, &needed, machine, command);
    let told_by_graph = leakage::of_graph(graph, &needed);
    let options = Options {
        jobs: args.jobs.unwrap_or(machine.threads).max(1),
        keep_going: args.keep_going,
        retry_failed: args.retry_failed,
        memory: args.memory.or_else(memory::free),
        forced,
        needed,
        hand_on: !args.strict_sync,
    };
    let style = match (session.format, session.quiet) {
        (Format::Json, _) => Style::Json,
        (_, true) => Style::Quiet,
        (_, false) => Style::Human,
    };
    let mut progress = Progress::new(style);
    let mut seconds = 0.0;
    let mut watch = Watch::new(graph, cache, stop, told_by_graph);
    let mut show = |event: &Event| {
        watch.see(event);
        match event {
            Event::Started { run, .. } => recipe.keep(text, &cache.store, run),
            Event::Done { seconds: took, run, .. } => {
                seconds = *took;
                recipe::keep_checks(&watch.checks(), &cache.store, run);
            }
            _ => {}
        }
        progress.show(event);
    };
    let (tally, results) = run::run(graph, cache, machine, &options, stop, &clusters, &mut show);
    clusters.into_values().for_each(|cluster| cluster.finish(tally.interrupted));
    Ok(Ended { tally, results, seconds, checks: watch.checks(), leaked: !watch.leaks.is_empty() })
}

/// Runs the rounds of searches until nothing comes after their trials. Each round is a run of its own; what it decides
/// is written down, and rounds that are done are not run again.
///
/// It comes to an end: each turn ends trials, decides a round that rests on more trials than any before, or cuts off
/// rounds that rest on figures of the past.
fn settle_searches(
    mut selection: Selection,
    args: &RunArgs,
    session: &Session,
    stop: &Arc<Stop>,
    told: &mut Vec<Check>,
) -> Result<Result<Selection, Exit>> {
    let talks = session.format != Format::Json && !session.quiet;
    if talks {
        tell_undecided(&selection, &wanted_searches(&selection, args));
    }
    let mut retry_failed = args.retry_failed;
    loop {
        let Project { graph, cache, machine, .. } = &selection.project;
        let wanted = wanted_searches(&selection, args);
        let trials = rounds::trials(graph, &wanted);
        if trials.is_empty() {
            return Ok(Ok(selection));
        }
        let needed = graph.needed(&trials);
        let advance = |retry_failed| {
            let wishes = Wishes { retry_failed, ..Wishes::default() };
            rounds::advance(graph, &plan::plan(graph, &needed, wishes, cache, machine)?, &wanted, cache)
        };
        let mut progress = advance(std::mem::take(&mut retry_failed))?;
        if let Advance::Waits(first) = progress {
            let Ended { tally, leaked, .. } =
                execute(&selection.project, graph.needed(&first), Vec::new(), args, session, stop)?;
            if leaked {
                return Ok(Err(Exit::Failed));
            }
            if tally.interrupted || tally.failed > 0 {
                return Ok(Err(if tally.interrupted { Exit::Interrupted } else { Exit::Failed }));
            }
            progress = match advance(false)? {
                Advance::Waits(same) if same == first => {
                    bail!("a trial of a search failed for a passing reason: run again")
                }
                // What was decided from these trials holds; those that it brought come next.
                Advance::Waits(_) => continue,
                progress => progress,
            };
        }
        match progress {
            Advance::Waits(_) => unreachable!("who waits has run"),
            Advance::Over => return Ok(Ok(selection)),
            Advance::Blind(blind) => {
                tell_blind(&blind, &selection.project.text, args);
                return Ok(Err(Exit::Failed));
            }
            Advance::Decided(words) => words.iter().filter(|_| talks).for_each(|words| output::say(words)),
        }
        selection = match project::select(&args.pipeline, session, &args.stages, &args.force)? {
            Ok(selection) => selection,
            Err(exit) => return Ok(Err(exit)),
        };
        if leaks::stopped_by_graph(&selection.project.graph, &selection.needed, told) {
            return Ok(Err(Exit::Fault));
        }
    }
}

/// The searches that the named stages ask for as a whole.
fn wanted_searches(selection: &Selection, args: &RunArgs) -> BTreeSet<String> {
    let project = &selection.project;
    let undecided = Some(project).filter(|project| !project.graph.searches.is_empty());
    let undecided = undecided.and_then(|project| project.undecided(&args.pipeline));
    undecided.map(|graph| rounds::wanted(&graph, &args.stages)).unwrap_or_default()
}

/// Says of which searches some trials alone are needed: nothing is decided from these.
fn tell_undecided(selection: &Selection, wanted: &BTreeSet<String>) {
    let Selection { project: Project { graph, .. }, needed, .. } = selection;
    for search in graph.searches.iter().filter(|search| !wanted.contains(&search.stage)) {
        let trials = graph.named(&search.stage);
        let asked = trials.iter().filter(|id| needed[id.index()]).count();
        if asked > 0 {
            let (stage, all) = (&search.stage, trials.len());
            output::say(&format!("search of `{stage}`: nothing is decided from {asked} of its {all} trials"));
        }
    }
}

/// Draws what keeps a search from deciding.
fn tell_blind(blind: &Blind, text: &str, args: &RunArgs) {
    let Blind { stage, metric, place, figures } = blind;
    let message = format!("the search of `{stage}` decides by `{metric}`, which is a figure of none of its trials");
    let place = place.clone().map_or(Place::Whole, Place::File);
    let fault = Diagnostic::new(message).place(&place).label("no such figure");
    let has = if figures.is_empty() {
        "they have no figures".to_owned()
    } else {
        format!("they have {}", figures.join(", "))
    };
    project::draw(&[fault.help(has)], &args.pipeline.file, text);
}

fn refuse_commands(graph: &Graph, needed: &[bool]) -> Result<()> {
    let runs_program = |id: &&StageId| needed[id.index()] && graph.stages[**id].kind.runs_programs;
    match graph.order.iter().find(runs_program) {
        None => Ok(()),
        Some(&id) => {
            let Stage { name, kind, .. } = &graph.stages[id];
            bail!("stage `{name}` runs a program (kind `{}`), which --no-commands forbids; nothing was run", kind.name)
        }
    }
}

/// The first signal lets running stages stop in order, the second kills their workers.
pub fn heed_signals(stop: &Arc<Stop>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let first = !stop.requested();
            stop.request();
            output::say(match first {
                true => "stopping: running stages keep what they have; once more to kill them",
                false => "killing what still runs",
            });
        }
    });
    Ok(())
}

fn trials(count: usize) -> String {
    if count == 1 { "1 trial".to_owned() } else { format!("{} trials", output::count(count)) }
}

fn conclude(tally: &Tally, seconds: f64, args: &RunArgs, session: &Session) {
    let Tally { ran, reused, failed, passed_over, skipped, interrupted } = *tally;
    let (style, word) = match (interrupted, failed) {
        (true, _) => (ODD, "interrupted"),
        (false, 0) => (GOOD, "done"),
        (false, _) => (BAD, "failed"),
    };
    let mut counts = vec![format!("{} ran", output::count(ran)), format!("{} reused", output::count(reused))];
    if failed > 0 {
        counts.push(format!("{failed} failed"));
    }
    if passed_over > 0 {
        counts.push(format!("{} failed", trials(passed_over)));
    }
    if skipped > 0 {
        counts.push(format!("{skipped} not run"));
    }
    output::say(&format!("{} in {}: {}", paint(style, word), output::seconds(seconds), counts.join(", ")));
    let say_next = |what: &str, command: &str, tail: &[String]| {
        output::say(&format!("{what}: {}", project::again(command, &args.pipeline, session, tail)));
    };
    if passed_over > 0 {
        output::say(&format!(
            "{} of others in the same sweep failed, which is no failure of the run; --retry-failed tries again",
            trials(passed_over)
        ));
    }
    if interrupted {
        say_next("what is finished is kept; go on with", "run", &args.stages);
    } else if failed > 0 {
        say_next("what is finished is kept; when the cause is mended", "run", &args.stages);
    } else {
        say_next("look at a result with", "show", &["STAGE".to_owned()]);
    }
}
