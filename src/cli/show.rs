//! `pacer show` and `pacer log`: what there is, who made it, what it said.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use pacer_stages::artifact::ArtifactType;
use pacer_stages::model::Model;
use pacer_stages::sequences::Sequences;
use pacer_stages::table::Table;
use serde_json::{Value, json};

use crate::cache::{Artifact, Cache, StageResult};
use crate::cli::ls;
use crate::cli::plan::in_format;
use crate::cli::project::{self, Project};
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::engine::plan::{self, Wishes};
use crate::graph::{self, StageId};
use crate::journal;
use crate::store::Store;
use crate::ui::output;
use crate::ui::tables::Rows;

/// Rows of a table shown on the terminal.
const SHOWN_ROWS: usize = 40;

/// The arguments of `pacer show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage, or STAGE.ARTIFACT; without it the pipeline is a run, by its id
    stage: Option<String>,
    /// Write the artifact to this path; a table becomes CSV if the path ends so
    #[arg(long, value_name = "PATH")]
    export: Option<PathBuf>,
}

/// The arguments of `pacer log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage
    stage: String,
}

/// Shows a result or an artifact.
pub fn show(args: &ShowArgs, session: &Session) -> Result<Exit> {
    let Some(stage) = &args.stage else { return ls::show_run(&args.pipeline.file.to_string_lossy(), session) };
    let project = match project::open(&args.pipeline, session)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let (stage, artifact) = graph::stage_and_artifact(stage);
    let id = match project::target(&project.graph, stage)? {
        Ok(id) => id,
        Err(exit) => return Ok(exit),
    };
    let result = current_result(&project, id, &args.pipeline, session)?;
    let cache = &project.cache;
    let artifact = match artifact {
        Some(name) => Some(named(&result, stage, name)?),
        None if args.export.is_some() && result.artifacts.len() == 1 => result.artifacts.first(),
        None if args.export.is_some() => bail!("`{stage}` has several artifacts: say which, `{stage}.NAME`"),
        None => None,
    };
    match (artifact, &args.export) {
        (Some(artifact), Some(path)) => export(artifact, &cache.blob(artifact)?, path)?,
        (Some(artifact), None) => show_artifact(artifact, cache, session.format)?,
        (None, _) => show_result(&project, id, &result, &args.pipeline, session)?,
    }
    Ok(Exit::Done)
}

/// The result that a run would reuse now.
pub fn current_result(project: &Project, id: StageId, args: &PipelineArgs, session: &Session) -> Result<StageResult> {
    let Project { graph, cache, machine, .. } = project;
    let plan = plan::plan(graph, &graph.needed(&[id]), Wishes::default(), cache, machine)?;
    let name = &graph.stages[id].name;
    let hit = plan.results.get(&id).with_context(|| {
        let command = project::again("run", args, session, std::slice::from_ref(name));
        format!("`{name}` has no result for these parameters and inputs; make it with: {command}")
    })?;
    cache.result(&hit.key)
}

fn named<'a>(result: &'a StageResult, stage: &str, name: &str) -> Result<&'a Artifact> {
    let found = result.artifacts.iter().find(|artifact| artifact.name == name);
    found.with_context(|| {
        let known: Vec<_> = result.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
        format!("`{stage}` has no artifact `{name}`; it has: {}", known.join(", "))
    })
}

