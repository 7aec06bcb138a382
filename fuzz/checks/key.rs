//! Two trees as key records: alike exactly when their encodings, their keys and their leaves are alike; and an
//! encoding can be read back. The input is read as JSON with all faults forgiven, so that every text is some trees.

use std::collections::BTreeMap;

use pacer::digest::Digest;
use pacer::key::{self, Record};
use serde_json::{Map, Value};

/// How deep a tree is read.
const DEPTH: usize = 12;

/// Trees that a tree is compared with, at most.
const COMPARED: usize = 60;

/// Checks one input.
pub fn check(bytes: &[u8]) {
    let mut reader = Reader { bytes, at: 0 };
    let Some(one) = reader.value(0) else { return };
    let other = reader.value(0).unwrap_or(Value::Null);
    assert!(same(&one, &decoded(&key::encode(&one))), "{one} is not read back");
    let mut twins = Vec::new();
    look_alikes(&one, &mut |twin| twins.push(twin));
    let step = twins.len() / COMPARED + 1;
    let trees: Vec<Value> =
        [one.clone(), reordered(&one), other].into_iter().chain(twins.into_iter().step_by(step)).collect();
    compare(&one, &trees, Clone::clone);
    compare(&one, &trees, |tree| Value::Object(Map::from_iter([("params".to_owned(), tree.clone())])));
}

/// Compares a tree with others as records, where they make some.
fn compare(one: &Value, trees: &[Value], record: impl Fn(&Value) -> Value) {
    let Some(first) = Record::from_json(record(one)) else { return };
    let mut by_key: BTreeMap<Digest, &Value> = BTreeMap::new();
    for tree in trees {
        let same_as_first = same(one, tree);
        assert_eq!(key::encode(one) == key::encode(tree), same_as_first, "{one} and {tree}");
        let Some(other) = Record::from_json(record(tree)) else { continue };
        assert_eq!(first.key() == other.key(), same_as_first, "{one} and {tree}");
        assert_eq!(other.changes_since(&first).is_empty(), same_as_first, "between {one} and {tree}");
        // All that look like the first must differ from each other too.
        let twin = by_key.entry(other.key()).or_insert(tree);
        assert!(same(twin, tree), "{twin} and {tree}");
    }
}

/// The value behind an encoding, read as the contract in the documentation of `key` has it.
fn decoded(mut bytes: &[u8]) -> Value {
    let value = decode(&mut bytes);
    assert!(bytes.is_empty(), "something follows the value");
    value
}

fn decode(bytes: &mut &[u8]) -> Value {
    match take::<1>(bytes)[0] {
        b'n' => Value::Null,
        b't' => true.into(),
        b'f' => false.into(),
        b'i' => i64::from_le_bytes(take(bytes)).into(),
        b'u' => u64::from_le_bytes(take(bytes)).into(),
        b'd' => f64::from_bits(u64::from_le_bytes(take(bytes))).into(),
        b's' => text(bytes).into(),
        b'l' => (0..length(bytes)).map(|_| decode(bytes)).collect(),
        b'm' => (0..length(bytes))
            .map(|_| {
                assert_eq!(take(bytes), *b"k");
                (text(bytes), decode(bytes))
            })
            .collect(),
        tag => panic!("{tag} is no tag"),
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (taken, rest) = bytes.split_first_chunk().expect("the encoding does not break off");
    *bytes = rest;
    *taken
}

fn length(bytes: &mut &[u8]) -> usize {
    u64::from_le_bytes(take(bytes)) as usize
}

fn text(bytes: &mut &[u8]) -> String {
    let length = length(bytes);
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    String::from_utf8(text.to_vec()).expect("a text is UTF-8")
}

/// Whether two trees are one record: numbers by their sort and bits, maps in any order.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let whole = |number: &serde_json::Number| (number.as_i64(), number.as_u64());
            let bits = |number: &serde_json::Number| number.as_f64().map(f64::to_bits);
            whole(one) == whole(other) && (whole(one) != (None, None) || bits(one) == bits(other))
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in = |(key, value): (&String, &Value)| other.get(key).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(is_in)
        }
        _ => one == other,
    }
}

fn reordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(reordered).collect(),
        Value::Object(entries) => entries.iter().rev().map(|(key, value)| (key.clone(), reordered(value))).collect(),
        leaf => leaf.clone(),
    }
}

