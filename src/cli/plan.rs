//! `pacer plan`, `pacer explain` and `pacer graph`: what would be done, why, and how it hangs together.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::cli::leaks;
use crate::cli::project::{self, Project, Selection};
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::engine::forward::{self, Outlook};
use crate::engine::plan::{self, Plan, PlanState, Planned, Wishes};
use crate::engine::reason::{Cause, Reason};
use crate::engine::rounds;
use crate::graph::{Graph, StageId};
use crate::index::Index;
use crate::ui::tables::Rows;
use crate::ui::{draw, groups, output};

/// The arguments of `pacer plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Stages to plan for, with what they need [default: all]
    stages: Vec<String>,
    /// Plan as if the result of a stage were not there; may be given again
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Plan as if no trial had failed before
    #[arg(long)]
    retry_failed: bool,
}

/// The arguments of `pacer explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage
    #[arg(required_unless_present = "changing")]
    stage: Option<String>,
    /// Look ahead: what a change of a stage, of a parameter (STAGE.PARAMETER) or of one of [params] would rerun
    #[arg(long, value_name = "NAME", conflicts_with = "stage")]
    changing: Option<String>,
}

/// The arguments of `pacer graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The language of the drawing
    #[arg(long = "as", value_enum, default_value_t = Drawing::Text)]
    drawing: Drawing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Drawing {
    Text,
    Dot,
    Mermaid,
    Svg,
}

/// Says what a run would do.
pub fn plan(args: &PlanArgs, session: &Session) -> Result<Exit> {
    let selection = project::select(&args.pipeline, session, &args.stages, &args.force)?;
    let Selection { project: Project { graph, cache, machine, .. }, needed, forced } = match selection {
        Ok(selection) => selection,
        Err(exit) => return Ok(exit),
    };
    let wishes = Wishes { forced: &forced, retry_failed: args.retry_failed };
    let plan = plan::plan(&graph, &needed, wishes, &cache, &machine)?;
    tell_plan(&graph, &needed, &plan, &cache, session.format)?;
    Ok(Exit::Done)
}

/// Prints a plan, and to people what would leak.
pub fn tell_plan(graph: &Graph, needed: &[bool], plan: &Plan, cache: &Cache, format: Format) -> Result<()> {
    let checks = leaks::of_plan(graph, needed, plan, cache);
    if format == Format::Json {
        let row = |planned: &Planned| json!({"stage": graph.stages[planned.id].name, "state": planned.state, "reason": reason_text(planned)});
        let stages: Vec<_> = plan.stages.iter().map(row).collect();
        return output::print_json(&json!({"v": 1, "stages": stages, "checks": checks}));
    }
    print_plan(graph, plan, format);
    if format == Format::Table {
        rounds::doubts(graph, plan, cache).iter().for_each(|doubt| output::print(&format!("{doubt}\n")));
        leaks::tell_plan(&checks);
    }
    Ok(())
}

fn print_plan(graph: &Graph, plan: &Plan, format: Format) {
    let mut rows = Rows::new(["stage", "would be", "why"]);
    for groups::Group { name, members } in groups::group(graph, &plan.stages, |it| it.id, |it| it.state) {
        let state = match members[0].state {
            PlanState::Reused => "✓ reused",
            PlanState::Run => "▸ run",
            PlanState::Maybe => "? run, unless its input comes out unchanged",
            PlanState::Failed => "✗ not run",
        };
        let reason = reason_text(members[0]);
        let alike = members.iter().all(|other| reason_text(other) == reason);
        let reason =
            if alike { reason } else { format!("for instance {}: {reason}", graph.stages[members[0].id].name) };
        rows.push([name, state.to_owned(), reason]);
    }
    output::print(&in_format(&rows, format));
    if format == Format::Table {
        let count = |state| plan.stages.iter().filter(|planned| planned.state == state).count();
        let (reused, run, maybe) = (count(PlanState::Reused), count(PlanState::Run), count(PlanState::Maybe));
        let outlook = forward::of_plan(plan);
        let time = if outlook.stages.is_empty() { String::new() } else { format!("; {}", in_time(&outlook)) };
        let failed = match count(PlanState::Failed) {
            0 => String::new(),
            failed => format!(", {failed} not run for failures (--retry-failed tries again)"),
        };
        output::print(&format!("\n{reused} reused, {run} to run, {maybe} to run unless unchanged{failed}{time}\n"));
    }
}

