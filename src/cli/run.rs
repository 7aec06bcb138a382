//! `pacer run`: runs a pipeline and shows it.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::locked;
use crate::cli::plan::print_plan;
use crate::cli::project::{self, Project, Selection};
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::engine::plan;
use crate::engine::run::{self, Options, Tally};
use crate::event::Event;
use crate::executor::Stop;
use crate::graph::{Graph, Stage, StageId};
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
    /// Afterwards write the lock file beside the pipeline: the key of each stage, the digests of its artifacts
    #[arg(long)]
    lock: bool,
    /// Fail where keys or artifacts are not those of the lock file
    #[arg(long, conflicts_with = "lock")]
    locked: bool,
}

/// Runs a pipeline.
pub fn run(args: &RunArgs, session: &Session) -> Result<Exit> {
    let selection = project::select(&args.pipeline, session, &args.stages, &args.force)?;
    let Selection { project: Project { graph, cache, machine }, needed, forced } = match selection {
        Ok(selection) => selection,
        Err(exit) => return Ok(exit),
    };
    if args.no_commands {
        refuse_commands(&graph, &needed)?;
    }
    let locked = if args.locked { Some(locked::required(&graph)?) } else { None };
    if let Some(file) = &locked {
        let plan = plan::plan(&graph, &needed, &forced, &cache, &machine)?;
        if locked::told_drift_of_plan(file, &graph, &plan) {
            return Ok(Exit::Failed);
        }
    }
    if args.dry_run {
        let plan = plan::plan(&graph, &needed, &forced, &cache, &machine)?;
        print_plan(&graph, &plan, session.format)?;
        return Ok(Exit::Done);
    }
    let options = Options {
        jobs: args.jobs.unwrap_or(machine.threads).max(1),
        keep_going: args.keep_going,
        retry_failed: args.retry_failed,
        forced,
        needed,
        hand_on: !args.strict_sync,
    };
    let stop = Arc::new(Stop::default());
    heed_signals(&stop)?;
    let style = match (session.format, session.quiet) {
        (Format::Json, _) => Style::Json,
        (_, true) => Style::Quiet,
        (_, false) => Style::Human,
    };
    let mut progress = Progress::new(style);
    let mut seconds = 0.0;
    let mut show = |event: &Event| {
        if let Event::Done { seconds: took, .. } = event {
            seconds = *took;
        }
        progress.show(event);
    };
    let (tally, results) = run::run(&graph, &cache, &machine, &options, &stop, &mut show);
    let drifted = locked.is_some_and(|file| locked::told_drift_of_results(&file, &graph, &results));
    if args.lock && tally.failed == 0 && !tally.interrupted {
        locked::write(&graph, &results)?;
    }
    // The process is about to end; to give the memory of a large graph back piece by piece would only take time.
    std::mem::forget((graph, results));
    if style == Style::Human {
        conclude(&tally, seconds, args, session);
    }
    Ok(match tally {
        Tally { interrupted: true, .. } => Exit::Interrupted,
        _ if drifted => Exit::Failed,
        Tally { failed: 0, .. } => Exit::Done,
        _ => Exit::Failed,
    })
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
