//! The key of a stage: a digest of its key record, and the differences between two records. One walk serves
//! both, so that an explanation can never disagree with the decision. Unaware of stores and of graphs.
//!
//! # The encoding, a contract
//!
//! A record is a JSON object. Each value in it is written as a series of tokens, each a tag byte and a payload with
//! lengths in front (little-endian `u64`), so that two different values never encode alike:
//!
//! | tag | token | payload |
//! |---|---|---|
//! | `n` | null | |
//! | `t`, `f` | true, false | |
//! | `i` | whole number within `i64` | 8 bytes |
//! | `u` | larger whole number | 8 bytes |
//! | `d` | other number | the bits of the `f64`, 8 bytes |
//! | `s` | text | length, UTF-8 |
//! | `l` | list follows | number of items |
//! | `m` | map follows, sorted by key | number of entries |
//! | `k` | key of the next value | length, UTF-8 |
//! | `h` | a value by its digest | 32 bytes |
//!
//! The key is the BLAKE3 digest of the record's own map token and, for each entry, its key and the digest (`h`) of
//! the value's encoding: so what many stages share, such as the code of their kind, is hashed once.
//!
//! The format version is an entry of every record. Changing any of this makes every cached result unreachable;
//! the golden keys in the tests hold it in place.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::digest::Digest;

/// Version of the record's layout and encoding.
pub const RECORD_FORMAT: u64 = 2;

/// A step of the walk through a value.
enum Token<'a> {
    /// A value that holds no other.
    Leaf(&'a Value),
    /// A list or map with this many members begins.
    Open(u8, usize),
    /// The key of the value that follows.
    Key(&'a str),
    /// The list or map that was opened last has no more members.
    Close,
}

/// Visits a value in canonical order.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(Token<'a>)) {
    match value {
        Value::Array(items) => {
            visit(Token::Open(b'l', items.len()));
            items.iter().for_each(|item| walk(item, visit));
            visit(Token::Close);
        }
        Value::Object(entries) => {
            visit(Token::Open(b'm', entries.len()));
            for (key, item) in sorted(entries) {
                visit(Token::Key(key));
                walk(item, visit);
            }
            visit(Token::Close);
        }
        leaf => visit(Token::Leaf(leaf)),
    }
}

/// The entries of an object by key; how the library keeps them depends on its features.
fn sorted(entries: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries.into_iter()
}

/// The canonical encoding of a value.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    walk(value, &mut |token| put(&token, &mut bytes));
    bytes
}

fn put(token: &Token<'_>, bytes: &mut Vec<u8>) {
    let mut put = |tag: u8, payload: &[u8]| {
        bytes.push(tag);
        bytes.extend_from_slice(payload);
    };
    match token {
        Token::Close => {}
        Token::Open(tag, members) => put(*tag, &(*members as u64).to_le_bytes()),
        Token::Key(key) => put_text(b'k', key, bytes),
        Token::Leaf(Value::Null) => put(b'n', &[]),
        Token::Leaf(Value::Bool(true)) => put(b't', &[]),
        Token::Leaf(Value::Bool(false)) => put(b'f', &[]),
        Token::Leaf(Value::String(text)) => put_text(b's', text, bytes),
        Token::Leaf(Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => put(b'i', &number.to_le_bytes()),
            (None, Some(number)) => put(b'u', &number.to_le_bytes()),
            (None, None) => {
                let number = number.as_f64().expect("a JSON number is an i64, a u64 or an f64");
                put(b'd', &number.to_bits().to_le_bytes());
            }
        },
        Token::Leaf(Value::Array(_) | Value::Object(_)) => unreachable!("the walk opens these"),
    }
}

fn put_text(tag: u8, text: &str, bytes: &mut Vec<u8>) {
    bytes.push(tag);
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// A key record: all that a result depends on, entry by entry.
///
/// Left out on purpose, for none of it can change a result: names of stages, paths, comments, the order of
/// keys, numbers of threads, the index of a device, attempts, time, user and host.
#[derive(Clone, Debug)]
pub struct Record {
    entries: BTreeMap<Cow<'static, str>, Entry>,
}

/// A value of a record with the digest of its encoding.
#[derive(Clone, Debug)]
struct Entry {
    value: Arc<Value>,
    digest: Digest,
}

impl Entry {
    fn new(value: Arc<Value>) -> Self {
        let digest = Digest::of(&encode(&value));
        Self { value, digest }
    }
}

/// The code of a kind as an entry; thousands of stages share it.
fn code_entry(kind: &'static str, parts: &[(&str, &str)]) -> Entry {
    static KNOWN: LazyLock<Mutex<HashMap<&'static str, Entry>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let made = || {
        let code: Map<_, _> = parts.iter().map(|(name, digest)| ((*name).into(), (*digest).into())).collect();
        Entry::new(Arc::new(code.into()))
    };
    known.entry(kind).or_insert_with(made).clone()
}

