//! The text of a pipeline as a tree of values that remember where they stand. Knows TOML; unaware of stages.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Place, Span};

/// How deep lists and tables may nest. The parser has a limit of its own, but counts brackets and dots apart.
const DEPTH_LIMIT: usize = 64;

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
    let mut faults: Vec<_> = errors.iter().map(|error| syntax(error.span().unwrap_or(0..0), error.message())).collect();
    if errors.iter().any(|error| is_recursion(error.message())) {
        return Err(faults);
    }
    let table = table(document.into_inner(), 1, &mut faults);
    if faults.is_empty() { Ok(table) } else { Err(faults) }
}

/// Reads the value of `--set key=value`: TOML where it parses, else plain text.
pub fn parse_argument(value: &str, place: &Place) -> Node {
    let data = DeValue::parse(value).ok().and_then(|parsed| {
        let mut faults = Vec::new();
        let node = node(parsed, 1, &mut faults);
        faults.is_empty().then_some(node.data)
    });
    Node { place: place.clone(), data: data.unwrap_or_else(|| Data::Text(value.to_owned())) }
}

/// A fault that the parser found.
fn syntax(span: Span, message: &str) -> Diagnostic {
    if is_recursion(message) { too_deep(span) } else { Diagnostic::at(span, message) }
}

/// Whether the parser gave up on what nests too deeply; its words do not say what to do.
fn is_recursion(message: &str) -> bool {
    message.contains("recursion")
}

fn too_deep(span: Span) -> Diagnostic {
    let fault = Diagnostic::at(span, format!("lists and tables nest deeper than {DEPTH_LIMIT} levels"));
    fault.label("too deep").help("no kind takes such a value: write it flatter")
}

/// Takes a table piece by piece, so that two trees of a large pipeline are never whole at once.
fn table(source: DeTable<'_>, depth: usize, faults: &mut Vec<Diagnostic>) -> Table {
    let entry = |(key, value): (Spanned<Cow<'_, str>>, Spanned<DeValue<'_>>), faults: &mut Vec<Diagnostic>| {
        let place = Place::File(key.span());
        (key.into_inner().into_owned(), Entry { key: place, value: node(value, depth, faults) })
    };
    source.into_iter().map(|pair| entry(pair, faults)).collect()
}

fn node(source: Spanned<DeValue<'_>>, depth: usize, faults: &mut Vec<Diagnostic>) -> Node {
    let span = source.span();
    let data = match source.into_inner() {
        DeValue::Array(_) | DeValue::Table(_) if depth >= DEPTH_LIMIT => {
            faults.push(too_deep(span.clone()));
            Data::List(Vec::new())
        }
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
        DeValue::Array(items) => Data::List(items.into_iter().map(|item| node(item, depth + 1, faults)).collect()),
        DeValue::Table(items) => Data::Table(table(items, depth + 1, faults)),
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

    /// A value that stands nowhere in the text, told at a place of it. Nothing of JSON but null is left out.
    pub fn of_json(value: &Value, place: &Place) -> Self {
        let entry = |value| Entry { key: place.clone(), value: Self::of_json(value, place) };
        let data = match value {
            Value::Null => Data::Text(String::new()),
            Value::Bool(truth) => Data::Bool(*truth),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Data::Integer(number),
                None => Data::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Data::Text(text.clone()),
            Value::Array(items) => Data::List(items.iter().map(|item| Self::of_json(item, place)).collect()),
            Value::Object(items) => Data::Table(items.iter().map(|(key, value)| (key.clone(), entry(value))).collect()),
        };
        Self { place: place.clone(), data }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse(text).map(|_| Vec::new()).unwrap_or_else(|faults| faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn nesting_is_limited_however_it_is_written() {
        let nested =
            |depth: usize, open: &str, close: &str| format!("a = {}1{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(faults(&nested(DEPTH_LIMIT - 1, "[", "]")), [""; 0]);
        let dotted = format!("{{ {} = ", ["a"; 70].join("."));
        let texts = [
            nested(DEPTH_LIMIT, "[", "]"),
            nested(100_000, "[", "]"),
            nested(100_000, "{ a = ", " }"),
            nested(70, &dotted, " }"),
            format!("{} = 1", ["a"; 100_000].join(".")),
            format!("[{}]\nb = 1", ["a"; 70].join(".")),
        ];
        for text in texts {
            assert_eq!(faults(&text), ["lists and tables nest deeper than 64 levels"], "{}", &text[..40]);
        }
    }

    #[test]
    fn numbers_that_no_parameter_can_hold_are_faults() {
        let text = "a = 99999999999999999999\nb = 1e999\nc = -inf\nd = nan\ne = 9223372036854775807\nf = 1e308";
        let expected = [
            "the number is too large",
            "`1e999` is not a finite number",
            "`-inf` is not a finite number",
            "`nan` is not a finite number",
        ];
        assert_eq!(faults(text), expected);
    }
}
