//! Wires stages: which artifact or file goes into which slot, whether types fit, whether there is a cycle.
//! Unaware of parameters.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pacer_stages::artifact::{Arity, InputPort, OutputPort};

use crate::diagnostic::{Diagnostic, Place, SUGGESTED};
use crate::graph::{self, Input, Source, Stage, StageId};
use crate::resolve::files::{self, Files, Refusal};
use crate::resolve::known_keys;
use crate::resolve::stage::{self, Draft};
use crate::spec::{Data, Node, Table};

/// Wires drafts into stages; those with a fault are left out, so a result counts only without faults.
pub fn wire(mut drafts: Vec<Draft>, source: &stage::Source<'_>, faults: &mut Vec<Diagnostic>) -> Vec<Stage> {
    let written: Vec<Option<Node>> = drafts.iter_mut().map(|draft| draft.inputs.take()).collect();
    let by_name = drafts.iter().enumerate().map(|(at, draft)| (draft.name.as_str(), at)).collect();
    let wiring = Wiring { drafts: &drafts, by_name, source };
    let inputs = written.into_iter().enumerate();
    let inputs: Vec<Vec<Wired>> = inputs.map(|(at, node)| wiring.inputs(at, node.as_ref(), faults)).collect();
    refuse_cycles(&drafts, &inputs, faults);
    let mut stages = Vec::new();
    for (mut draft, wired) in drafts.into_iter().zip(inputs) {
        let (Some(kind), Some(decoded)) = (draft.kind, draft.decoded) else { continue };
        for Wired { input, place } in &wired {
            let name = input.name.as_ref().map_or_else(String::new, |name| format!(".{name}"));
            let origin = source.origin(place).map(|origin| (format!("inputs.{}{name}", input.slot), origin));
            draft.origins.extend(origin);
        }
        stages.push(Stage {
            name: draft.name,
            kind,
            params: Arc::new(decoded.params),
            inputs: wired.into_iter().map(|wired| wired.input).collect(),
            outputs: decoded.outputs,
            seed: draft.seed,
            resources: draft.resources,
            course: decoded.course,
            checkpoints: draft.checkpoints,
            origins: draft.origins,
            uses: draft.uses,
            trial: draft.trial,
        });
    }
    stages
}

/// An input and where it is written.
struct Wired {
    input: Input,
    place: Place,
}

struct Wiring<'a> {
    drafts: &'a [Draft],
    by_name: HashMap<&'a str, usize>,
    source: &'a stage::Source<'a>,
}

