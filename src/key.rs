//! The key of a stage: a digest of its key record, and the differences between two records. One walk serves
//! both, so that an explanation can never disagree with the decision. Unaware of stores and of graphs.
//!
//! # The encoding, a contract
//!
//! A record is a JSON tree. It is hashed with BLAKE3 as a series of tokens, each a tag byte and a payload with
//! lengths in front (little-endian `u64`), so that two different records never encode alike:
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
//!
//! The format version is the first entry of every record. Changing any of this makes every cached result
//! unreachable; the golden keys in the tests hold it in place.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::digest::Digest;

/// Version of the record's layout and encoding.
pub const RECORD_FORMAT: u64 = 1;

/// A step of the walk through a record.
enum Token<'a> {
    /// A value that holds no other.
    Leaf(&'a Value),
    /// A list or map with this many members begins.
    Open(u8, usize),
    /// The key of the value that follows.
    Key(&'a str),
}

/// A step of the path to a value. A key that looks like the place of an item is another step all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The value of this key.
    Key(String),
    /// The item at this place.
    Item(usize),
}

/// Visits a record in canonical order, telling the path to each token.
fn walk<'a>(value: &'a Value, path: &mut Vec<Step>, visit: &mut impl FnMut(&[Step], Token<'a>)) {
    match value {
        Value::Array(items) => {
            visit(path, Token::Open(b'l', items.len()));
            for (at, item) in items.iter().enumerate() {
                path.push(Step::Item(at));
                walk(item, path, visit);
                path.pop();
            }
        }
        Value::Object(entries) => {
            visit(path, Token::Open(b'm', entries.len()));
            let sorted: BTreeMap<_, _> = entries.iter().collect();
            for (key, item) in sorted {
                visit(path, Token::Key(key));
                path.push(Step::Key(key.clone()));
                walk(item, path, visit);
                path.pop();
            }
        }
        leaf => visit(path, Token::Leaf(leaf)),
    }
}

/// The key of a record.
pub fn digest(record: &Value) -> Digest {
    let mut hasher = blake3::Hasher::new();
    walk(record, &mut Vec::new(), &mut |_, token| encode(&token, &mut hasher));
    Digest::finish(&hasher)
}

