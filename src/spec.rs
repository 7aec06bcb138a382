//! The text of a pipeline as a tree of values that remember where they stand. Knows TOML; unaware of stages.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Place, Span};

/// A value and where it comes from.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value is written.
    pub place: Place,
    /// The value.
    pub data: Data,
}

/// The sorts of value.
#[derive(Clone, Debug)]
pub enum Data {
    /// A text; dates and times are texts too.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

/// A table, in the order of the text.
pub type Table = IndexMap<String, Entry>;

/// A key's place and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where the key is written.
    pub key: Place,
    /// The value.
    pub value: Node,
}

/// Reads a TOML document; every syntax fault is found.
pub fn parse(text: &str) -> Result<Table, Vec<Diagnostic>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<_> =
        errors.iter().map(|error| Diagnostic::at(error.span().unwrap_or(0..0), error.message().to_owned())).collect();
    let table = table(document.into_inner(), &mut faults);
    if faults.is_empty() { Ok(table) } else { Err(faults) }
}

/// Reads the value of `--set key=value`: TOML where it parses, else plain text.
pub fn parse_argument(value: &str, place: &Place) -> Node {
    let data = DeValue::parse(value).ok().and_then(|parsed| {
        let mut faults = Vec::new();
        let node = node(parsed, &mut faults);
        faults.is_empty().then_some(node.data)
    });
    Node { place: place.clone(), data: data.unwrap_or_else(|| Data::Text(value.to_owned())) }
}

/// Takes a table piece by piece, so that two trees of a large pipeline are never whole at once.
fn table(source: DeTable<'_>, faults: &mut Vec<Diagnostic>) -> Table {
    let entry = |(key, value): (Spanned<Cow<'_, str>>, Spanned<DeValue<'_>>), faults: &mut Vec<Diagnostic>| {
        let place = Place::File(key.span());
        (key.into_inner().into_owned(), Entry { key: place, value: node(value, faults) })
    };
    source.into_iter().map(|pair| entry(pair, faults)).collect()
}

fn node(source: Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Node {
    let span = source.span();
    let data = match source.into_inner() {
        DeValue::String(text) => Data::Text(text.into_owned()),
        DeValue::Integer(number) => {
            Data::Integer(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_else(|_| {
                faults.push(Diagnostic::at(span.clone(), "the number is too large").label("beyond 64 bits"));
                0
            }))
        }
        DeValue::Float(number) => Data::Float(finite(number.as_str(), &span, faults)),
        DeValue::Boolean(truth) => Data::Bool(truth),
        DeValue::Datetime(time) => Data::Text(time.to_string()),
        DeValue::Array(items) => Data::List(items.into_iter().map(|item| node(item, faults)).collect()),
        DeValue::Table(items) => Data::Table(table(items, faults)),
    };
    Node { place: Place::File(span), data }
}

/// Infinite numbers are refused: no parameter means one, and JSON cannot keep them.
fn finite(text: &str, span: &Span, faults: &mut Vec<Diagnostic>) -> f64 {
    let number: f64 = text.replace('_', "").parse().unwrap_or(f64::NAN);
    if !number.is_finite() {
        faults.push(Diagnostic::at(span.clone(), format!("`{text}` is not a finite number")));
    }
    number
}

impl Data {
    /// What a person calls this sort of value.
    pub const fn sort(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The value without places.
    pub fn json(&self) -> Value {
        match &self.data {
            Data::Text(text) => Value::from(text.as_str()),
            Data::Integer(number) => Value::from(*number),
            Data::Float(number) => Value::from(*number),
            Data::Bool(truth) => Value::from(*truth),
            Data::List(items) => items.iter().map(Self::json).collect(),
            Data::Table(items) => items.iter().map(|(key, entry)| (key.clone(), entry.value.json())).collect(),
        }
    }

    /// The node at a path such as `a.b` or `a[0].c`, and the path's deepest part that exists.
    pub fn find(&self, path: &str) -> &Self {
        let mut here = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match &here.data {
                Data::Table(items) => items.get(step).map(|entry| &entry.value),
                Data::List(items) => step.trim_end_matches(']').parse().ok().and_then(|at: usize| items.get(at)),
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => break,
            }
        }
        here
    }

    /// Removes the value at a path; whether there was one.
    pub fn remove(&mut self, path: &str) -> bool {
        let (parent, last) = path.rsplit_once(['.', '[']).unwrap_or(("", path));
        let mut here = self;
        for step in parent.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match &mut here.data {
                Data::Table(items) => items.get_mut(step).map(|entry| &mut entry.value),
                Data::List(items) => step.trim_end_matches(']').parse().ok().and_then(|at: usize| items.get_mut(at)),
                _ => None,
            };
            let Some(next) = next else { return false };
            here = next;
        }
        match &mut here.data {
            Data::Table(items) => items.shift_remove(last).is_some(),
            Data::List(items) => match last.trim_end_matches(']').parse::<usize>() {
                Ok(at) if at < items.len() => {
                    items.remove(at);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }
}
