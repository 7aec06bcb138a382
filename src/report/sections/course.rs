//! How the run went: what failed and how, the graph, the time line. Unaware of HTML.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::cache::StageResult;
use crate::history::Stands;
use crate::report::figures::graph::{Node, graph};
use crate::report::figures::timeline::{Span, timeline};
use crate::report::gather::{Run, StageRun, State};
use crate::report::sections::{Stored, counted, figure, listed};
use crate::report::{Block, Grid, Mark};

/// States in the order in which one that speaks for a group is chosen.
const GRAVEST: [&str; 5] = ["failed", "unended", "skipped", "ran", "reused"];

/// The graph, the time line and what failed.
pub fn run(stored: &Stored<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    for run in &stored.runs {
        if stored.runs.len() > 1 {
            blocks.push(Block::Heading { words: format!("Run {}", run.summary.run) });
        }
        blocks.push(Block::words(told(run)));
        blocks.extend(failures(run));
        blocks.extend(figure(graph(&nodes(run))));
        blocks.extend(figure(timeline(&spans(run))));
    }
    blocks
}

/// A sentence on how a run stands; none where it ended well.
pub fn unfinished(run: &Run) -> Option<Block> {
    let ended = run.stages.iter().filter(|stage| stage.state != State::Unended).count();
    let of = format!("{ended} of {}", counted(run.stages.len(), "stage"));
    let words = match run.stands {
        Stands::Done => return None,
        Stands::Running => format!("Run {} is still going on: {of} have ended.", run.summary.run),
        Stands::Killed => format!("Run {} was killed: {of} had ended.", run.summary.run),
        Stands::Interrupted => format!("Run {} was interrupted: {of} had ended.", run.summary.run),
        Stands::Failed => {
            let failed = run.stages.iter().filter(|stage| matches!(stage.state, State::Failed { .. }));
            let names: Vec<&str> = failed.map(|stage| stage.name.as_str()).collect();
            format!("Run {} failed in {}; what did not need it is told below.", run.summary.run, listed(names))
        }
    };
    let mark = if run.stands == Stands::Running { Mark::Open } else { Mark::Bad };
    Some(Block::Check { mark, words })
}

fn told(run: &Run) -> String {
    let count = |word: &str| run.stages.iter().filter(|stage| stage.state.word() == word).count();
    let counts = ["ran", "reused", "failed", "skipped", "unended"].map(|word| (word, count(word)));
    let counts = counts.iter().filter(|(word, count)| *count > 0 || *word == "ran");
    let counts: Vec<String> = counts.map(|(word, count)| format!("{count} {word}")).collect();
    let took = match run.summary.seconds > 0.0 {
        true => format!(", in {:.1} s", run.summary.seconds),
        false => String::new(),
    };
    format!("{}: {}{took}.", counted(run.stages.len(), "stage"), counts.join(", "))
}

/// What failed with its class, and what was not run for it.
fn failures(run: &Run) -> Vec<Block> {
    let mut failed = Failures::default();
    let mut skipped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for stage in &run.stages {
        match &stage.state {
            State::Failed { class, message } => failed.take(&stage.name, class, message),
            State::Skipped(because) => skipped.entry(because).or_default().push(&stage.name),
            _ => {}
        }
    }
    let mut blocks = Vec::new();
    if failed.count > 0 {
        blocks.push(Block::check(Mark::Bad, format!("{} failed:", counted(failed.count, "stage"))));
        blocks.push(Block::Table(failed.table("stages")));
    }
    let told = |(because, names): (&str, Vec<&str>)| {
        Block::check(Mark::Bad, format!("{} not run, for {because}: {}", counted(names.len(), "stage"), listed(names)))
    };
    blocks.extend(skipped.into_iter().map(told));
    blocks
}

/// What failed; many that failed alike are one line.
#[derive(Default)]
pub struct Failures {
    /// How many.
    pub count: usize,
    alike: BTreeMap<(String, String), Vec<String>>,
}

impl Failures {
    /// Takes one.
    pub fn take(&mut self, name: &str, class: &str, message: &str) {
        self.count += 1;
        self.alike.entry((told_class(class), message.to_owned())).or_default().push(name.to_owned());
    }

