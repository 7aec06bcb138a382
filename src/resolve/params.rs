//! Parameters of a pipeline: `[params]`, overridden by `--set`, put where stages write `${name}`.
//! Unaware of kinds.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostic, Place, SUGGESTED};
use crate::spec::{self, Data, Entry, Node, Table};

/// Bytes that all `${name}` together may put in: a short file could otherwise ask for more than any memory holds.
const PUT_IN_BYTES: usize = 64 << 20;

/// The parameters by dotted name, after overrides.
pub struct Parameters {
    values: BTreeMap<String, Node>,
    /// Bytes that were put in so far.
    put_in: Cell<usize>,
}

impl Parameters {
    /// Reads `[params]` and applies `--set`; a name may be set if it is declared or used by a stage.
    pub fn gather(declared: Option<&Entry>, set: &[String], stages: &Table, faults: &mut Vec<Diagnostic>) -> Self {
        let mut values = BTreeMap::new();
        if let Some(entry) = declared {
            flatten("", &entry.value, &mut values);
        }
        let mut known: BTreeSet<String> = values.keys().cloned().collect();
        stages.values().for_each(|entry| references(&entry.value, &mut known));
        for argument in set {
            override_one(argument, &known, &mut values, faults);
        }
        Self { values, put_in: Cell::new(0) }
    }

    /// The parameters that a value names, sorted.
    pub fn named_in(node: &Node) -> Vec<String> {
        let mut names = BTreeSet::new();
        references(node, &mut names);
        names.into_iter().collect()
    }

    /// Replaces every `${name}` in a value; a text that is nothing else takes the parameter's type.
    pub fn substitute(&self, node: &mut Node, faults: &mut Vec<Diagnostic>) {
        match &mut node.data {
            Data::Text(text) if text.contains("${") => {
                let text = std::mem::take(text);
                *node = self.text(&text, &node.place, faults);
            }
            Data::List(items) => items.iter_mut().for_each(|item| self.substitute(item, faults)),
            Data::Table(items) => items.values_mut().for_each(|entry| self.substitute(&mut entry.value, faults)),
            Data::Text(_) | Data::Integer(_) | Data::Float(_) | Data::Bool(_) => {}
        }
    }

    fn text(&self, text: &str, place: &Place, faults: &mut Vec<Diagnostic>) -> Node {
        let as_written = || Node { place: place.clone(), data: Data::Text(text.to_owned()) };
        let pieces = pieces(text);
        if let [Piece::Reference(name)] = pieces.as_slice() {
            return self.get(name, place, faults).cloned().unwrap_or_else(as_written);
        }
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => out.push_str(&literal),
                Piece::Reference(name) => {
                    let value = self.get(name, place, faults);
                    out.push_str(&value.map(plain).unwrap_or_default());
                }
            }
        }
        Node { place: place.clone(), data: Data::Text(out) }
    }

    /// Counts a value that is put in; the first one too many is a fault.
    fn has_room(&self, value: &Node, place: &Place, faults: &mut Vec<Diagnostic>) -> bool {
        let before = self.put_in.get();
        let after = before.saturating_add(weight(value));
        self.put_in.set(after);
        if before <= PUT_IN_BYTES && after > PUT_IN_BYTES {
            let message = format!("the parameters that are put in here and before take over {} MB", PUT_IN_BYTES >> 20);
            let help = "keep what is so long in a file and wire it: `inputs.NAME = { path = \"FILE\" }`";
            faults.push(Diagnostic::new(message).place(place).label("too long").help(help));
        }
        after <= PUT_IN_BYTES
    }

    fn get(&self, name: &str, place: &Place, faults: &mut Vec<Diagnostic>) -> Option<&Node> {
        let found = self.values.get(name);
        if found.is_none() {
            let fault = Diagnostic::new(format!("the parameter `{name}` has no value")).place(place);
            let fault = fault
                .label("used here")
                .help(format!("give it on the command line, `--set {name}=…`, or write it under [params]"));
            let known = self.values.keys().map(String::as_str).filter(|_| faults.len() < SUGGESTED);
            faults.push(fault.did_you_mean(name, known));
        }
        found.filter(|value| self.has_room(value, place, faults))
    }
}