fn show_result(
    project: &Project,
    id: StageId,
    result: &StageResult,
    pipeline: &PipelineArgs,
    session: &Session,
) -> Result<()> {
    let format = session.format;
    let stage = &project.graph.stages[id];
    let store = &project.cache.store;
    if format == Format::Json {
        let artifacts = result.artifacts.iter().map(|artifact| {
            json!({
                "name": artifact.name,
                "type": artifact.artifact,
                "digest": artifact.digest,
                "bytes": artifact.bytes,
                "path": store.object_path(&artifact.digest),
                "here": store.has(&artifact.digest, artifact.bytes),
            })
        });
        return output::print_json(&json!({
            "v": 1,
            "stage": stage.name,
            "kind": stage.kind.name,
            "key": result.key,
            "artifacts": artifacts.collect::<Vec<_>>(),
            "metrics": result.metrics,
            "warnings": result.warnings,
            "seconds": result.seconds,
            "peak_bytes": result.peak_bytes,
            "record": result.record,
        }));
    }
    let memory =
        result.peak_bytes.map_or_else(String::new, |peak| format!(", at most {} of memory", output::bytes(peak)));
    let mut text = format!("{} (kind {}, key {})\n", stage.name, stage.kind.name, result.key);
    let made = i64::try_from(result.finished).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    let made =
        made.map_or_else(|| "at an unknown time".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    text.push_str(&format!("made {made} in {}{memory}\n\n", output::seconds(result.seconds)));
    let mut rows = Rows::new(["artifact", "type", "size", "path"]);
    for artifact in &result.artifacts {
        let path = match store.has(&artifact.digest, artifact.bytes) {
            true => store.object_path(&artifact.digest).display().to_string(),
            false => {
                let name = format!("{}.{}", stage.name, artifact.name);
                format!("in the remote: {}", project::again("pull", pipeline, session, &[name]))
            }
        };
        rows.push([artifact.name.clone(), artifact.artifact.to_string(), output::bytes(artifact.bytes), path]);
    }
    text.push_str(&in_format(&rows, format));
    text.push('\n');
    text.push_str(&metrics_text(&Value::Object(result.metrics.clone()), format));
    for warning in &result.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    output::print(&text);
    Ok(())
}

/// Figures as rows: one for each name, or a table where each name has figures of its own.
fn metrics_text(metrics: &Value, format: Format) -> String {
    let Some(entries) = metrics.as_object().filter(|entries| !entries.is_empty()) else { return String::new() };
    if entries.values().all(is_plain_row) {
        let mut header = vec!["name".to_owned()];
        for figures in entries.values().filter_map(Value::as_object) {
            header.extend(figures.keys().filter(|key| !header.contains(key)).cloned().collect::<Vec<_>>());
        }
        let row = |(name, figures): (&String, &Value)| {
            let cells = header[1..].iter().map(|key| figure(&figures[key]));
            std::iter::once(name.clone()).chain(cells).collect()
        };
        let rows = entries.iter().map(row).collect();
        return in_format(&Rows { rows, header: header.clone() }, format);
    }
    let mut rows = Rows::new(["figure", "value"]);
    flatten("", metrics, &mut rows);
    in_format(&rows, format)
}

/// Whether a value is an object of plain figures, fit to be one row of a table.
fn is_plain_row(value: &Value) -> bool {
    value.as_object().is_some_and(|figures| figures.values().all(|figure| !figure.is_object() && !figure.is_array()))
}

/// A row for each plain figure, nested ones under dotted names.
fn flatten(prefix: &str, value: &Value, rows: &mut Rows) {
    match value.as_object() {
        Some(entries) => entries.iter().for_each(|(name, value)| {
            let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            flatten(&name, value, rows);
        }),
        None => rows.push([prefix.to_owned(), figure(value)]),
    }
}

fn figure(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => format!("{:.3}", number.as_f64().unwrap_or(f64::NAN)),
        other => other.to_string(),
    }
}

fn show_artifact(artifact: &Artifact, cache: &Cache, format: Format) -> Result<()> {
    let path = cache.blob(artifact)?;
    if format == Format::Json {
        return output::print_json(&json!({
            "v": 1,
            "name": artifact.name,
            "type": artifact.artifact,
            "digest": artifact.digest,
            "bytes": artifact.bytes,
            "path": path,
            "content": content(artifact, &path)?,
        }));
    }
    match artifact.artifact {
        ArtifactType::Table | ArtifactType::Split => show_table(&path, format),
        ArtifactType::Metrics => {
            output::print(&metrics_text(&content(artifact, &path)?, format));
            Ok(())
        }
        ArtifactType::Figure | ArtifactType::Model | ArtifactType::Sequences => {
            output::print_json(&content(artifact, &path)?)
        }
        ArtifactType::Page | ArtifactType::Picture => {
            let (size, extension) = (output::bytes(artifact.bytes), artifact.artifact.extension());
            let what = format!("{} ({}, {size})", artifact.name, artifact.artifact);
            output::print(&format!("{what}\nto open it in a browser: --export {}.{extension}\n", artifact.name));
            Ok(())
        }
        ArtifactType::Workouts | ArtifactType::Predictions | ArtifactType::File => {
            let size = output::bytes(artifact.bytes);
            output::print(&format!("{} ({}, {size})\n{}\n", artifact.name, artifact.artifact, path.display()));
            Ok(())
        }
    }
}