/// Gives the tree again and again, with one place in it replaced by something that looks like it.
fn look_alikes(value: &Value, give: &mut dyn FnMut(Value)) {
    twins(value).into_iter().for_each(&mut *give);
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                look_alikes(item, &mut |twin| {
                    let mut items = items.clone();
                    items[at] = twin;
                    give(items.into());
                });
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                look_alikes(item, &mut |twin| {
                    let mut entries = entries.clone();
                    entries[key] = twin;
                    give(entries.into());
                });
            }
        }
        _ => {}
    }
}

/// What a careless encoding or a careless path could mistake for a value.
fn twins(value: &Value) -> Vec<Value> {
    let keyed = |key: &str, value: Value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    let mut twins = vec![
        Value::Array(vec![value.clone()]),
        keyed("", value.clone()),
        keyed("0", value.clone()),
        Value::from(value.to_string()),
    ];
    match value {
        Value::String(text) => {
            let middle = text.floor_char_boundary(text.len() / 2);
            let (head, tail) = text.split_at(middle);
            twins.extend([Value::from(vec![head, tail]), keyed(head, tail.into()), keyed(text, Value::Null)]);
            twins.extend([format!("{text}\0"), text.to_lowercase(), text.trim().to_owned()].map(Value::from));
            twins.extend(serde_json::from_str(text).ok());
        }
        Value::Number(number) => {
            let float = number.as_f64().unwrap_or_default();
            twins.extend([
                Value::from(float),
                Value::from(-float),
                Value::from(float as i64),
                Value::from(float as u64),
            ]);
            twins.push(Value::from(f64::from(float as f32)));
        }
        Value::Array(items) => {
            let indexed = items.iter().enumerate().map(|(at, item)| (at.to_string(), item.clone()));
            twins.push(Value::Object(indexed.collect()));
            twins.push(items.iter().rev().cloned().collect());
            twins.push(items.iter().skip(1).cloned().collect());
            twins.push(items.iter().cloned().chain([Value::Null]).collect());
            twins.push(items.iter().flat_map(|item| item.as_array().cloned().unwrap_or(vec![item.clone()])).collect());
        }
        Value::Object(entries) => {
            twins.push(entries.values().cloned().collect());
            twins.push(entries.iter().flat_map(|(key, item)| [Value::from(key.as_str()), item.clone()]).collect());
            twins.push(entries.iter().skip(1).map(|(key, item)| (key.clone(), item.clone())).collect());
            let joined = entries.iter().flat_map(|(key, item)| match item {
                Value::Object(inner) => {
                    inner.iter().map(|(below, item)| (format!("{key}.{below}"), item.clone())).collect()
                }
                _ => vec![(key.clone(), item.clone())],
            });
            twins.push(Value::Object(joined.collect()));
        }
        Value::Null | Value::Bool(_) => twins.extend([Value::Null, true.into(), false.into(), 0.into(), "".into()]),
    }
    twins
}

/// Reads JSON in which anything may be missing or wrong.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next value; `None` at a closing bracket and at the end.
    fn value(&mut self, depth: usize) -> Option<Value> {
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            return Some(match byte {
                b'n' => Value::Null,
                b't' => true.into(),
                b'f' => false.into(),
                b'"' => self.until(|byte| byte == b'"').into(),
                b'0'..=b'9' | b'-' => self.number(),
                b'[' if depth < DEPTH => std::iter::from_fn(|| self.value(depth + 1)).collect(),
                b'{' if depth < DEPTH => std::iter::from_fn(|| self.entry(depth + 1)).collect(),
                b']' | b'}' => return None,
                _ => continue,
            });
        }
        None
    }

    fn entry(&mut self, depth: usize) -> Option<(String, Value)> {
        let key = match self.value(depth)? {
            Value::String(key) => key,
            other => other.to_string(),
        };
        Some((key, self.value(depth).unwrap_or_default()))
    }

    fn number(&mut self) -> Value {
        self.at -= 1;
        let end = |byte: u8| !(byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let text = self.until(end);
        self.at -= usize::from(self.at < self.bytes.len());
        serde_json::from_str(&text).unwrap_or(Value::from(text))
    }

    /// The bytes before the first that ends them, which is passed over.
    fn until(&mut self, ends: impl Fn(u8) -> bool) -> String {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        let length = rest.iter().position(|&byte| ends(byte)).unwrap_or(rest.len());
        self.at += length + 1;
        String::from_utf8_lossy(&rest[..length]).into_owned()
    }
}
