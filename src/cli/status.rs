//! `pacer status`: which stages of a pipeline are done, and what a run of it that is under way does now. Unaware of how
//! results come to be.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cli::plan::in_format;
use crate::cli::project::{self, Project};
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::engine::plan::{self, Plan, PlanState, Wishes};
use crate::graph::Graph;
use crate::journal::{self, RunState, Summary};
use crate::serve::follow::{Course, Far, Follower, Running};
use crate::ui::tables::Rows;
use crate::ui::{groups, output};

/// Running stages that are listed.
const LISTED: usize = 40;

/// The arguments of `pacer status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Shows how a pipeline and its newest run stand.
pub fn status(args: &StatusArgs, session: &Session) -> Result<Exit> {
    let Project { graph, cache, machine, .. } = match project::open(&args.pipeline, session)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let plan = plan::plan(&graph, &graph.needed(&[]), Wishes::default(), &cache, &machine)?;
    let newest = journal::runs(&cache.store)
        .into_iter()
        .find_map(|run| journal::summary(&cache.store, &run).filter(|summary| summary.pipeline == graph.name));
    let course = newest.as_ref().and_then(|run| going_on(&cache, run));
    // One that is not under way may have ended since it was looked up, in order.
    let again = |run: Summary| journal::summary(&cache.store, &run.run).unwrap_or(run);
    let newest = if course.is_none() { newest.map(again) } else { newest };
    if session.format == Format::Json {
        let stages =
            plan.stages.iter().map(|planned| json!({"stage": graph.stages[planned.id].name, "state": planned.state}));
        let running = course.map_or(Value::Null, |course| running_json(&course));
        let stages = stages.collect::<Vec<_>>();
        output::print_json(&json!({"v": 1, "stages": stages, "newest_run": newest, "running": running}))?;
        return Ok(Exit::Done);
    }
    output::print(&in_format(&stages(&graph, &plan), session.format));
    if let Some(run) = newest {
        output::print(&format!("\nnewest run {} {}\n", run.run, in_words(&run, course.as_ref())));
    }
    if let Some(course) = course.filter(|course| !course.running.is_empty()) {
        output::print(&format!("\n{}", in_format(&running(&course), session.format)));
        let hidden = course.running.len().saturating_sub(LISTED);
        let more = if hidden > 0 { format!("… and {} more\n", output::count(hidden)) } else { String::new() };
        output::print(&more);
    }
    Ok(Exit::Done)
}

/// What a run has told, if it is under way.
fn going_on(cache: &Cache, run: &Summary) -> Option<Course> {
    let is_alive = run.state == RunState::Begun && journal::is_alive(&cache.store, &run.run);
    is_alive.then(|| Follower::new(cache, &run.run)).flatten().map(|follower| follower.course)
}

fn stages(graph: &Graph, plan: &Plan) -> Rows {
    let mut rows = Rows::new(["stage", "stands", "took", "size"]);
    for groups::Group { name, members } in groups::group(graph, &plan.stages, |it| it.id, |it| it.state) {
        let stands = match members[0].state {
            PlanState::Reused => "✓ done",
            PlanState::Run => "▸ to run",
            PlanState::Maybe => "? waits",
            PlanState::Failed => "✗ failed",
        };
        let results: Vec<_> = members.iter().filter_map(|planned| plan.results.get(&planned.id)).collect();
        let or_nothing = |text: String| if results.is_empty() { String::new() } else { text };
        let took = or_nothing(output::seconds(results.iter().map(|result| result.seconds).sum()));
        let size = results.iter().flat_map(|result| &result.artifacts).map(|artifact| artifact.bytes).sum();
        rows.push([name, stands.to_owned(), took, or_nothing(output::bytes(size))]);
    }
    rows
}

fn in_words(run: &Summary, course: Option<&Course>) -> String {
    match (run.state, course) {
        (RunState::Begun, Some(course)) => format!("is under way: {}", course.standing.words(course.running.len())),
        (RunState::Begun, None) => "was killed".to_owned(),
        (RunState::Done, _) => format!("ended well in {}", output::seconds(run.seconds)),
        (RunState::Failed, _) => format!("failed after {}", output::seconds(run.seconds)),
        (RunState::Interrupted, _) => format!("was interrupted after {}", output::seconds(run.seconds)),
    }
}

/// The stages that run now, with where each is.
fn running(course: &Course) -> Rows {
    let mut rows = Rows::new(["runs now", "where", "how far"]);
    for (name, Running { device, place, far, .. }) in course.running.iter().take(LISTED) {
        let far = far.as_ref().map_or_else(String::new, how_far);
        rows.push([name.clone(), place.as_ref().unwrap_or(device).clone(), far]);
    }
    rows
}

fn how_far(far: &Far) -> String {
    let of = far.total.map_or_else(String::new, |total| format!(" of {total}"));
    let message = if far.message.is_empty() { String::new() } else { format!(", {}", far.message) };
    format!("{}{of} {}{message}", far.done, far.unit)
}

fn running_json(course: &Course) -> Value {
    let row = |(name, running): (&String, &Running)| {
        let far = running.far.as_ref().map(|far| json!({"done": far.done, "total": far.total, "unit": far.unit}));
        json!({"stage": name, "device": running.device, "place": running.place, "far": far})
    };
    course.running.iter().map(row).collect()
}
