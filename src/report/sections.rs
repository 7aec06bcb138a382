//! The sections of a report in their order, from what was gathered. What a run lacks is left out and named. Unaware of
//! HTML and of Markdown.

pub mod answer;
pub mod course;
pub mod origin;
pub mod reproduce;
pub mod training;
pub mod trust;
pub mod where_and_when;

use anyhow::Result;

use crate::cache::Cache;
use crate::report::gather::{self, Run, Scoring, StageRun};
use crate::report::{Block, Figure, Report, Section, VERSION};

/// What sections are made of.
pub struct Stored<'a> {
    /// The store.
    pub cache: &'a Cache,
    /// The runs.
    pub runs: Vec<Run>,
    /// What was scored in them.
    pub scorings: Vec<Scoring>,
}

/// The report of some runs, newest first; `baseline` is the model that others are held against where it is scored.
pub fn report(cache: &Cache, ids: &[String], baseline: Option<&str>) -> Result<Report> {
    let runs = ids.iter().map(|id| gather::run(cache, id)).collect::<Result<Vec<Run>>>()?;
    let scorings = gather::scorings(cache, &runs, baseline);
    let stored = Stored { cache, runs, scorings };
    let parts: [(&'static str, &'static str, Vec<Block>); 10] = [
        ("differences", "Differences", answer::differences(&stored)),
        ("agreement", "Agreement", where_and_when::agreement(&stored)),
        ("where", "Where it errs", where_and_when::places(&stored)),
        ("time", "Time", where_and_when::time(&stored)),
        ("training", "Training", training::curves(&stored)),
        ("sweep", "Sweep", training::sweeps(&stored)),
        ("data", "Data", origin::data(&stored)),
        ("run", "The run", course::run(&stored)),
        ("artifacts", "Artifacts", origin::artifacts(&stored)),
        ("reproduce", "How to reproduce", reproduce::reproduce(&stored)),
    ];
    let missing: Vec<&str> =
        parts.iter().filter(|(_, _, blocks)| blocks.is_empty()).map(|(_, title, _)| *title).collect();
    let mut sections = vec![
        Section { id: "answer", title: "The answer", blocks: answer::answer(&stored) },
        Section { id: "trust", title: "Can it be trusted?", blocks: trust::trust(&stored, &missing) },
    ];
    let there = parts.into_iter().filter(|(_, _, blocks)| !blocks.is_empty());
    sections.extend(there.map(|(id, title, blocks)| Section { id, title, blocks }));
    Ok(Report { v: VERSION, title: title(&stored), synthetic: synthetic(&stored), sections })
}

fn title(stored: &Stored<'_>) -> String {
    let told = |run: &Run| format!("{}, run {}", run.summary.pipeline, run.summary.run);
    stored.runs.iter().map(told).collect::<Vec<_>>().join(" and ")
}

/// Whether any result says that its data was made by a simulator.
fn synthetic(stored: &Stored<'_>) -> bool {
    let results = stored.runs.iter().flat_map(|run| &run.stages).filter_map(|stage| stage.result.as_ref());
    let says = |metrics: &serde_json::Value| matches!(metrics["data"].as_str(), Some("synthetic" | "mixed"));
    results.into_iter().any(|result| {
        let own = result.metrics.get("data").and_then(|data| data.as_str());
        matches!(own, Some("synthetic" | "mixed"))
            || result.metrics.values().any(says)
            || result.record["kind"] == "synthesize"
    })
}

/// A heading before blocks, where several scorings are told of.
fn headed(stored: &Stored<'_>, blocks: impl Fn(&Scoring) -> Vec<Block>) -> Vec<Block> {
    let mut all = Vec::new();
    for scoring in &stored.scorings {
        let blocks = blocks(scoring);
        if !blocks.is_empty() && stored.scorings.len() > 1 {
            all.push(Block::Heading { words: format!("Scored by {}", scoring.stage) });
        }
        all.extend(blocks);
    }
    all
}

/// Every stage with what sets its run apart from others in the same report.
fn stages<'a>(stored: &'a Stored<'_>) -> impl Iterator<Item = (String, &'a StageRun)> {
    let several = stored.runs.len() > 1;
    let prefix = move |at: usize| if several { format!("run {}:", at + 1) } else { String::new() };
    let of = move |(at, run): (usize, &'a Run)| run.stages.iter().map(move |stage| (prefix(at), stage));
    stored.runs.iter().enumerate().flat_map(of)
}

/// So many of something.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A list in words, cut short where it is long.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const NAMED: usize = 3;
    let names: Vec<&str> = names.into_iter().collect();
    match names.len() {
        0..=NAMED => names.join(", "),
        n => format!("{} and {} more", names[..NAMED].join(", "), n - NAMED),
    }
}

fn figure(figure: Option<Figure>) -> Vec<Block> {
    figure.into_iter().map(Block::Figure).collect()
}