/// What a key record is made of.
pub struct RecordParts<'a> {
    /// The kind's name.
    pub kind: &'static str,
    /// Digest or version of every module and library behind the kind.
    pub code: &'a [(&'a str, &'a str)],
    /// Decoded parameters.
    pub params: Arc<Value>,
    /// Content digests by slot.
    pub inputs: Value,
    /// The seed, for kinds that draw.
    pub seed: Option<u64>,
    /// What decides the rounding of a kind that computes with LibTorch.
    pub numeric: Option<Value>,
    /// Environment variables that the stage declares, with their values.
    pub environment: Option<Value>,
}

impl Record {
    /// Builds a key record.
    pub fn new(parts: RecordParts<'_>) -> Self {
        let entry = |value: Value| Entry::new(Arc::new(value));
        let mut entries: BTreeMap<Cow<'static, str>, Entry> = BTreeMap::new();
        entries.insert("format".into(), entry(RECORD_FORMAT.into()));
        entries.insert("kind".into(), entry(parts.kind.into()));
        entries.insert("code".into(), code_entry(parts.kind, parts.code));
        entries.insert("params".into(), Entry::new(parts.params));
        entries.insert("inputs".into(), entry(parts.inputs));
        let optional =
            [("seed", parts.seed.map(Value::from)), ("numeric", parts.numeric), ("environment", parts.environment)];
        for (name, value) in optional {
            entries.extend(value.map(|value| (name.into(), entry(value))));
        }
        Self { entries }
    }

    /// The record that a JSON object tells; `None` for another value.
    pub fn from_json(value: Value) -> Option<Self> {
        let Value::Object(entries) = value else { return None };
        let entry = |(key, value): (String, Value)| (key.into(), Entry::new(Arc::new(value)));
        Some(Self { entries: entries.into_iter().map(entry).collect() })
    }

