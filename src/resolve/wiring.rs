//! Wires stages: which artifact or file goes into which slot, whether types fit, whether there is a cycle.
//! Unaware of parameters.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pacer_stages::artifact::{Arity, InputPort, OutputPort};

use crate::diagnostic::{Diagnostic, Place, SUGGESTED};
use crate::graph::{Input, Source, Stage, StageId};
use crate::resolve::known_keys;
use crate::resolve::stage::{self, Draft};
use crate::spec::{Data, Entry, Node};

/// Wires drafts into stages; those with a fault are left out, so a result counts only without faults.
pub fn wire(drafts: Vec<Draft>, source: &stage::Source<'_>, faults: &mut Vec<Diagnostic>) -> Vec<Stage> {
    let wiring = Wiring { drafts: &drafts, source };
    let mut places = BTreeMap::new();
    let inputs: Vec<Vec<Input>> =
        drafts.iter().enumerate().map(|(at, draft)| wiring.inputs(at, draft, &mut places, faults)).collect();
    refuse_cycles(&drafts, &inputs, &places, faults);
    let mut stages = Vec::new();
    for (mut draft, inputs) in drafts.into_iter().zip(inputs) {
        let (Some(kind), Some(decoded)) = (draft.kind, draft.decoded) else { continue };
        for input in &inputs {
            let name = input.name.as_ref().map_or_else(String::new, |name| format!(".{name}"));
            let place = places.get(&(draft.name.clone(), input.slot, input.name.clone()));
            if let Some(origin) = place.and_then(|place| source.origin(place)) {
                draft.origins.insert(format!("inputs.{}{name}", input.slot), origin);
            }
        }
        stages.push(Stage {
            name: draft.name,
            kind,
            params: decoded.params,
            inputs,
            outputs: decoded.outputs,
            seed: draft.seed,
            resources: draft.resources,
            origins: draft.origins,
        });
    }
    stages
}

/// Where each input is written: by stage, slot and name.
type Places = BTreeMap<(String, &'static str, Option<String>), Place>;

struct Wiring<'a> {
    drafts: &'a [Draft],
    source: &'a stage::Source<'a>,
}

