//! What a stage reads from other stages, as it is written: one by one, or gathered in a slot of names. Unaware of
//! sweeps.

use std::collections::HashMap;

use pacer_stages::artifact::Arity;

use crate::diagnostic::Place;
use crate::graph;
use crate::resolve::expand::{Template, kind_of};
use crate::spec::{Data, Node, Table};

/// How a stage reads another that is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A trial: one stage for each of them.
    One,
    /// All trials at once.
    Gather,
}

/// A stage that another names as an input.
pub struct Read {
    /// The stage that is named.
    pub producer: usize,
    /// The slot.
    pub slot: String,
    /// The name within a slot of many.
    pub entry: Option<String>,
    /// Which trials are meant: those with these values.
    pub selection: Vec<(String, String)>,
    /// The artifact with the dot before it, or nothing.
    pub artifact: String,
    /// One by one, or all at once.
    pub way: Way,
    /// Where it is written.
    pub place: Place,
}

/// The stages that a stage reads from.
pub fn of(template: &Template, by_name: &HashMap<String, usize>) -> Vec<Read> {
    let (Data::Table(table), Some(kind)) = (&template.node.data, kind_of(template)) else { return Vec::new() };
    let Some(Data::Table(slots)) = table.get("inputs").map(|entry| &entry.value.data) else { return Vec::new() };
    let mut reads = Vec::new();
    for (slot, entry) in slots {
        let Some(port) = kind.input(slot) else { continue };
        let many = matches!(port.arity, Arity::Named | Arity::NamedOptional);
        match &entry.value.data {
            Data::Table(entries) if many => {
                for (name, entry) in entries {
                    reads.extend(read(slot, Some(name), &entry.value, by_name));
                }
            }
            _ if !many => reads.extend(read(slot, None, &entry.value, by_name)),
            _ => {}
        }
    }
    reads
}

fn read(slot: &str, entry: Option<&String>, node: &Node, by_name: &HashMap<String, usize>) -> Option<Read> {
    let (text, way) = match &node.data {
        Data::Text(text) if entry.is_some() => (text, Way::Gather),
        Data::Text(text) => (text, Way::One),
        Data::Table(table) => (each(table)?, Way::One),
        _ => return None,
    };
    let (stage, artifact) = graph::stage_and_artifact(text);
    let (name, selection) = graph::name_and_selection(stage);
    Some(Read {
        producer: *by_name.get(name)?,
        slot: slot.to_owned(),
        entry: entry.cloned(),
        selection: selection.map(graph::selected).unwrap_or_default(),
        artifact: artifact.map(|artifact| format!(".{artifact}")).unwrap_or_default(),
        way,
        place: node.place.clone(),
    })
}

/// The stage in `{ each = "STAGE" }`: in a slot of many, one stage for each trial rather than all of them gathered.
fn each(table: &Table) -> Option<&String> {
    match table.get("each").map(|entry| &entry.value.data) {
        Some(Data::Text(text)) if table.len() == 1 => Some(text),
        _ => None,
    }
}