/// Rows in the form that was asked for.
pub fn in_format(rows: &Rows, format: Format) -> String {
    match format {
        Format::Table | Format::Json => rows.text(),
        Format::Markdown => rows.markdown(),
        Format::Csv => rows.csv(),
    }
}

fn reason_text(planned: &Planned) -> String {
    match &planned.reason {
        None => "key and artifacts are there".to_owned(),
        Some(reason) => reason.to_string(),
    }
}

/// Says why a stage runs or is reused.
pub fn explain(args: &ExplainArgs, session: &Session) -> Result<Exit> {
    let Project { graph, cache, machine, .. } = match project::open(&args.pipeline, session)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let stage = match (&args.stage, &args.changing) {
        (Some(stage), _) => stage,
        (None, changing) => return look_ahead(&graph, &cache, changing.as_deref().unwrap_or_default(), session.format),
    };
    let targets = match project::targets(&graph, std::slice::from_ref(stage)) {
        Ok(targets) => targets,
        Err(exit) => return Ok(exit),
    };
    let plan = plan::plan(&graph, &graph.needed(&targets), Wishes::default(), &cache, &machine)?;
    if targets.len() > 1 {
        return explain_trials(&graph, &plan, &targets, session.format);
    }
    let target = targets[0];
    let planned = plan.stages.iter().find(|planned| planned.id == target).expect("a target is planned");
    if session.format == Format::Json {
        output::print_json(&explanation(&graph, planned))?;
        return Ok(Exit::Done);
    }
    let mut text = headline(&graph, planned);
    // The chain: a stage that waits for another is explained by the first that runs.
    for upstream in plan.stages.iter().filter(|upstream| upstream.id != target && upstream.state == PlanState::Run) {
        if planned.state == PlanState::Maybe {
            text.push_str(&headline(&graph, upstream));
        }
    }
    let outlook = forward::after_change(&graph, &[target], &Index::load(&cache.store, &graph.name, &graph.path));
    text.push_str(&format!("a change of `{stage}` reruns {}\n", in_stages(&outlook)));
    output::print(&text);
    Ok(Exit::Done)
}

/// Explains the trials of a sweep: those that stand alike and for like reasons by one of them.
fn explain_trials(graph: &Graph, plan: &Plan, targets: &[StageId], format: Format) -> Result<Exit> {
    let trials: Vec<_> = plan.stages.iter().filter(|planned| targets.contains(&planned.id)).collect();
    if format == Format::Json {
        let rows: Vec<_> = trials.iter().map(|planned| explanation(graph, planned)).collect();
        output::print_json(&json!({"v": 1, "trials": rows}))?;
        return Ok(Exit::Done);
    }
    let mut told: Vec<(PlanState, Option<Reason>, usize, &Planned)> = Vec::new();
    for planned in trials {
        match told.iter_mut().find(|(state, reason, ..)| *state == planned.state && *reason == planned.reason) {
            Some((_, _, count, _)) => *count += 1,
            None => told.push((planned.state, planned.reason.clone(), 1, planned)),
        }
    }
    for (_, _, count, planned) in told {
        let more = if count == 1 { String::new() } else { format!("and {} more trials likewise\n", count - 1) };
        output::print(&(headline(graph, planned) + &more));
    }
    Ok(Exit::Done)
}

/// Says what a change would rerun.
fn look_ahead(graph: &Graph, cache: &Cache, name: &str, format: Format) -> Result<Exit> {
    let changed = forward::named(graph, name);
    if changed.is_empty() {
        bail!("`{name}` is no stage, no parameter of a stage (STAGE.PARAMETER) and none of [params] of this pipeline");
    }
    let index = Index::load(&cache.store, &graph.name, &graph.path);
    let outlook = forward::after_change(graph, &changed, &index);
    let row = |id: &StageId| (&graph.stages[*id].name, index.seconds(&graph.stages[*id].name));
    if format == Format::Json {
        let stages = outlook.stages.iter().map(row).map(|(stage, seconds)| json!({"stage": stage, "seconds": seconds}));
        output::print_json(&json!({
            "v": 1, "changing": name, "stages": stages.collect::<Vec<_>>(), "seconds": outlook.seconds,
            "unknown": outlook.unknown,
        }))?;
        return Ok(Exit::Done);
    }
    let mut rows = Rows::new(["stage", "took"]);
    for (stage, seconds) in outlook.stages.iter().map(row) {
        rows.push([stage.clone(), seconds.map_or_else(|| "unknown".to_owned(), output::seconds)]);
    }
    output::print(&in_format(&rows, format));
    if format == Format::Table {
        output::print(&format!("\nchanging `{name}` reruns {}, unless it comes out unchanged\n", in_stages(&outlook)));
    }
    Ok(Exit::Done)
}