impl Wiring<'_> {
    fn inputs(&self, at: usize, draft: &Draft, places: &mut Places, faults: &mut Vec<Diagnostic>) -> Vec<Input> {
        let Some(kind) = draft.kind else { return Vec::new() };
        let empty = BTreeMap::new();
        let table = match draft.inputs.as_ref().map(|node| (&node.place, &node.data)) {
            None => &empty,
            Some((_, Data::Table(table))) => table,
            Some((place, other)) => {
                let fault = Diagnostic::new(format!("`inputs` is {}", other.sort())).place(place);
                faults.push(fault.label("must be a table of slots").help(slots(kind.inputs)));
                return Vec::new();
            }
        };
        let known: Vec<_> = kind.inputs.iter().map(|port| port.name).collect();
        known_keys(table, &known, &format!("`inputs` of kind `{}`", kind.name), faults);
        let mut inputs = Vec::new();
        for port in kind.inputs {
            match (table.get(port.name), port.arity) {
                (None, Arity::One | Arity::Named) => {
                    let message = format!("stage `{}` lacks the input `{}`", draft.name, port.name);
                    let fault = Diagnostic::new(message).place(&draft.place).label("nothing is wired");
                    faults.push(fault.help(format!("add `inputs.{} = \"STAGE\"`: {}", port.name, port.doc)));
                }
                (None, _) => {}
                (Some(entry), Arity::One | Arity::Optional) => {
                    inputs.extend(self.input(at, port, None, &entry.value, places, faults));
                }
                (Some(entry), Arity::Named | Arity::NamedOptional) => {
                    inputs.extend(self.named(at, port, &entry.value, places, faults));
                }
            }
        }
        inputs
    }

    fn named(
        &self,
        at: usize,
        port: &'static InputPort,
        node: &Node,
        places: &mut Places,
        faults: &mut Vec<Diagnostic>,
    ) -> Vec<Input> {
        match &node.data {
            Data::Table(table) if !table.is_empty() => table
                .iter()
                .filter_map(|(name, entry)| self.input(at, port, Some(name.clone()), &entry.value, places, faults))
                .collect(),
            other => {
                let message = format!("the slot `{}` takes a table of names, not {}", port.name, other.sort());
                let fault = Diagnostic::new(message).place(&node.place);
                faults.push(fault.help(format!("write `{} = {{ name = \"STAGE\" }}`", port.name)));
                Vec::new()
            }
        }
    }

    fn input(
        &self,
        at: usize,
        port: &'static InputPort,
        name: Option<String>,
        node: &Node,
        places: &mut Places,
        faults: &mut Vec<Diagnostic>,
    ) -> Option<Input> {
        let source = match &node.data {
            Data::Text(reference) => self.reference(at, port, reference, &node.place, faults)?,
            Data::Table(table) => self.file(table, node, faults)?,
            other => {
                let fault = Diagnostic::new(format!("an input cannot be {}", other.sort())).place(&node.place);
                faults.push(fault.help("write \"STAGE\", \"STAGE.ARTIFACT\" or { path = \"FILE\" }"));
                return None;
            }
        };
        places.insert((self.drafts[at].name.clone(), port.name, name.clone()), node.place.clone());
        Some(Input { slot: port.name, name, source })
    }

    /// Finds the artifact that `STAGE` or `STAGE.ARTIFACT` means for a port.
    fn reference(
        &self,
        at: usize,
        port: &InputPort,
        reference: &str,
        place: &Place,
        faults: &mut Vec<Diagnostic>,
    ) -> Option<Source> {
        let (name, artifact) = reference.split_once('.').map_or((reference, None), |(name, it)| (name, Some(it)));
        let Some(id) = self.drafts.iter().position(|draft| draft.name == name) else {
            let fault = Diagnostic::new(format!("there is no stage `{name}`")).place(place);
            let names = self.drafts.iter().map(|draft| draft.name.as_str()).filter(|_| faults.len() < SUGGESTED);
            let fault = fault.label("unknown stage").help("for a file write { path = \"FILE\" }");
            faults.push(fault.did_you_mean(name, names));
            return None;
        };
        let producer = &self.drafts[id];
        let outputs = &producer.decoded.as_ref()?.outputs;
        let fits = |output: &&OutputPort| port.accepts.contains(&output.artifact);
        let found = match artifact {
            Some(artifact) => outputs.iter().find(|output| output.name == artifact).filter(fits),
            None => {
                let fitting: Vec<_> = outputs.iter().filter(fits).collect();
                match fitting.as_slice() {
                    [only] => Some(*only),
                    many => many.iter().find(|output| output.name == port.name).copied(),
                }
            }
        };
        if let Some(found) = found {
            return Some(Source::Output(StageId::new(id), found.name.to_string()));
        }
        let written: Vec<_> = outputs.iter().map(|output| format!("{} ({})", output.name, output.artifact)).collect();
        let accepts: Vec<_> = port.accepts.iter().map(ToString::to_string).collect();
        let accepts = accepts.join(" or ");
        let message = format!("`{reference}` does not fit the slot `{}` of `{}`", port.name, self.drafts[at].name);
        let fault = Diagnostic::new(message).place(place).label(format!("the slot takes {accepts}"));
        faults.push(fault.help(format!("`{name}` writes {}", written.join(", "))));
        None
    }

    /// Finds the file of `{ path = "FILE" }`: relative to the pipeline, or to the current folder when the path
    /// was typed on the command line.
    fn file(&self, table: &BTreeMap<String, Entry>, node: &Node, faults: &mut Vec<Diagnostic>) -> Option<Source> {
        known_keys(table, &["path"], "an input", faults);
        let path = table.get("path").map(|entry| &entry.value);
        let Some(Node { data: Data::Text(text), place }) = path else {
            let fault = Diagnostic::new("a file is given by its path").place(&node.place);
            faults.push(fault.help("write { path = \"FILE\" }"));
            return None;
        };
        if text.contains("${") {
            // The parameter has no value, which was told where it was put in.
            return None;
        }
        let path = match place {
            Place::Argument { .. } => PathBuf::from(text),
            Place::File(_) | Place::Whole => self.source.folder.join(text),
        };
        let (message, label) = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => return Some(Source::File(path)),
            Ok(_) => (format!("`{}` is no file", path.display()), "a folder stands where a file should be".to_owned()),
            Err(error) => (format!("`{}` cannot be read", path.display()), error.to_string()),
        };
        let fault = Diagnostic::new(message).place(place).label(label);
        let base = std::path::absolute(&path).unwrap_or(path);
        faults.push(fault.help(format!("looked for `{}`", base.display())));
        None
    }
}

fn slots(ports: &[InputPort]) -> String {
    let slots: Vec<_> = ports.iter().map(|port| format!("`{}`: {}", port.name, port.doc)).collect();
    format!("slots: {}", slots.join("; "))
}

/// Walks back from each stage; a stage met again on the way is a cycle, which is shown whole.
fn refuse_cycles(drafts: &[Draft], inputs: &[Vec<Input>], places: &Places, faults: &mut Vec<Diagnostic>) {
    let mut done = vec![false; drafts.len()];
    for start in 0..drafts.len() {
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            let Some(input) = inputs[at].get(*next).filter(|_| !done[at]) else {
                done[at] = true;
                path.pop();
                continue;
            };
            *next += 1;
            let Source::Output(producer, _) = &input.source else { continue };
            let producer = producer.index();
            if let Some(first) = path.iter().position(|(stage, _)| *stage == producer) {
                let mut names: Vec<_> = path[first..].iter().map(|(stage, _)| drafts[*stage].name.as_str()).collect();
                names.push(&drafts[producer].name);
                names.reverse();
                let place = &places[&(drafts[at].name.clone(), input.slot, input.name.clone())];
                let fault = Diagnostic::new(format!("stages form a cycle: {}", names.join(" → "))).place(place);
                faults.push(fault.label("closes the cycle").help("a stage cannot read what follows from it"));
            } else if !done[producer] {
                path.push((producer, 0));
            }
        }
    }
}