impl Wiring<'_> {
    fn inputs(&self, at: usize, written: Option<&Node>, faults: &mut Vec<Diagnostic>) -> Vec<Wired> {
        let draft = &self.drafts[at];
        let Some(kind) = draft.kind else { return Vec::new() };
        let empty = Table::new();
        let table = match written.map(|node| (&node.place, &node.data)) {
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
                (None, Arity::One | Arity::Named | Arity::Files) => {
                    let message = format!("stage `{}` lacks the input `{}`", draft.written, port.name);
                    let fault = Diagnostic::new(message).place(&draft.place).label("nothing is wired");
                    faults.push(fault.help(format!("add `inputs.{} = \"STAGE\"`: {}", port.name, port.doc)));
                }
                (None, _) => {}
                (Some(entry), Arity::One | Arity::Optional) => {
                    inputs.extend(self.input(at, port, None, &entry.value, faults));
                }
                (Some(entry), Arity::Named | Arity::NamedOptional) => {
                    inputs.extend(self.named(at, port, &entry.value, faults));
                }
                (Some(entry), Arity::Files) => inputs.extend(self.files(at, port, &entry.value, faults)),
            }
        }
        inputs
    }

    fn named(&self, at: usize, port: &'static InputPort, node: &Node, faults: &mut Vec<Diagnostic>) -> Vec<Wired> {
        match &node.data {
            Data::Table(table) if !table.is_empty() => table
                .iter()
                .filter_map(|(name, entry)| self.input(at, port, Some(name.clone()), &entry.value, faults))
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
        faults: &mut Vec<Diagnostic>,
    ) -> Option<Wired> {
        let source = match &node.data {
            Data::Text(reference) => self.reference(at, port, reference, &node.place, faults)?,
            Data::Table(table) => match table.get("each").map(|entry| &entry.value) {
                Some(Node { data: Data::Text(reference), place }) if table.len() == 1 && name.is_some() => {
                    self.reference(at, port, reference, place, faults)?
                }
                _ => self.file(table, node, faults)?,
            },
            other => {
                let fault = Diagnostic::new(format!("an input cannot be {}", other.sort())).place(&node.place);
                faults.push(fault.help("write \"STAGE\", \"STAGE.ARTIFACT\" or { path = \"FILE\" }"));
                return None;
            }
        };
        let gathered = name.as_ref().and_then(|name| {
            let gathered = &self.drafts[at].gathered;
            if gathered.is_empty() { None } else { gathered.get(&(port.name.to_owned(), name.clone())).cloned() }
        });
        Some(Wired { input: Input { slot: port.name, name, source, gathered }, place: node.place.clone() })
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
        let (name, artifact) = graph::stage_and_artifact(reference);
        let Some(&id) = self.by_name.get(name) else {
            let fault = Diagnostic::new(format!("there is no stage `{name}`")).place(place);
            let names = self.drafts.iter().map(|draft| draft.written.as_str()).filter(|_| faults.len() < SUGGESTED);
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
        let reference = graph::name_and_selection(reference).0;
        let message = format!("`{reference}` does not fit the slot `{}` of `{}`", port.name, self.drafts[at].written);
        let fault = Diagnostic::new(message).place(place).label(format!("the slot takes {accepts}"));
        faults.push(fault.help(format!("`{}` writes {}", producer.written, written.join(", "))));
        None
    }

    /// One artifact or file, or all files of a folder or a glob, each under its path.
    fn files(&self, at: usize, port: &'static InputPort, node: &Node, faults: &mut Vec<Diagnostic>) -> Vec<Wired> {
        let Data::Table(table) = &node.data else {
            return self.input(at, port, None, node, faults).into_iter().collect();
        };
        let Some((path, place)) = self.path(table, node, faults) else { return Vec::new() };
        let wired = |name, path| Wired {
            input: Input { slot: port.name, name, source: Source::File(path), gathered: None },
            place: node.place.clone(),
        };
        match files::several(&path) {
            Ok(Files::One(path)) => vec![wired(None, path)],
            Ok(Files::Many(found)) => found.into_iter().map(|(name, path)| wired(Some(name), path)).collect(),
            Err(refusal) => {
                faults.push(refused(refusal, place, &path));
                Vec::new()
            }
        }
    }

    /// Finds the file of `{ path = "FILE" }`.
    fn file(&self, table: &Table, node: &Node, faults: &mut Vec<Diagnostic>) -> Option<Source> {
        let (path, place) = self.path(table, node, faults)?;
        match files::one(&path) {
            Ok(path) => Some(Source::File(path)),
            Err(refusal) => {
                faults.push(refused(refusal, place, &path));
                None
            }
        }
    }

    /// The path of `{ path = "FILE" }` and where it is written: relative to the pipeline, or to the current folder
    /// when it was typed on the command line.
    fn path<'n>(&self, table: &'n Table, node: &Node, faults: &mut Vec<Diagnostic>) -> Option<(PathBuf, &'n Place)> {
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
        Some((path, place))
    }
}

fn refused(refusal: Refusal, place: &Place, path: &Path) -> Diagnostic {
    let base = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let fault = Diagnostic::new(refusal.message).place(place).label(refusal.label);
    fault.help(format!("looked for `{}`", base.display()))
}

fn slots(ports: &[InputPort]) -> String {
    let slots: Vec<_> = ports.iter().map(|port| format!("`{}`: {}", port.name, port.doc)).collect();
    format!("slots: {}", slots.join("; "))
}

/// Walks back from each stage; a stage met again on the way is a cycle, which is shown whole.
fn refuse_cycles(drafts: &[Draft], inputs: &[Vec<Wired>], faults: &mut Vec<Diagnostic>) {
    let (mut done, mut on_path) = (vec![false; drafts.len()], vec![false; drafts.len()]);
    for start in 0..drafts.len() {
        let mut path = vec![(start, 0)];
        while let Some((at, next)) = path.last_mut() {
            let at = *at;
            on_path[at] = true;
            let Some(wired) = inputs[at].get(*next).filter(|_| !done[at]) else {
                (done[at], on_path[at]) = (true, false);
                path.pop();
                continue;
            };
            *next += 1;
            let Source::Output(producer, _) = &wired.input.source else { continue };
            let producer = producer.index();
            if on_path[producer] {
                let above = path.iter().skip_while(|(stage, _)| *stage != producer);
                let mut names: Vec<_> = above.map(|(stage, _)| drafts[*stage].written.as_str()).collect();
                names.push(&drafts[producer].written);
                names.reverse();
                let fault = Diagnostic::new(format!("stages form a cycle: {}", names.join(" → "))).place(&wired.place);
                faults.push(fault.label("closes the cycle").help("a stage cannot read what follows from it"));
            } else if !done[producer] {
                path.push((producer, 0));
            }
        }
    }
}
