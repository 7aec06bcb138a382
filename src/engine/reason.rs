//! Says why a stage runs, by comparing its record with the nearest earlier one: the same walk that made the key.
//! Unaware of schedules.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::cache::{Cache, Found};
use crate::digest::Digest;
use crate::graph::{Graph, Origin, Source, Stage, StageId};
use crate::key::{self, Change};

/// Why the result of a stage is not reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No earlier run of this pipeline has a result of this stage.
    New,
    /// The record differs from the one of the last result.
    Changed(Vec<Cause>),
    /// The result is there and cannot be served.
    Damaged(String),
    /// The record is the same, but the result was deleted.
    Deleted,
    /// The command line asked for it.
    Forced,
    /// Not decided yet: a stage that it reads from runs first.
    Upstream(String),
}

/// A leaf that changed, with where its new value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The leaf, old and new.
    pub change: Change,
    /// Where the value is written.
    pub origin: Option<Origin>,
    /// What made the input, for an input.
    pub made_by: Option<String>,
}

/// Explains why a record has no result that can be served.
pub fn explain(graph: &Graph, id: StageId, record: &Value, earlier: Option<Digest>, cache: &Cache) -> Reason {
    let key = key::digest(record);
    if let Found::Damaged(why) = cache.find(&key) {
        return Reason::Damaged(why);
    }
    let Some(earlier) = earlier else { return Reason::New };
    if earlier == key {
        return Reason::Deleted;
    }
    match record_of(cache, &earlier) {
        Some(old) => Reason::Changed(causes(graph, &graph.stages[id], &old, record)),
        None => Reason::New,
    }
}

/// The record behind a key, even when its artifacts are gone.
pub fn record_of(cache: &Cache, key: &Digest) -> Option<Value> {
    let text = std::fs::read(cache.store.result_path(key)).ok()?;
    let mut result: Value = serde_json::from_slice(&text).ok()?;
    Some(result["record"].take())
}

/// The leaves in which two records of a stage differ, those that people change first.
pub fn causes(graph: &Graph, stage: &Stage, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes: Vec<_> = key::changes(old, new)
        .into_iter()
        .map(|change| Cause { origin: origin(stage, &change.path), made_by: maker(graph, stage, &change.path), change })
        .collect();
    let rank = |cause: &Cause| match cause.change.path.split('.').next() {
        Some("params") => 0,
        Some("seed" | "environment") => 1,
        Some("inputs") => 2,
        Some("code") => 3,
        _ => 4,
    };
    causes.sort_by_key(rank);
    causes
}

/// Where the value at a path is written: the longest known beginning of the path.
fn origin(stage: &Stage, path: &str) -> Option<Origin> {
    let known = stage.origins.iter().filter(|(known, _)| {
        path.strip_prefix(known.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    });
    known.max_by_key(|(known, _)| known.len()).map(|(_, origin)| origin.clone())
}

fn maker(graph: &Graph, stage: &Stage, path: &str) -> Option<String> {
    let mut steps = path.strip_prefix("inputs.")?.splitn(2, '.');
    let (slot, name) = (steps.next()?, steps.next());
    let input = stage.inputs.iter().find(|input| input.slot == slot && input.name.as_deref() == name)?;
    Some(match &input.source {
        Source::File(path) => format!("`{}`", display_name(path)),
        Source::Output(producer, _) => format!("`{}`", graph.stages[*producer].name),
    })
}

fn display_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("no earlier result"),
            Self::Damaged(why) => write!(f, "damaged: {why}"),
            Self::Deleted => f.write_str("its earlier result was deleted"),
            Self::Forced => f.write_str("forced"),
            Self::Upstream(stage) => write!(f, "reads from `{stage}`, which runs first"),
            Self::Changed(causes) => match causes.split_first() {
                None => f.write_str("changed"),
                Some((first, [])) => write!(f, "{first}"),
                Some((first, rest)) => write!(f, "{first}, and {} more", rest.len()),
            },
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { path, old, new } = &self.change;
        if let Some(part) = path.strip_prefix("code.") {
            return match part.strip_prefix("library ") {
                Some(library) => write!(f, "library {library} {} → {}", plain(old.as_ref()), plain(new.as_ref())),
                None => write!(f, "the code of `{part}` changed"),
            };
        }
        if let Some(slot) = path.strip_prefix("inputs.") {
            write!(f, "input `{slot}` changed")?;
            return match &self.made_by {
                Some(maker) => write!(f, " (from {maker})"),
                None => Ok(()),
            };
        }
        let name = path.strip_prefix("params.").unwrap_or(path);
        write!(f, "{name} {} → {}", plain(old.as_ref()), plain(new.as_ref()))?;
        match &self.origin {
            Some(origin) => write!(f, " ({origin})"),
            None if path.starts_with("params.") => f.write_str(" (default)"),
            None => Ok(()),
        }
    }
}

fn plain(value: Option<&String>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.trim_matches('"').to_owned())
}
