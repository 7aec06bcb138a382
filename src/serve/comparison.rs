//! Ticked runs side by side: for each stage that scored models in them, what `pacer compare` says. Unaware of HTTP.

use std::collections::BTreeMap;

use anyhow::Result;
use pacer_stages::artifact::ArtifactType;
use pacer_stages::comparison::points::Differing;
use pacer_stages::comparison::{Judged, Settings, Unit};
use pacer_stages::escape::escape;

use crate::cache::Cache;
use crate::compare::{self, Answer, Question, Source};
use crate::journal;
use crate::report::gather::MARGIN;
use crate::report::sections::answer::verdict;
use crate::report::{Block, Grid, Section, page};
use crate::serve::list::{Asked, encoded, value};
use crate::serve::run::is_known;
use crate::serve::shell::{self, Page, Sort};
use crate::ui;

/// More runs than this are not compared at once.
const MOST: usize = 50;

/// The page; none where a run is not known.
pub fn page(cache: &Cache, asked: &Asked) -> Result<Option<String>> {
    let mut runs: Vec<&str> = Vec::new();
    for (_, run) in asked.iter().filter(|(name, _)| name == "run") {
        if !is_known(cache, run) {
            return Ok(None);
        }
        if !runs.contains(&run.as_str()) {
            runs.push(run);
        }
    }
    // By time, as whoever ticks them cannot say an order; the first is what the others are held against.
    runs.sort_unstable();
    if let Some(place) = value(asked, "first").and_then(|first| runs.iter().position(|run| *run == first)) {
        runs[..=place].rotate_right(1);
    }
    let differing = if value(asked, "common").is_some() { Differing::Common } else { Differing::Refuse };
    let body = match runs.as_slice() {
        [] => "<p>Tick runs in the list, then compare them.</p>\n".to_owned(),
        runs if runs.len() > MOST => format!("<p>These are {} runs; tick {MOST} at most.</p>\n", runs.len()),
        runs => compared(cache, runs, differing),
    };
    let lead = lead(&runs, differing);
    Ok(Some(shell::page(&Page { title: "Comparison", lead: &lead, body: &body, sort: Sort::Wide }, cache.store.root())))
}

fn lead(runs: &[&str], differing: Differing) -> String {
    if runs.is_empty() {
        return String::new();
    }
    let query =
        |runs: &[&str]| runs.iter().map(|run| format!("run={}", encoded(run))).collect::<Vec<_>>().join("&amp;");
    let links: String =
        runs.iter().map(|run| format!("<a href=\"/runs/{}\">{}</a>\n", encoded(run), escape(run))).collect();
    let mut ways = format!("<a href=\"/report?{}\">Report of these runs</a>\n", query(runs));
    if differing == Differing::Refuse {
        ways.push_str(&format!("<a href=\"/compare?{}&amp;common=1\">On what all have in common</a>\n", query(runs)));
    }
    for other in &runs[1..] {
        let (query, first) = (query(runs), encoded(other));
        ways.push_str(&format!("<a href=\"/compare?{query}&amp;first={first}\">Against {}</a>\n", escape(other)));
    }
    format!("<p class=\"links\">{links}</p>\n<p class=\"links\">{ways}</p>\n")
}

/// The comparison of each stage that scored models, one below the other.
fn compared(cache: &Cache, runs: &[&str], differing: Differing) -> String {
    let stages = sources(cache, runs);
    if stages.is_empty() {
        return "<p>No stage of these runs scored models, so there is nothing to compare.</p>\n".to_owned();
    }
    let settings = Settings { unit: Unit::User, judged: Judged::Configurations, margin: MARGIN, differing };
    let mut all = Vec::new();
    for (stage, sources) in stages {
        all.push(Block::Heading { words: format!("Scored by {stage}") });
        match compare::compare(&sources, &Question { settings, baseline: None }) {
            Ok(answer) => all.extend(blocks(&answer)),
            Err(error) => all.push(Block::words(format!("These cannot be compared: {error:#}."))),
        }
    }
    page::one(&Section { id: "compared", title: "Compared", blocks: all }, &mut 0)
}

/// The results to compare, by the stage that scored them; trials of one sweep are one stage.
fn sources(cache: &Cache, runs: &[&str]) -> BTreeMap<String, Vec<Source>> {
    let mut stages: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for run in runs {
        let keys = journal::keys(&cache.store, run);
        for (name, key) in &keys {
            let Ok(result) = cache.result(key) else { continue };
            if !result.artifacts.iter().any(|artifact| artifact.artifact == ArtifactType::Predictions) {
                continue;
            }
            let stage = name.split('[').next().unwrap_or_default().to_owned();
            let beside = keys.values().copied().collect();
            let (label, cache) = (format!("{run}:{name}"), cache.clone());
            stages.entry(stage).or_default().push(Source { operand: 0, label, cache, result, model: None, beside });
        }
    }
    for sources in stages.values_mut() {
        number(sources);
    }
    stages
}

/// Numbers the runs among results, in their order; those of one run are one thing to compare.
fn number(sources: &mut [Source]) {
    let run = |source: &Source| source.label.split(':').next().unwrap_or_default().to_owned();
    let mut seen: Vec<String> = Vec::new();
    for source in sources {
        let run = run(source);
        if seen.last() != Some(&run) {
            seen.push(run);
        }
        source.operand = seen.len() - 1;
    }
}

/// A verdict for each candidate, then the parts that a terminal shows.
fn blocks(answer: &Answer) -> Vec<Block> {
    let rows = answer.comparison.rows.iter();
    let mut blocks: Vec<Block> = rows.filter_map(|row| Some(verdict(row, row.difference.as_ref()?))).collect();
    for part in ui::comparison::sections(answer) {
        if !part.title.is_empty() {
            blocks.push(Block::Heading { words: part.title });
        }
        if !part.rows.rows.is_empty() {
            blocks.push(Block::Table(Grid { header: part.rows.header, rows: part.rows.rows }));
        }
        blocks.extend(part.lines.into_iter().map(Block::words));
    }
    blocks
}