/// What can be said of an artifact as JSON; null for those that only their file holds.
fn content(artifact: &Artifact, path: &Path) -> Result<Value> {
    Ok(match artifact.artifact {
        ArtifactType::Table | ArtifactType::Split => {
            let rows = table_rows(&Table::read(path)?);
            json!({"columns": rows.header, "rows": rows.rows})
        }
        ArtifactType::Metrics | ArtifactType::Figure => {
            let text = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("`{}` is no JSON", path.display()))?
        }
        ArtifactType::Model => serde_json::to_value(Model::read(path)?.config)?,
        ArtifactType::Sequences => {
            let sequences = Sequences::read(path)?;
            json!({"workouts": sequences.len(), "steps": sequences.target.len(), "header": sequences.header})
        }
        ArtifactType::Workouts
        | ArtifactType::Predictions
        | ArtifactType::Page
        | ArtifactType::Picture
        | ArtifactType::File => Value::Null,
    })
}

fn table_rows(table: &Table) -> Rows {
    let rows = (0..table.rows()).map(|row| table.cells(row)).collect();
    Rows { header: table.columns().iter().map(|column| column.name.clone()).collect(), rows }
}

fn show_table(path: &Path, format: Format) -> Result<()> {
    let mut rows = table_rows(&Table::read(path)?);
    let all = rows.rows.len();
    if format == Format::Table {
        rows.rows.truncate(SHOWN_ROWS);
    }
    output::print(&in_format(&rows, format));
    if rows.rows.len() < all {
        output::print(&format!("… and {} more rows; all of them with --format csv\n", all - rows.rows.len()));
    }
    Ok(())
}

fn export(artifact: &Artifact, object: &Path, path: &Path) -> Result<()> {
    let is_table = matches!(artifact.artifact, ArtifactType::Table | ArtifactType::Split);
    let as_csv = is_table && path.extension().is_some_and(|extension| extension == "csv");
    let written = match as_csv {
        true => std::fs::write(path, table_rows(&Table::read(object)?).csv()),
        // Read and written anew: a copy would be read-only like the blob.
        false => std::fs::read(object).and_then(|bytes| std::fs::write(path, bytes)),
    };
    written.with_context(|| format!("`{}` cannot be written", path.display()))?;
    output::say(&format!("wrote {}", path.display()));
    Ok(())
}

/// Prints the newest log of a stage.
pub fn log(args: &LogArgs, session: &Session) -> Result<Exit> {
    let graph = match project::graph(&args.pipeline, session)? {
        Ok(graph) => graph,
        Err(exit) => return Ok(exit),
    };
    let stage = match project::target(&graph, &args.stage)? {
        Ok(id) => &graph.stages[id].name,
        Err(exit) => return Ok(exit),
    };
    let store = Store::open(&project::store_folder(session, Some(&args.pipeline.file)))?;
    match journal::newest_log(&store, &args.pipeline.file, stage) {
        Some((run, log)) if session.format == Format::Json => {
            let text = std::fs::read(&log).with_context(|| format!("`{}` cannot be read", log.display()))?;
            let text = String::from_utf8_lossy(&text);
            output::print_json(&json!({"v": 1, "run": run, "path": log, "text": text}))?;
        }
        Some((run, log)) if std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0) => {
            output::say(&format!("run {run}, {}", log.display()));
            let text = std::fs::read(&log).with_context(|| format!("`{}` cannot be read", log.display()))?;
            output::print(&String::from_utf8_lossy(&text));
        }
        _ => output::say(&format!("`{}` wrote no log: it was reused, or had nothing to say", args.stage)),
    }
    Ok(Exit::Done)
}
