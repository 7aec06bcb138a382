//! The differences of two JSON texts, leaf by leaf in the order of their paths. Unaware of what the leaves mean.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::compare::tally::{Scalar, Tally};
use crate::compare::{Place, Values};

/// Compares all leaves of two texts, which lie under this key of a header or are whole files; a leaf that only one
/// text has differs.
pub fn compare(header: Option<&str>, old: &[u8], new: &[u8]) -> Result<Option<Values>> {
    let (old, new) = (parse(old, "old")?, parse(new, "new")?);
    let mut walk = Walk { header, path: String::new(), tally: Tally::new() };
    walk.pair(Some(&old), Some(&new));
    Ok(walk.tally.values())
}

/// A walk through two texts at once.
struct Walk<'a> {
    header: Option<&'a str>,
    path: String,
    tally: Tally,
}

fn parse(bytes: &[u8], which: &str) -> Result<Value> {
    serde_json::from_slice(bytes).with_context(|| format!("the {which} file cannot be read as JSON"))
}

impl Walk<'_> {
    fn pair(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let length = self.path.len();
        match (old, new) {
            (Some(Value::Object(old)), Some(Value::Object(new))) if !(old.is_empty() && new.is_empty()) => {
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    push_key(&mut self.path, key);
                    self.pair(old.get(key), new.get(key));
                    self.path.truncate(length);
                }
            }
            (Some(Value::Array(old)), Some(Value::Array(new))) if !(old.is_empty() && new.is_empty()) => {
                for at in 0..old.len().max(new.len()) {
                    self.path.push_str(&format!("[{at}]"));
                    self.pair(old.get(at), new.get(at));
                    self.path.truncate(length);
                }
            }
            _ => {
                let words = [old, new].map(|value| value.and_then(composite));
                let place = || Place::Leaf { header: self.header.map(str::to_owned), path: self.path.clone() };
                self.tally.count(place, scalar(old, words[0].as_deref()), scalar(new, words[1].as_deref()));
            }
        }
    }
}

/// Appends a key so that the path can be read in one way only.
fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-".contains(c));
    match plain {
        true if path.is_empty() => path.push_str(key),
        true => path.push_str(&format!(".{key}")),
        false => path.push_str(&format!("[{key:?}]")),
    }
}

fn composite(value: &Value) -> Option<String> {
    match value {
        Value::Array(items) => Some(format!("a list of {}", items.len())),
        Value::Object(members) => Some(format!("a table of {}", members.len())),
        _ => None,
    }
}

fn scalar<'a>(value: Option<&'a Value>, words: Option<&'a str>) -> Scalar<'a> {
    match value {
        None => Scalar::Absent,
        Some(Value::Null) => Scalar::Null,
        Some(Value::Bool(flag)) => Scalar::Flag(*flag),
        Some(Value::String(text)) => Scalar::Text(text),
        Some(Value::Number(number)) => match (number.as_i128(), number.as_f64()) {
            (Some(whole), _) => Scalar::Int(whole),
            (None, Some(float)) => Scalar::F64(float),
            (None, None) => Scalar::Null,
        },
        Some(Value::Array(_) | Value::Object(_)) => Scalar::Composite(words.unwrap_or_default()),
    }
}