fn in_stages(outlook: &Outlook) -> String {
    let stages = match outlook.stages.len() {
        1 => "1 stage".to_owned(),
        many => format!("{many} stages"),
    };
    format!("{stages}, {}", in_time(outlook))
}

fn in_time(outlook: &Outlook) -> String {
    let about = format!("about {} from past times", output::seconds(outlook.seconds));
    match outlook.unknown {
        0 => about,
        unknown if unknown == outlook.stages.len() => "time unknown".to_owned(),
        unknown => format!("{about}, {unknown} of them unknown"),
    }
}

fn headline(graph: &Graph, planned: &Planned) -> String {
    let name = &graph.stages[planned.id].name;
    let key = planned.prepared.as_ref().map(|prepared| prepared.key.short());
    let key = key.map_or_else(String::new, |key| format!(" (key {key}…)"));
    match (&planned.state, &planned.reason) {
        (PlanState::Failed, Some(reason)) => format!("`{name}` is not run{key}: {reason}\n"),
        (PlanState::Reused, _) => format!("`{name}` is reused: its key{key} has a whole result\n"),
        (_, Some(Reason::Changed { causes, beginning })) => {
            let begins = beginning.as_ref().map_or_else(String::new, |beginning| format!("  it {beginning}\n"));
            let leaves = leaves(causes);
            format!("`{name}` runs{key}, for these changed since its nearest earlier result:\n{leaves}{begins}")
        }
        (_, Some(Reason::Upstream { stage, own })) if !own.is_empty() => {
            let leaves = leaves(own);
            format!("`{name}` reads from `{stage}`, which runs first; of its own, these changed:\n{leaves}")
        }
        (_, Some(reason)) => format!("`{name}` runs{key}: {reason}\n"),
        (_, None) => format!("`{name}` runs{key}\n"),
    }
}

fn leaves(causes: &[Cause]) -> String {
    causes.iter().map(|cause| format!("  {}\n", leaf(cause))).collect()
}

fn leaf(cause: &Cause) -> String {
    let or_nothing = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let origin = match (&cause.origin, &cause.made_by) {
        (Some(origin), Some(maker)) => format!("  ({origin}, from {maker})"),
        (Some(origin), None) => format!("  ({origin})"),
        (None, _) if cause.change.path.starts_with("params.") => "  (default)".to_owned(),
        (None, _) => String::new(),
    };
    format!("{}: {} → {}{origin}", cause.change.path, or_nothing(&cause.change.old), or_nothing(&cause.change.new))
}

fn explanation(graph: &Graph, planned: &Planned) -> Value {
    let changes: Vec<_> = match &planned.reason {
        Some(Reason::Changed { causes, .. } | Reason::Upstream { own: causes, .. }) => causes
            .iter()
            .map(|cause| {
                json!({
                    "path": cause.change.path,
                    "old": cause.change.old,
                    "new": cause.change.new,
                    "origin": cause.origin.as_ref().map(ToString::to_string),
                })
            })
            .collect(),
        _ => Vec::new(),
    };
    json!({
        "v": 1,
        "stage": graph.stages[planned.id].name,
        "state": planned.state,
        "reason": reason_text(planned),
        "changes": changes,
        "key": planned.prepared.as_ref().map(|prepared| prepared.key),
        "record": planned.prepared.as_ref().map(|prepared| prepared.record.json()),
    })
}

/// Draws the graph.
pub fn graph(args: &GraphArgs, session: &Session) -> Result<Exit> {
    let graph = match project::graph(&args.pipeline, session)? {
        Ok(graph) => graph,
        Err(exit) => return Ok(exit),
    };
    if session.format == Format::Json {
        let stage = |&id: &StageId| {
            let stage = &graph.stages[id];
            let reads: Vec<_> = graph.producers(id).map(|producer| graph.stages[producer].name.clone()).collect();
            json!({"stage": stage.name, "kind": stage.kind.name, "reads": reads})
        };
        output::print_json(&json!({"v": 1, "stages": graph.order.iter().map(stage).collect::<Vec<_>>()}))?;
        return Ok(Exit::Done);
    }
    output::print(&match args.drawing {
        Drawing::Text => draw::text(&graph),
        Drawing::Dot => draw::dot(&graph),
        Drawing::Mermaid => draw::mermaid(&graph),
        Drawing::Svg => draw::svg(&graph)?,
    });
    Ok(Exit::Done)
}