fn encode(token: &Token<'_>, hasher: &mut blake3::Hasher) {
    let mut put = |tag: u8, payload: &[u8]| {
        hasher.update(&[tag]).update(payload);
    };
    match token {
        Token::Open(tag, members) => put(*tag, &(*members as u64).to_le_bytes()),
        Token::Key(key) => put_text(b'k', key, hasher),
        Token::Leaf(Value::Null) => put(b'n', &[]),
        Token::Leaf(Value::Bool(true)) => put(b't', &[]),
        Token::Leaf(Value::Bool(false)) => put(b'f', &[]),
        Token::Leaf(Value::String(text)) => put_text(b's', text, hasher),
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

fn put_text(tag: u8, text: &str, hasher: &mut blake3::Hasher) {
    hasher.update(&[tag]).update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
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

/// The leaves in which two records differ; empty exactly when their keys agree.
pub fn changes(old: &Value, new: &Value) -> Vec<Change> {
    let (mut old, new) = (leaves(old), leaves(new));
    let mut changes = Vec::new();
    for (path, new) in new {
        let old = old.remove(&path);
        if old.as_deref() != Some(&new) {
            changes.push(Change { path: plain(&path), old, new: Some(new) });
        }
    }
    changes.extend(old.into_iter().map(|(path, old)| Change { path: plain(&path), old: Some(old), new: None }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    changes
}

/// Every leaf of a record by its path; an empty list or map is a leaf too.
fn leaves(record: &Value) -> BTreeMap<Vec<Step>, String> {
    let mut leaves = BTreeMap::new();
    walk(record, &mut Vec::new(), &mut |path, token| {
        let text = match token {
            Token::Leaf(value) => value.to_string(),
            Token::Open(b'l', 0) => "[]".into(),
            Token::Open(_, 0) => "{}".into(),
            Token::Open(..) | Token::Key(_) => return,
        };
        leaves.insert(path.to_vec(), text);
    });
    leaves
}

/// A path as people write it.
fn plain(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Key(key) => key.clone(),
        Step::Item(at) => at.to_string(),
    };
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

/// What a key record is made of.
pub struct RecordParts<'a> {
    /// The kind's name.
    pub kind: &'a str,
    /// Digest or version of every module and library behind the kind.
    pub code: &'a [(&'a str, &'a str)],
    /// Decoded parameters.
    pub params: &'a Value,
    /// Content digests by slot.
    pub inputs: Value,
    /// The seed, for kinds that draw.
    pub seed: Option<u64>,
    /// What decides the rounding of a kind that computes with LibTorch.
    pub numeric: Option<Value>,
    /// Environment variables that the stage declares, with their values.
    pub environment: Option<Value>,
}

/// Builds a key record.
///
/// Left out on purpose, for none of it can change a result: names of stages, paths, comments, the order of
/// keys, numbers of threads, the index of a device, attempts, time, user and host.
pub fn record(parts: RecordParts<'_>) -> Value {
    let code: Map<_, _> = parts.code.iter().map(|(name, digest)| ((*name).into(), (*digest).into())).collect();
    let mut record = Map::new();
    record.insert("format".into(), RECORD_FORMAT.into());
    record.insert("kind".into(), parts.kind.into());
    record.insert("code".into(), code.into());
    record.insert("params".into(), parts.params.clone());
    record.insert("inputs".into(), parts.inputs);
    if let Some(seed) = parts.seed {
        record.insert("seed".into(), seed.into());
    }
    if let Some(numeric) = parts.numeric {
        record.insert("numeric".into(), numeric);
    }
    if let Some(environment) = parts.environment {
        record.insert("environment".into(), environment);
    }
    record.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn golden_keys_hold_the_encoding_in_place() {
        let golden = [
            (json!(null), "a74e0b1433b54b7a33bfe58e60093239cbcfca8c4bebcbf11b706970b8da2fbb"),
            (json!({}), "d4b4a5515c52fe348ba5c8c45b77ffbcb993c9e7fafd404be18f7f47248bb0ac"),
            (
                json!({"a": 1, "b": [true, false, null], "c": {"d": 0.1, "e": "é"}}),
                "f0239a1d08941c7e4330956a28d40811f82e676abbc6a049012c8761d5b712d4",
            ),
            (
                json!({"format": 1, "kind": "filter", "params": {"min_points": 50}}),
                "8611355a467e989a0aa681163e61d8fbae9c73666c5fb0ace1adec5f74d0caef",
            ),
        ];
        for (record, key) in golden {
            assert_eq!(digest(&record).to_string(), key, "{record}");
        }
    }

    #[test]
    fn values_that_look_alike_have_different_keys() {
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
                assert_ne!(digest(one), digest(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": {"x": 1, "y": 2}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b": {"y": 2, "x": 1}, "a": 1}"#).unwrap();
        assert_eq!(digest(&one), digest(&other));
        assert_eq!(changes(&one, &other), []);
    }

    #[test]
    fn paths_that_read_alike_are_told_apart() {
        for (one, other) in [(json!({"a.b": 1}), json!({"a": {"b": 1}})), (json!({"a": [1]}), json!({"a": {"0": 1}}))] {
            assert_ne!(digest(&one), digest(&other));
            assert_eq!(changes(&one, &other).len(), 2, "{one} {other}");
        }
    }

    #[test]
    fn an_explanation_names_the_leaf_with_old_and_new() {
        let old = json!({"params": {"epochs": 10, "loss": "l1"}, "inputs": []});
        let new = json!({"params": {"epochs": 20, "clip": 1.0}, "inputs": []});
        let change = |path: &str, old: Option<&str>, new: Option<&str>| Change {
            path: path.into(),
            old: old.map(Into::into),
            new: new.map(Into::into),
        };
        assert_eq!(
            changes(&old, &new),
            [
                change("params.clip", None, Some("1.0")),
                change("params.epochs", Some("10"), Some("20")),
                change("params.loss", Some("\"l1\""), None),
            ]
        );
    }
}
