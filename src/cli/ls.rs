//! `pacer ls` and `pacer show RUN`: the runs, and what one of them did.

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::plan::in_format;
use crate::cli::project::{self, store_folder};
use crate::cli::{Exit, Format, Session};
use crate::event::Event;
use crate::history::{self, Filter, Stands};
use crate::journal;
use crate::store::Store;
use crate::ui::output;
use crate::ui::progress::brief;
use crate::ui::runs;
use crate::ui::tables::Rows;

/// Runs that are listed where no limit is given.
const LISTED: usize = 20;

/// The arguments of `pacer ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only runs of pipelines whose name or path holds this
    #[arg(long, value_name = "TEXT")]
    pipeline: Option<String>,
    /// Only runs that stand so
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only runs since a day (2026-11-30, UTC) or for an age (12h, 7d, 8w)
    #[arg(long, value_name = "WHEN", value_parser = history::since)]
    since: Option<String>,
    /// The newest so many; 0 for all
    #[arg(long, value_name = "N", default_value_t = LISTED)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Running,
    Killed,
    Done,
    Failed,
    Interrupted,
}

/// Columns that a narrow terminal goes without, the first one first; a run's id tells its date. No error is shown without
/// the data that it rests on, for that of simulated runs says nothing about real hearts.
const SPARE: [&str; 9] = ["date (UTC)", "of", "split", "reused", "took", "ran", "failed", "best mae", "data"];

/// Lists runs.
pub fn ls(args: &LsArgs, session: &Session) -> Result<Exit> {
    let cache = project::cache(session, None)?;
    let filter = Filter {
        pipeline: args.pipeline.clone(),
        stands: args.state.map(|state| match state {
            State::Running => Stands::Running,
            State::Killed => Stands::Killed,
            State::Done => Stands::Done,
            State::Failed => Stands::Failed,
            State::Interrupted => Stands::Interrupted,
        }),
        since: args.since.clone(),
        limit: (args.limit > 0).then_some(args.limit),
    };
    let (found, more) = history::runs(&cache, &filter);
    if session.format == Format::Json {
        output::print_json(&json!({"v": 1, "runs": found, "more": more}))?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(runs::HEADER);
    for run in &found {
        rows.push(runs::row(run));
    }
    let left_out = if session.format == Format::Table { rows.fit(&SPARE) } else { Vec::new() };
    output::print(&in_format(&rows, session.format));
    if session.format == Format::Table {
        if !left_out.is_empty() {
            output::print(&format!("no room for {}\n", left_out.join(", ")));
        }
        let more = if more > 0 {
            format!("… and {} more: --limit 0 lists all\n", output::count(more))
        } else {
            String::new()
        };
        output::print(&more);
    }
    if found.is_empty() {
        output::say("no such run");
    }
    Ok(Exit::Done)
}

/// The run whose id is this, or begins so; none where there is none.
pub fn run_beginning(store: &Store, text: &str) -> Result<Option<String>> {
    let is_digits = text.len() >= 4 && text.chars().all(|c| c.is_ascii_digit() || "-.".contains(c));
    let runs: Vec<String> = journal::runs(store).into_iter().filter(|run| is_digits && run.starts_with(text)).collect();
    match runs.as_slice() {
        [] => Ok(None),
        [run] => Ok(Some(run.clone())),
        several => match several.iter().find(|run| *run == text) {
            Some(run) => Ok(Some(run.clone())),
            None => bail!("`{text}` begins {} runs, such as {}: give more digits", several.len(), several[0]),
        },
    }
}

/// Shows what a run did, stage by stage.
pub fn show_run(text: &str, session: &Session) -> Result<Exit> {
    let store = Store::open(&store_folder(session, None))?;
    let run = run_beginning(&store, text)?;
    let run = run.with_context(|| {
        format!("there is no run `{text}`: `pacer ls` lists them; of a pipeline, name a stage too: `pacer show {text} STAGE`")
    })?;
    let summary = journal::summary(&store, &run).with_context(|| format!("run `{run}` has no summary"))?;
    let events = journal::events(&store, &run)?;
    let stands = Stands::of(&store, &summary);
    let told: Vec<&Event> = events.iter().filter(|event| ending(event).is_some()).collect();
    if session.format == Format::Json {
        let stages = told.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
        output::print_json(&json!({"v": 1, "summary": summary, "stands": stands, "stages": stages}))?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(["stage", "state", "took", "what"]);
    for event in told {
        rows.rows.extend(ending(event));
    }
    if session.format == Format::Table {
        let took =
            if summary.seconds > 0.0 { format!(" in {}", output::seconds(summary.seconds)) } else { String::new() };
        let counts = format!("{} ran, {} reused, {} failed", summary.ran, summary.reused, summary.failed);
        output::print(&format!(
            "{run} of {} ({})\nbegun {} UTC, {}{took}: {counts}\n\n",
            summary.pipeline,
            summary.path.display(),
            history::date(&run),
            stands.name()
        ));
    }
    output::print(&in_format(&rows, session.format));
    Ok(Exit::Done)
}

/// The row of a stage that came to an end.
fn ending(event: &Event) -> Option<Vec<String>> {
    let row =
        |stage: &str, state: &str, took: String, what: String| Some(vec![stage.to_owned(), state.into(), took, what]);
    match event {
        Event::Finished { stage, seconds, metrics, .. } => {
            row(stage, "✓ ran", output::seconds(*seconds), brief(metrics))
        }
        Event::Reused { stage, key, .. } => row(stage, "✓ reused", String::new(), format!("key {}…", key.short())),
        Event::Failed { stage, message, .. } => row(stage, "✗ failed", String::new(), first_line(message)),
        Event::Skipped { stage, because } => row(stage, "- skipped", String::new(), because.clone()),
        _ => None,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
