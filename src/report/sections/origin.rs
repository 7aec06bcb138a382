//! Where a result comes from: its data, the stages of the run, its artifacts, and how to make it again. Unaware of HTML.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pacer_stages::table::{Table, Values};
use serde_json::Value;

use crate::report::figures::data::{Bar, bars};
use crate::report::figures::graph::{Node, graph};
use crate::report::figures::timeline::{Span, timeline};
use crate::report::gather::{Run, StageRun, State};
use crate::report::sections::{Stored, figure};
use crate::report::{Block, Grid, Mark};

/// Rows of a table that a page can hold.
const ROWS: usize = 400;

/// Tables of data, with which bars are drawn of them: artifact, the columns of names, of lengths and of words.
const TABLES: [(&str, &str, &str, [&str; 3]); 4] = [
    (
        "funnel",
        "The funnel of the filters",
        "Workouts that each filter left, in their order.",
        ["rule", "out", "removed"],
    ),
    (
        "ladder",
        "Correlation of heart rate, step by step",
        "Mean r within workouts against speed as imported, then against what cleaning, slope, lag and kinetics give.",
        ["step", "r within workouts", "heart rate against"],
    ),
    (
        "by_year",
        "Density by year",
        "Heart rates a minute of recorded time.",
        ["year", "heart rates a minute", "workouts"],
    ),
    ("shift", "Shift between years", "Difference to the first year, by measure.", ["measure", "difference", "year"]),
];

/// Funnels, correlations, density and shifts of the stages that have them.
pub fn data(stored: &Stored<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut seen = BTreeSet::new();
    for stage in stored.runs.iter().flat_map(|run| &run.stages) {
        if !stage.result.as_ref().is_some_and(|result| seen.insert(result.key)) {
            continue;
        }
        for (artifact, title, told, columns) in TABLES {
            let Some(table) = stage.table(artifact, stored.cache) else { continue };
            blocks.extend(figure(shown(&format!("{title}: {}", stage.name), told, columns, &table)));
        }
    }
    blocks
}

fn shown(title: &str, told: &str, [name, length, words]: [&str; 3], table: &Table) -> Option<crate::report::Figure> {
    let place = |wanted: &str| table.columns().iter().position(|column| column.name == wanted);
    let (name_at, words_at) = (place(name)?, place(words)?);
    let lengths: Vec<Option<f64>> = match &table.columns()[place(length)?].values {
        Values::Float(values) => values.clone(),
        Values::Int(values) => values.iter().map(|value| value.map(|value| value as f64)).collect(),
        _ => return None,
    };
    let grid = grid(table);
    let several = place("source").map(|source| move |cells: &[String]| format!("{} · ", cells[source]));
    let bar = |(cells, value): (&Vec<String>, &Option<f64>)| {
        let value = (*value)?;
        let source = several.as_ref().map_or_else(String::new, |source| source(cells));
        let told = format!("{}, {words} {}", number(value), cells[words_at]);
        let told = if words == "heart rate against" { format!("{}, {}", number(value), cells[words_at]) } else { told };
        Some(Bar { name: format!("{source}{}", cells[name_at]), value, words: told })
    };
    let drawn: Vec<Bar> = grid.rows.iter().zip(&lengths).filter_map(bar).collect();
    bars(title, told, &drawn, grid)
}

fn number(value: f64) -> String {
    let text = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    text.replace('-', "−")
}

fn grid(table: &Table) -> Grid {
    let header = table.columns().iter().map(|column| column.name.clone()).collect();
    Grid { header, rows: (0..table.rows().min(ROWS)).map(|row| table.cells(row)).collect() }
}

/// The graph, the time line and what failed.
pub fn run(stored: &Stored<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for run in &stored.runs {
        if stored.runs.len() > 1 {
            blocks.push(Block::Heading { words: format!("Run {}", run.summary.run) });
        }
        let summary = &run.summary;
        blocks.push(Block::words(format!(
            "{} stages ran, {} were reused, {} failed, {} were skipped, in {:.1} s.",
            summary.ran, summary.reused, summary.failed, summary.skipped, summary.seconds
        )));
        for stage in &run.stages {
            if let State::Failed(words) | State::Skipped(words) = &stage.state {
                let words = format!("{} ({}): {words}", stage.name, stage.state.word());
                blocks.push(Block::Check { mark: Mark::Bad, words });
            }
        }
        blocks.extend(figure(graph(&nodes(run))));
        blocks.extend(figure(timeline(&spans(run))));
    }
    blocks
}