/// About the bytes that a value takes.
fn weight(node: &Node) -> usize {
    match &node.data {
        Data::Text(text) => text.len(),
        Data::List(items) => items.iter().map(weight).sum(),
        Data::Table(items) => items.iter().map(|(key, entry)| key.len() + weight(&entry.value)).sum(),
        Data::Integer(_) | Data::Float(_) | Data::Bool(_) => size_of::<Node>(),
    }
}

fn override_one(
    argument: &str,
    known: &BTreeSet<String>,
    values: &mut BTreeMap<String, Node>,
    faults: &mut Vec<Diagnostic>,
) {
    let text = format!("--set {argument}");
    let start = text.len() - argument.len();
    let place = |from: usize, to: usize| Place::Argument { text: text.clone(), span: start + from..start + to };
    let Some((key, value)) = argument.split_once('=') else {
        let fault = Diagnostic::new("`--set` wants `name=value`").place(&place(0, argument.len()));
        faults.push(fault.label("no `=` here").help("for example `--set train.epochs=10`"));
        return;
    };
    if !known.contains(key) {
        let fault = Diagnostic::new(format!("no parameter is called `{key}`")).place(&place(0, key.len()));
        let help = match known.is_empty() {
            true => "this pipeline has no parameters".to_owned(),
            false => format!("known: {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        faults.push(fault.label("unknown parameter").help(help).did_you_mean(key, known.iter().map(String::as_str)));
        return;
    }
    let place = place(key.len() + 1, argument.len());
    let mut node = spec::parse_argument(value, &place);
    if let Some(declared) = values.get(key) {
        node = match fit(node, &declared.data, value) {
            Ok(node) => node,
            Err(given) => {
                let fault = Diagnostic::new(format!("`{key}` is set to {given}")).place(&place);
                faults.push(fault.label(format!("must be {}, as in [params]", declared.data.sort())));
                return;
            }
        };
    }
    values.insert(key.to_owned(), node);
}

/// Gives a value from the command line the sort that the file declares, or says what it is.
fn fit(node: Node, declared: &Data, typed: &str) -> Result<Node, &'static str> {
    let data = match (node.data, declared) {
        (_, Data::Text(_)) => Data::Text(typed.trim_matches('"').to_owned()),
        (Data::Integer(number), Data::Float(_)) => Data::Float(number as f64),
        (data, declared) if std::mem::discriminant(&data) == std::mem::discriminant(declared) => data,
        (data, _) => return Err(data.sort()),
    };
    Ok(Node { place: node.place, data })
}

fn flatten(prefix: &str, node: &Node, values: &mut BTreeMap<String, Node>) {
    match &node.data {
        Data::Table(items) => {
            for (key, entry) in items {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&name, &entry.value, values);
            }
        }
        _ => {
            values.insert(prefix.to_owned(), node.clone());
        }
    }
}

fn references(node: &Node, known: &mut BTreeSet<String>) {
    match &node.data {
        Data::Text(text) if text.contains("${") => {
            known.extend(pieces(text).into_iter().filter_map(|piece| match piece {
                Piece::Reference(name) => Some(name.to_owned()),
                Piece::Literal(_) => None,
            }));
        }
        Data::List(items) => items.iter().for_each(|item| references(item, known)),
        Data::Table(items) => items.values().for_each(|entry| references(&entry.value, known)),
        Data::Text(_) | Data::Integer(_) | Data::Float(_) | Data::Bool(_) => {}
    }
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(String),
    Reference(&'a str),
}

/// Cuts a text at its `${name}`; `$${` stands for a literal `${`.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            literal.push_str(&rest[..at]);
            literal.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        let Some(end) = rest[at..].find('}') else { break };
        literal.push_str(&rest[..at]);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Reference(rest[at + 2..at + end].trim()));
        rest = &rest[at + end + 1..];
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

fn plain(node: &Node) -> String {
    match node.json() {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_may_stand_alone_or_inside_a_text() {
        assert_eq!(pieces("${a.b}"), [Piece::Reference("a.b")]);
        assert_eq!(
            pieces("x-${a}.json"),
            [Piece::Literal("x-".into()), Piece::Reference("a"), Piece::Literal(".json".into())]
        );
    }

    #[test]
    fn a_doubled_dollar_is_a_literal_one() {
        assert_eq!(pieces("echo $${HOME}"), [Piece::Literal("echo ${HOME}".into())]);
    }

    #[test]
    fn an_open_brace_without_end_is_plain_text() {
        assert_eq!(pieces("a ${b"), [Piece::Literal("a ${b".into())]);
    }
}