    /// The record as JSON.
    pub fn json(&self) -> Value {
        let entry = |(key, entry): (&Cow<'static, str>, &Entry)| (key.to_string(), Value::clone(&entry.value));
        self.entries.iter().map(entry).collect::<Map<_, _>>().into()
    }

    /// The key of the course that a training goes along: of this record with other parameters, and marked, so that
    /// it is no key of a result.
    pub fn course(&self, params: &Value) -> Digest {
        let mut course = self.clone();
        course.entries.insert("params".into(), Entry::new(Arc::new(params.clone())));
        course.entries.insert("course".into(), Entry::new(Arc::new(true.into())));
        course.key()
    }

    /// The parameters in it.
    pub fn params(&self) -> Option<&Value> {
        self.entries.get("params").map(|entry| &*entry.value)
    }

    /// Its key.
    pub fn key(&self) -> Digest {
        let mut bytes = Vec::new();
        put(&Token::Open(b'm', self.entries.len()), &mut bytes);
        for (key, entry) in &self.entries {
            put(&Token::Key(key), &mut bytes);
            bytes.push(b'h');
            bytes.extend_from_slice(entry.digest.bytes());
        }
        Digest::of(&bytes)
    }

    /// The leaves in which an earlier record differs; empty exactly when the keys agree.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let names = old.entries.keys().chain(self.entries.keys().filter(|name| !old.entries.contains_key(*name)));
        let mut changes = Vec::new();
        for name in names {
            let (old, new) = (old.entries.get(name), self.entries.get(name));
            if old.map(|entry| entry.digest) != new.map(|entry| entry.digest) {
                let [old, new] = [old, new].map(|entry| entry.map(|entry| &*entry.value));
                let before = changes.len();
                changes.extend(differences(name, old, new));
                // Leaves can agree in path and text though the values do not: `{"a": {"b": 1}}`, `{"a.b": 1}`.
                if changes.len() == before {
                    let [old, new] = [old, new].map(|value| value.map(Value::to_string));
                    changes.push(Change { path: name.to_string(), old, new });
                }
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }
}

/// A leaf that differs between two records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Path of the leaf, such as `params.epochs`.
    pub path: String,
    /// What it was; `None` when it is new.
    pub old: Option<String>,
    /// What it is; `None` when it is gone.
    pub new: Option<String>,
}

/// The leaves in which two values below a name differ.
fn differences(name: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<Change> {
    let leaves = |value: Option<&Value>| value.map_or_else(BTreeMap::new, |value| leaves(name, value));
    let (mut old, new) = (leaves(old), leaves(new));
    let mut changes = Vec::new();
    for (path, new) in new {
        let old = old.remove(&path);
        if old.as_deref() != Some(&new) {
            changes.push(Change { path, old, new: Some(new) });
        }
    }
    changes.extend(old.into_iter().map(|(path, old)| Change { path, old: Some(old), new: None }));
    changes
}

/// Every leaf of a value by its path below a name; an empty list or map is a leaf too.
fn leaves(name: &str, value: &Value) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    // The path of what comes next, and for each list or map around it the number of its next member.
    let mut path = vec![name.to_owned()];
    let mut around: Vec<(u8, usize)> = Vec::new();
    walk(value, &mut |token| {
        match (&token, around.last_mut()) {
            (Token::Key(key), _) => return path.push((*key).to_owned()),
            (Token::Close, _) => {
                around.pop();
            }
            (Token::Leaf(_) | Token::Open(..), Some((b'l', next))) => {
                path.push(next.to_string());
                *next += 1;
            }
            (Token::Leaf(_) | Token::Open(..), _) => {}
        }
        let text = match token {
            Token::Leaf(value) => Some(value.to_string()),
            Token::Open(b'l', 0) => Some("[]".into()),
            Token::Open(_, 0) => Some("{}".into()),
            Token::Open(..) | Token::Key(_) | Token::Close => None,
        };
        leaves.extend(text.map(|text| (path.join("."), text)));
        match token {
            Token::Open(sort, _) => around.push((sort, 0)),
            // A value is over: the step that led to it is taken back.
            _ => {
                path.pop();
            }
        }
    });
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(value: Value) -> Record {
        Record::from_json(value).unwrap()
    }

    #[test]
    fn golden_keys_hold_the_encoding_in_place() {
        let golden = [
            (json!({}), "d4b4a5515c52fe348ba5c8c45b77ffbcb993c9e7fafd404be18f7f47248bb0ac"),
            (
                json!({"a": 1, "b": [true, false, null], "c": {"d": 0.1, "e": "é"}}),
                "10f356340f5ef97c275199a1682b84b4f4de70bdc425ccfbb2bdbdc0d6eca729",
            ),
            (
                json!({"format": 2, "kind": "filter", "params": {"min_points": 50}}),
                "59556e293e3ad92d69375c8a08f69d87c0a40067ff3faa114c31a162e86ac88d",
            ),
        ];
        for (value, key) in golden {
            assert_eq!(record(value.clone()).key().to_string(), key, "{value}");
        }
    }

    #[test]
    fn values_that_look_alike_are_encoded_differently() {
        let values = [
            json!(1),
            json!(1.0),
            json!("1"),
            json!([1]),
            json!({"1": 1}),
            json!(true),
            json!("true"),
            json!(0.0),
            json!(-0.0),
            json!(0),
            json!(null),
            json!(""),
            json!([]),
            json!({}),
            json!([[], []]),
            json!([[[]]]),
            json!(["ab", "c"]),
            json!(["a", "bc"]),
            json!({"a": "b"}),
            json!(["a", "b"]),
            json!(u64::MAX),
            json!(-1),
        ];
        for (at, one) in values.iter().enumerate() {
            for other in &values[at + 1..] {
                assert_ne!(encode(one), encode(other), "{one} {other}");
                let (one, other) = (record(json!({"x": one})), record(json!({"x": other})));
                assert_ne!(one.key(), other.key());
                assert_ne!(one.changes_since(&other), []);
            }
        }
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one = record(serde_json::from_str(r#"{"a": 1, "b": {"x": 1, "y": 2}}"#).unwrap());
        let other = record(serde_json::from_str(r#"{"b": {"y": 2, "x": 1}, "a": 1}"#).unwrap());
        assert_eq!(one.key(), other.key());
        assert_eq!(one.changes_since(&other), []);
    }

    #[test]
    fn a_record_is_the_same_after_it_was_written_and_read() {
        let parts = RecordParts {
            kind: "filter",
            code: &[("stages::kinds::filter", "abc")],
            params: Arc::new(json!({"min_points": 50, "share": 0.1})),
            inputs: json!({"workouts": "def", "unused": null}),
            seed: Some(7),
            numeric: None,
            environment: None,
        };
        let made = Record::new(parts);
        assert_eq!(record(made.json()).key(), made.key());
    }

    #[test]
    fn an_explanation_names_the_leaf_with_old_and_new() {
        let old = record(json!({"params": {"epochs": 10, "loss": "l1", "run": ["a", {"b": []}]}, "inputs": []}));
        let new = record(json!({"params": {"epochs": 20, "clip": 1.0, "run": ["a", {"b": [3]}]}, "inputs": []}));
        let change = |path: &str, old: Option<&str>, new: Option<&str>| Change {
            path: path.into(),
            old: old.map(Into::into),
            new: new.map(Into::into),
        };
        assert_eq!(
            new.changes_since(&old),
            [
                change("params.clip", None, Some("1.0")),
                change("params.epochs", Some("10"), Some("20")),
                change("params.loss", Some("\"l1\""), None),
                change("params.run.1.b", Some("[]"), None),
                change("params.run.1.b.0", None, Some("3")),
            ]
        );
    }

    #[test]
    fn a_difference_that_no_leaf_shows_is_told_whole() {
        let (old, new) = (record(json!({"p": {"a.b": 1}})), record(json!({"p": {"a": {"b": 1}}})));
        let changes = new.changes_since(&old);
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].path.as_str(), changes[0].new.as_deref()), ("p", Some(r#"{"a":{"b":1}}"#)));
    }
}
