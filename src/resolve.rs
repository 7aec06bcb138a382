//! Turns the text of a pipeline into a checked graph, or into all of its faults at once. The only place where
//! TOML becomes a graph; unaware of keys and of running.

mod expand;
pub mod files;
mod params;
mod settings;
mod stage;
mod sweep;
mod wiring;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use petgraph::graph::DiGraph;

use crate::diagnostic::{Diagnostic, Lines, Place};
use crate::graph::{Graph, Source, Stage};
use crate::resolve::params::Parameters;
use crate::resolve::stage::Draft;
pub use crate::resolve::stage::RESERVED as STAGE_KEYS;
use crate::search::{How, Point, Search};
use crate::spec::{self, Data, Entry, Node, Table};

/// What the command line says about a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Each `key=value` of `--set`, in order.
    pub set: Vec<String>,
    /// The value of `--seed`.
    pub seed: Option<u64>,
    /// What searches have decided so far, by the name of the swept stage.
    pub points: BTreeMap<String, Vec<Point>>,
}

/// Checks a pipeline; `path` names it in messages and is where its relative paths start.
pub fn resolve(path: &Path, text: &str, overrides: &Overrides) -> Result<Graph, Vec<Diagnostic>> {
    let mut document = spec::parse(text)?;
    let mut faults = Vec::new();
    known_keys(&document, &["pipeline", "params", "stages"], "the pipeline file", &mut faults);
    let header = header(&document, path, &mut faults);
    let stages = match document.shift_remove("stages") {
        Some(Entry { value, .. }) => into_table(value, "stages", &mut faults).unwrap_or_default(),
        None => {
            faults.push(Diagnostic::new("the pipeline has no `[stages.NAME]`").help("add at least one stage"));
            Table::new()
        }
    };
    let parameters = Parameters::gather(document.get("params"), &overrides.set, &stages, &mut faults);
    let seed = overrides.seed.unwrap_or(header.seed);
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    // An escape may hide one.
    let refers = text.contains("${") || text.contains('\\');
    let source = stage::Source { refers, lines: &Lines::of(text), folder: &folder, parameters: &parameters, seed };
    let templates = stage::in_file_order(stages).into_iter();
    let templates = templates.map(|(name, entry)| source.template(name, entry, &mut faults)).collect();
    let (stages, mut searches) = expand::expand(templates, &overrides.points, &mut faults);
    searches.iter_mut().for_each(|search| search.written.push_str(&format!("\nseed = {seed}")));
    let stages = stages.into_iter();
    let drafts: Vec<_> = stages.filter_map(|stage| source.draft(stage, &mut faults)).collect();
    refuse_fixed_ends(&drafts, &searches, &mut faults);
    let wired = wiring::wire(drafts, &source, &mut faults);
    faults.sort_by_key(|fault| fault.sort_key());
    // Of what is wrong with all trials of a sweep, one is told.
    let mut told = HashSet::new();
    faults.retain(|fault| told.insert((fault.sort_key(), fault.message.clone())));
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut graph = build(header.name, path, wired);
    graph.searches = searches;
    graph.allowed_leaks = header.allowed_leaks;
    Ok(graph)
}

/// A search by halving makes trainings longer, which must not change how they begin.
fn refuse_fixed_ends(drafts: &[Draft], searches: &[Search], faults: &mut Vec<Diagnostic>) {
    for search in searches.iter().filter(|search| matches!(search.how, How::Halving { .. })) {
        let Some(draft) = drafts.iter().find(|draft| draft.written == search.stage) else { continue };
        let Some(decoded) = &draft.decoded else { continue };
        let why = match &decoded.course {
            None => Some("this kind trains nothing in epochs".to_owned()),
            Some(course) => course.fixed_end.clone(),
        };
        if let Some(why) = why {
            let message = format!("`{}` cannot be searched by halving: {why}", search.stage);
            faults.push(Diagnostic::new(message).place(&draft.place).label("its trials cannot be trained longer"));
        }
    }
}

/// What `[pipeline]` says.
struct Header {
    name: String,
    seed: u64,
    allowed_leaks: BTreeMap<String, String>,
}

fn header(document: &Table, path: &Path, faults: &mut Vec<Diagnostic>) -> Header {
    let stem = path.file_stem().map_or_else(|| "pipeline".into(), |stem| stem.to_string_lossy().into_owned());
    let mut header = Header { name: stem, seed: 0, allowed_leaks: BTreeMap::new() };
    let Some(table) = document.get("pipeline").and_then(|entry| table_of(&entry.value, "pipeline", faults)) else {
        return header;
    };
    known_keys(table, &["name", "description", "seed", "allow_leak"], "[pipeline]", faults);
    for (key, Entry { value, .. }) in table {
        match (key.as_str(), &value.data) {
            ("name", Data::Text(text)) => header.name.clone_from(text),
            ("seed", Data::Integer(seed)) if *seed >= 0 => header.seed = seed.unsigned_abs(),
            ("description", Data::Text(_)) => {}
            ("allow_leak", _) => header.allowed_leaks = settings::allowed_leaks(value, faults),
            ("name" | "description", other) => faults.push(
                Diagnostic::new(format!("`{key}` of [pipeline] is {}", other.sort()))
                    .place(&value.place)
                    .label("must be a text"),
            ),
            ("seed", _) => faults.push(
                Diagnostic::new("`seed` of [pipeline] is no seed")
                    .place(&value.place)
                    .label("must be a whole number from 0"),
            ),
            _ => {}
        }
    }
    header
}

/// The table in a node, or a fault.
fn table_of<'a>(node: &'a Node, name: &str, faults: &mut Vec<Diagnostic>) -> Option<&'a Table> {
    match &node.data {
        Data::Table(table) => Some(table),
        other => {
            faults.push(no_table(other, &node.place, name));
            None
        }
    }
}

/// The table that a node is, or a fault.
fn into_table(node: Node, name: &str, faults: &mut Vec<Diagnostic>) -> Option<Table> {
    match node.data {
        Data::Table(table) => Some(table),
        other => {
            faults.push(no_table(&other, &node.place, name));
            None
        }
    }
}

fn no_table(found: &Data, place: &Place, name: &str) -> Diagnostic {
    Diagnostic::new(format!("`{name}` is {}", found.sort())).place(place).label("must be a table")
}

/// Reports every key that is not among the known ones.
fn known_keys(table: &Table, known: &[&str], owner: &str, faults: &mut Vec<Diagnostic>) {
    for (key, entry) in table.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
        let fault = Diagnostic::new(format!("{owner} has no key `{key}`")).place(&entry.key);
        let fault = fault.label("unknown key").help(format!("known: {}", known.join(", ")));
        faults.push(fault.did_you_mean(key, known.iter().copied()));
    }
}

fn build(name: String, path: &Path, stages: Vec<Stage>) -> Graph {
    let mut graph = DiGraph::new();
    let producers = |stage: &Stage| {
        let sources = stage.inputs.iter().filter_map(|input| match &input.source {
            Source::Output(id, _) => Some(*id),
            Source::File(_) => None,
        });
        sources.collect::<BTreeSet<_>>()
    };
    let reads: Vec<_> = stages.iter().map(producers).collect();
    let ids: Vec<_> = stages.into_iter().map(|stage| graph.add_node(stage)).collect();
    for (consumer, producers) in ids.iter().zip(reads) {
        for producer in producers {
            graph.add_edge(producer, *consumer, ());
        }
    }
    Graph::new(name, path.to_owned(), graph).expect("cycles were refused")
}
