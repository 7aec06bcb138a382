//! Checks one stage by itself: its kind, parameters, seed and resources. Unaware of the other stages.

use std::path::Path;

use pacer_stages::job::Checkpoints;
use pacer_stages::kind::{Decoded, Kind};
use pacer_stages::kinds;

use crate::diagnostic::{Diagnostic, Lines, Place, nearest};
use crate::graph::{Origin, Resources, Trial};
use crate::resolve::expand::{Expanded, Gathered, Template};
use crate::resolve::params::Parameters;
use crate::resolve::{into_table, known_keys, settings};
use crate::spec::{Data, Entry, Node, Table};

/// Keys of a stage that are not parameters of its kind.
const RESERVED: [&str; 6] = ["kind", "inputs", "resources", "checkpoints", "seed", "sweep"];

/// The longest name of a stage: its log is a file of this name.
const NAME_CHARS: usize = 100;

/// The most values of a stage that are told to be of the wrong type; each costs another try.
const MISTYPED: usize = 50;

/// What every stage of a pipeline is checked against.
pub struct Source<'a> {
    /// Whether the text names any parameter at all.
    pub refers: bool,
    /// The lines of the file.
    pub lines: &'a Lines,
    /// Where relative paths of the file start.
    pub folder: &'a Path,
    /// The pipeline's parameters.
    pub parameters: &'a Parameters,
    /// The seed of stages that name none.
    pub seed: u64,
}

/// A stage that is checked but for its inputs.
pub struct Draft {
    /// Its name.
    pub name: String,
    /// The name that stands in the file, which faults speak of: those of many trials are then one.
    pub written: String,
    /// Where the name is written.
    pub place: Place,
    /// Its kind; `None` when there is no such kind.
    pub kind: Option<&'static Kind>,
    /// Its parameters; `None` when they have a fault.
    pub decoded: Option<Decoded>,
    /// The value of `inputs`, if any.
    pub inputs: Option<Node>,
    /// Its seed.
    pub seed: u64,
    /// What it asks of the machine.
    pub resources: Resources,
    /// How often a training keeps its state.
    pub checkpoints: Checkpoints,
    /// Where its parameters are written, by their paths in the key record.
    pub origins: Vec<(String, Origin)>,
    /// The pipeline's parameters that it uses.
    pub uses: Vec<String>,
    /// Which trial it is, if any.
    pub trial: Option<Trial>,
    /// What it gathers.
    pub gathered: Gathered,
}

/// The stages in the order in which the file names them.
pub fn in_file_order(stages: Table) -> Vec<(String, Entry)> {
    let mut entries: Vec<_> = stages.into_iter().collect();
    entries.sort_by_key(|(_, entry)| match &entry.key {
        Place::File(span) => span.start,
        Place::Argument { .. } | Place::Whole => 0,
    });
    entries
}

impl Source<'_> {
    /// Where a value is written, for people.
    pub fn origin(&self, place: &Place) -> Option<Origin> {
        match place {
            Place::File(span) => Some(Origin::Line(self.lines.line(span.start))),
            Place::Argument { text, .. } => Some(Origin::Argument(text.clone())),
            Place::Whole => None,
        }
    }

    /// A stage as it is written, with the pipeline's parameters put in.
    pub fn template(&self, name: String, entry: Entry, faults: &mut Vec<Diagnostic>) -> Template {
        let Entry { key: place, value: mut node } = entry;
        // Most texts of a large pipeline name no parameter.
        let uses = if self.refers { Parameters::named_in(&node) } else { Vec::new() };
        if self.refers {
            self.parameters.substitute(&mut node, faults);
        }
        Template { name, place, node, uses }
    }

    /// Checks a stage; `None` only when it is no table.
    pub fn draft(&self, stage: Expanded, faults: &mut Vec<Diagnostic>) -> Option<Draft> {
        let Expanded { template: Template { name: written, place, node, uses }, name, trial, gathered } = stage;
        let mut table = into_table(node, &written, faults)?;
        check_name(&written, &place, faults);
        let kind = find_kind(&written, &table, &place, faults);
        let seed = self.seed(&table, faults);
        let resources = settings::resources(&table, kind, faults);
        let checkpoints = settings::checkpoints(&table, faults);
        let checkpoints_at = table.get("checkpoints").map(|entry| entry.value.place.clone());
        let inputs = table.shift_remove("inputs").map(|entry| entry.value);
        table.retain(|key, _| !RESERVED.contains(&key.as_str()));
        let origin =
            |(key, entry): (&String, &Entry)| Some((format!("params.{key}"), self.origin(&entry.value.place)?));
        let origins = table.iter().filter_map(origin).collect();
        let decoded = kind.and_then(|kind| decode(kind, &written, &place, table, faults));
        let trains = decoded.as_ref().is_none_or(|decoded| decoded.course.is_some());
        if let Some(place) = checkpoints_at.filter(|_| !trains) {
            let fault = Diagnostic::new("this kind trains nothing, so that it has no checkpoints").place(&place);
            faults.push(fault.help("leave out `checkpoints`"));
        }
        Some(Draft {
            name,
            written,
            place,
            kind,
            decoded,
            inputs,
            seed,
            resources,
            checkpoints,
            origins,
            uses,
            trial,
            gathered,
        })
    }

    fn seed(&self, table: &Table, faults: &mut Vec<Diagnostic>) -> u64 {
        match table.get("seed").map(|entry| &entry.value) {
            None => self.seed,
            Some(Node { data: Data::Integer(seed), .. }) if *seed >= 0 => seed.unsigned_abs(),
            Some(node) => {
                let fault = Diagnostic::new(format!("`seed` is {}", node.data.sort())).place(&node.place);
                faults.push(fault.label("must be a whole number from 0"));
                self.seed
            }
        }
    }
}