    /// All of them; `who` they are called.
    pub fn table(self, who: &str) -> Grid {
        let mut grid = Grid::new(["class", "what happened", "count", who]);
        for ((class, message), names) in self.alike {
            let told = listed(names.iter().map(String::as_str));
            grid.push([class, message, names.len().to_string(), told]);
        }
        grid
    }
}

/// What a class of failure means.
fn told_class(class: &str) -> String {
    match class {
        "interrupted" => "interrupted",
        "blame" => "a parameter does not fit",
        "nan" => "not finite",
        "out_of_memory" => "out of memory",
        _ => "error",
    }
    .to_owned()
}

/// The stages with what they read, trials of a group as one.
fn nodes(run: &Run) -> Vec<Node> {
    let place_of_name: HashMap<&str, usize> =
        run.stages.iter().enumerate().map(|(at, stage)| (stage.name.as_str(), at)).collect();
    let made_by = made_by(run);
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    let mut group_of = vec![0; run.stages.len()];
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (at, stage) in run.stages.iter().enumerate() {
        let name = stage.trial.as_ref().map_or(stage.name.as_str(), |trial| &trial.group);
        let group = *known.entry(name).or_insert_with(|| {
            groups.push((name, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.push(at);
        group_of[at] = group;
    }
    let reads = |at: usize| -> Vec<usize> {
        let stage = &run.stages[at];
        match &stage.planned {
            Some(planned) => {
                planned.reads.iter().filter_map(|name| place_of_name.get(name.as_str()).copied()).collect()
            }
            None => read_digests(stage).iter().filter_map(|digest| made_by.get(*digest).copied()).collect(),
        }
    };
    let node = |(group, (name, members)): (usize, &(&str, Vec<usize>))| {
        let above: BTreeSet<usize> = members.iter().flat_map(|at| reads(*at)).map(|read| group_of[read]).collect();
        let count = |state: &str| members.iter().filter(|at| run.stages[**at].state.word() == state).count();
        let state = GRAVEST.into_iter().find(|state| count(state) > 0).unwrap_or("unended");
        let counts = GRAVEST.into_iter().filter(|state| count(state) > 0).map(|state| (state, count(state))).collect();
        Node {
            name: (*name).to_owned(),
            kind: run.stages[members[0]].kind().to_owned(),
            state,
            counts,
            reads: above.into_iter().filter(|read| *read != group).collect(),
        }
    };
    groups.iter().enumerate().map(node).collect()
}

/// The stage behind each artifact.
fn made_by(run: &Run) -> HashMap<String, usize> {
    let mut made_by = HashMap::new();
    for (at, stage) in run.stages.iter().enumerate() {
        for artifact in stage.result.iter().flat_map(|result| &result.artifacts) {
            made_by.entry(artifact.digest.hex()).or_insert(at);
        }
    }
    made_by
}

fn read_digests(stage: &StageRun) -> Vec<&str> {
    let mut digests = Vec::new();
    stage.result.iter().for_each(|result| texts(&result.record["inputs"], &mut digests));
    digests
}

/// The texts of a tree.
pub fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Object(entries) => entries.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// When each stage ran: by the journal, or by when its result was committed, to the second.
fn spans(run: &Run) -> Vec<Span> {
    let is_done = |stage: &&StageRun| stage.state == State::Ran;
    let ran = || run.stages.iter().filter(is_done).filter_map(|stage| Some((stage, stage.result.as_ref()?)));
    let first = ran().map(|(_, result)| result.finished as f64 - result.seconds).fold(f64::INFINITY, f64::min);
    let began = |stage: &StageRun, result: &StageResult| {
        stage.began.unwrap_or((result.finished as f64 - result.seconds - first).max(0.0))
    };
    let span = |(stage, result): (&StageRun, &StageResult)| Span {
        name: stage.name.clone(),
        short: stage.short(),
        began: began(stage, result),
        seconds: result.seconds,
        peak: result.peak_bytes,
    };
    ran().map(span).collect()
}