/// The stages with what they read, which the digests in their records tell.
fn nodes(run: &Run) -> Vec<Node> {
    let mut made_by: HashMap<String, usize> = HashMap::new();
    for (at, stage) in run.stages.iter().enumerate() {
        for artifact in stage.result.iter().flat_map(|result| &result.artifacts) {
            made_by.entry(artifact.digest.hex()).or_insert(at);
        }
    }
    let node = |(at, stage): (usize, &StageRun)| {
        let mut digests = Vec::new();
        stage.result.iter().for_each(|result| texts(&result.record["inputs"], &mut digests));
        let reads: BTreeSet<usize> = digests.iter().filter_map(|digest| made_by.get(*digest).copied()).collect();
        let reads = reads.into_iter().filter(|read| *read != at).collect();
        Node { name: stage.name.clone(), kind: stage.kind().to_owned(), state: stage.state.word(), reads }
    };
    run.stages.iter().enumerate().map(node).collect()
}

fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Object(entries) => entries.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

fn spans(run: &Run) -> Vec<Span> {
    let ran = || {
        run.stages
            .iter()
            .filter(|stage| stage.state == State::Ran)
            .filter_map(|stage| Some((stage, stage.result.as_ref()?)))
    };
    let began = ran().map(|(_, result)| result.finished as f64 - result.seconds).fold(f64::INFINITY, f64::min);
    let span = |(stage, result): (&StageRun, &crate::cache::StageResult)| Span {
        name: stage.name.clone(),
        end: result.finished as f64 - began,
        seconds: result.seconds,
        peak: result.peak_bytes,
    };
    ran().map(span).collect()
}

/// Every artifact with its key and digest.
pub fn artifacts(stored: &Stored<'_>) -> Vec<Block> {
    let mut grid = Grid::new(["stage", "key", "artifact", "type", "bytes", "digest"]);
    let mut seen = BTreeSet::new();
    for stage in stored.runs.iter().flat_map(|run| &run.stages) {
        let Some(result) = stage.result.as_ref().filter(|result| seen.insert(result.key)) else { continue };
        for artifact in &result.artifacts {
            let (key, digest) = (result.key.short(), artifact.digest.short());
            let sort = artifact.artifact.to_string();
            grid.push([stage.name.clone(), key, artifact.name.clone(), sort, artifact.bytes.to_string(), digest]);
        }
    }
    if grid.rows.is_empty() { Vec::new() } else { vec![Block::Table(grid)] }
}

/// What it takes to make the results again.
pub fn reproduce(stored: &Stored<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for run in &stored.runs {
        let path = run.summary.path.display();
        blocks.push(Block::Code { text: format!("pacer run '{path}' --locked\npacer report {}", run.summary.run) });
        let devices: BTreeSet<&str> = run.stages.iter().filter_map(|stage| stage.device.as_deref()).collect();
        let classes =
            run.stages.iter().filter_map(|stage| stage.result.as_ref()).map(|result| &result.record["numeric"]);
        let classes: BTreeSet<String> = classes.filter(|class| !class.is_null()).map(Value::to_string).collect();
        let mut grid = Grid::new(["what", "value"]);
        grid.push(["pipeline".into(), path.to_string()]);
        grid.push(["devices".into(), devices.into_iter().collect::<Vec<_>>().join(", ")]);
        classes.into_iter().for_each(|class| grid.push(["numeric class".into(), class]));
        blocks.push(Block::Table(grid));
        blocks.push(Block::words(
            "The key of each stage, as the lock file holds it, and the parameters that it was made with:",
        ));
        blocks.push(Block::Code { text: lock(run) });
    }
    blocks
}

/// A line for each stage: its name, key, seed and parameters.
fn lock(run: &Run) -> String {
    let stages: BTreeMap<&str, _> =
        run.stages.iter().filter_map(|stage| Some((stage.name.as_str(), stage.result.as_ref()?))).collect();
    let line = |(name, result): (&str, &crate::cache::StageResult)| {
        let seed = result.record["seed"].as_u64().map_or_else(String::new, |seed| format!(" seed={seed}"));
        format!("{name} {}{seed} {}\n", result.key.hex(), result.record["params"])
    };
    stages.into_iter().map(line).collect()
}