fn check_name(name: &str, place: &Place, faults: &mut Vec<Diagnostic>) {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(valid) {
        let fault = Diagnostic::new(format!("`{name}` is no name for a stage")).place(place);
        faults.push(fault.label("use letters, digits, `_` and `-`"));
    } else if name.len() > NAME_CHARS {
        let fault = Diagnostic::new(format!("a stage's name has {} letters", name.len())).place(place);
        faults.push(fault.label(format!("at most {NAME_CHARS}")));
    }
}

fn find_kind(stage: &str, table: &Table, place: &Place, faults: &mut Vec<Diagnostic>) -> Option<&'static Kind> {
    let names = || kinds::shown().map(|kind| kind.name);
    let Some(Entry { value, .. }) = table.get("kind") else {
        let fault = Diagnostic::new(format!("stage `{stage}` has no `kind`")).place(place);
        let known = names().collect::<Vec<_>>().join(", ");
        faults.push(fault.label("which sort of work?").help(format!("add `kind = \"…\"`, one of: {known}")));
        return None;
    };
    let Data::Text(name) = &value.data else {
        faults.push(Diagnostic::new("`kind` must be a text").place(&value.place).label(value.data.sort()));
        return None;
    };
    let kind = kinds::find(name);
    if kind.is_none() {
        let fault = Diagnostic::new(format!("there is no kind `{name}`")).place(&value.place);
        let fault = fault.label("unknown kind").help("`pacer stages` lists them");
        faults.push(fault.did_you_mean(name, names()));
    }
    kind
}

/// Decodes parameters; `None` when they have faults, each of which is told.
fn decode(kind: &Kind, stage: &str, place: &Place, params: Table, faults: &mut Vec<Diagnostic>) -> Option<Decoded> {
    let node = Node { place: place.clone(), data: Data::Table(params) };
    match (kind.decode)(&node.json()) {
        Ok(decoded) if decoded.faults.is_empty() => Some(decoded),
        _ => {
            diagnose(kind, stage, node, faults);
            None
        }
    }
}

/// Tells every fault of parameters. Serde stops at its first, so the faulty value is taken out and the rest tried
/// again, until every fault is known.
fn diagnose(kind: &Kind, stage: &str, node: Node, faults: &mut Vec<Diagnostic>) {
    let Node { place, data: Data::Table(params) } = node else { return };
    let schema = (kind.schema)().to_value();
    let known: Vec<String> = match schema["properties"].as_object() {
        Some(properties) => properties.keys().cloned().collect(),
        None => Vec::new(),
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    known_keys(&params, &[known.as_slice(), &RESERVED].concat(), &format!("kind `{}`", kind.name), faults);
    let (params, unknown): (Table, Table) = params.into_iter().partition(|(key, _)| known.contains(&key.as_str()));
    let mut params = Node { place, data: Data::Table(params) };
    // The field that a mistyped key most likely stands for is not missing, but mistyped.
    let mistyped = unknown.keys().filter_map(|key| nearest(key, known.iter().copied()));
    let mut removed: Vec<String> = mistyped.map(str::to_owned).collect();
    loop {
        match (kind.decode)(&params.json()) {
            Ok(decoded) => {
                for fault in &decoded.faults {
                    let node = params.find(&fault.path);
                    faults.push(Diagnostic::new(fault.message.clone()).place(&node.place).label(&fault.path));
                }
                return;
            }
            Err(fault) => {
                let missing = fault.message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
                // A field that was taken out as faulty has been reported; that it is missing now is no news.
                let news = !missing.is_some_and(|field| removed.iter().any(|path| path == field));
                let node = params.find(&fault.path);
                if news {
                    faults.push(explain(&fault.message, missing, kind, stage).place(&node.place));
                }
                let enough = removed.len() >= MISTYPED;
                if enough || missing.is_some() || fault.path.is_empty() || !params.remove(&fault.path) {
                    return;
                }
                removed.push(fault.path);
            }
        }
    }
}

/// Says serde's message in plain words.
fn explain(message: &str, missing: Option<&str>, kind: &Kind, stage: &str) -> Diagnostic {
    if let Some(field) = missing {
        let fault = Diagnostic::new(format!("stage `{stage}` lacks the parameter `{field}`"));
        let help = format!("`pacer stages {}` describes it", kind.name);
        return fault.label(format!("`{}` needs `{field}`", kind.name)).help(help);
    }
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let fault = Diagnostic::new(plain_words(message));
    match quoted.split_first() {
        Some((wrong, known)) if message.starts_with("unknown") => match nearest(wrong, known.iter().copied()) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault,
        },
        _ => fault,
    }
}

fn plain_words(message: &str) -> String {
    let mut words = message.to_owned();
    for (type_name, plain) in [
        ("a boolean", "true or false"),
        ("usize", "a whole number from 0"),
        ("u64", "a whole number from 0"),
        ("u32", "a whole number from 0"),
        ("i64", "a whole number"),
        ("f64", "a number"),
        ("f32", "a number"),
        ("a sequence", "a list"),
        ("sequence", "a list"),
        ("a map", "a table"),
        ("map", "a table"),
        ("integer `", "the whole number `"),
        ("floating point `", "the number `"),
        ("string \"", "the text \""),
        ("boolean `", "the value `"),
        ("invalid type: ", "wrong type: "),
    ] {
        words = words.replace(type_name, plain);
    }
    words
}
