//! Says why a stage runs, by comparing its record with the nearest earlier one: the same walk that made the key.
//! Unaware of schedules.

use std::fmt;
use std::path::Path;

use crate::cache::{Cache, Found};
use crate::digest::Digest;
use crate::engine::records::Prepared;
use crate::graph::{Graph, Origin, Source, Stage, StageId};
use crate::index::Index;
use crate::key::{Change, Record};

/// Why the result of a stage is not reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No earlier run of this pipeline has a result of this stage.
    New,
    /// The record differs from the one of the nearest earlier result.
    Changed {
        /// In these leaves.
        causes: Vec<Cause>,
        /// For a training, whether it goes on from that result.
        beginning: Option<Beginning>,
    },
    /// The result is there and cannot be served.
    Damaged(String),
    /// The record is the same, but the result was deleted.
    Deleted,
    /// The command line asked for it.
    Forced,
    /// Another stage has the same key and makes the result first.
    Twin(String),
    /// It need not run: the remote has its result, and gives the artifacts when they are needed.
    Afar,
    /// It failed before, and a trial is not tried again unasked.
    FailedBefore {
        /// The sort of failure.
        class: String,
        /// What happened.
        message: String,
    },
    /// It cannot run, for this stage failed.
    Lost(String),
    /// Not decided yet: a stage that it reads from runs first.
    Upstream {
        /// That stage.
        stage: String,
        /// What of its own has changed since its nearest earlier result.
        own: Vec<Cause>,
    },
}

/// Where a training whose end was moved begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// From where an earlier one of the same course ended, after this many epochs at most.
    GoesOn(u64),
    /// From the start, for this reason.
    Anew(String),
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
pub fn explain(graph: &Graph, id: StageId, prepared: &Prepared, index: &mut Index, cache: &Cache) -> Reason {
    let Prepared { record, key, .. } = prepared;
    if let Found::Damaged(why) = cache.find(key) {
        return Reason::Damaged(why);
    }
    let earlier = index.earlier(&graph.stages[id].name, &cache.store);
    if earlier.contains(key) {
        return Reason::Deleted;
    }
    let stage = &graph.stages[id];
    match nearest(&earlier, cache, |old| causes(graph, stage, old, record)) {
        Some(causes) => {
            let records: Vec<_> = earlier.iter().filter_map(|key| cache.record(key)).collect();
            Reason::Changed { beginning: beginning(stage, record, &records, &causes, cache), causes }
        }
        None => Reason::New,
    }
}

/// Whether a training goes on from an earlier one, judged by the same course that its states are kept under.
fn beginning(stage: &Stage, record: &Record, earlier: &[Record], causes: &[Cause], cache: &Cache) -> Option<Beginning> {
    let course = stage.course.as_ref()?;
    let key = record.course(&course.params);
    let kept = std::fs::read_dir(cache.store.partial_path(&key)).is_ok_and(|mut states| states.next().is_some());
    let shared = earlier.iter().filter_map(|old| {
        let other = (stage.kind.decode)(old.params()?).ok()?.course?;
        (old.course(&other.params) == key && other.epochs < course.epochs).then_some(other.epochs)
    });
    if let Some(epochs) = shared.max().filter(|_| kept) {
        return Some(Beginning::GoesOn(epochs));
    }
    let moved = causes.iter().any(|cause| cause.change.path.ends_with("epochs"));
    course.fixed_end.clone().filter(|_| moved).map(Beginning::Anew)
}

/// Explains a stage that waits for another: what of its own has changed meanwhile.
pub fn explain_waiting(
    graph: &Graph,
    id: StageId,
    waits_for: StageId,
    prepared: &Prepared,
    index: &mut Index,
    cache: &Cache,
) -> Reason {
    let stage = &graph.stages[id];
    let earlier = index.earlier(&stage.name, &cache.store);
    let own = nearest(&earlier, cache, |old| {
        let mut causes = causes(graph, stage, old, &prepared.record);
        // The inputs are told by the stages that make them.
        causes.retain(|cause| !cause.change.path.starts_with("inputs."));
        causes
    });
    Reason::Upstream { stage: graph.stages[waits_for].name.clone(), own: own.unwrap_or_default() }
}

/// What changed since the earlier record that differs in the fewest leaves; the newest of those.
fn nearest(earlier: &[Digest], cache: &Cache, causes: impl Fn(&Record) -> Vec<Cause>) -> Option<Vec<Cause>> {
    earlier.iter().filter_map(|key| cache.record(key)).map(|old| causes(&old)).min_by_key(Vec::len)
}

/// The leaves in which two records of a stage differ, those that people change first.
fn causes(graph: &Graph, stage: &Stage, old: &Record, new: &Record) -> Vec<Cause> {
    let mut causes: Vec<_> = new
        .changes_since(old)
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
            Self::Afar => f.write_str("in the remote; artifacts come when they are needed"),
            Self::FailedBefore { class, message } => write!(f, "failed before ({class}): {message}"),
            Self::Lost(stage) => write!(f, "reads from `{stage}`, which failed"),
            Self::Twin(stage) => write!(f, "has the same key as `{stage}`, which runs first"),
            Self::Upstream { stage, own } if own.is_empty() => write!(f, "reads from `{stage}`, which runs first"),
            Self::Upstream { stage, own } => {
                write_causes(own, f)?;
                write!(f, "; and reads from `{stage}`, which runs first")
            }
            Self::Changed { causes, beginning } => {
                write_causes(causes, f)?;
                beginning.as_ref().map_or(Ok(()), |beginning| write!(f, "; {beginning}"))
            }
        }
    }
}

impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GoesOn(epochs) => write!(f, "goes on from an earlier training of up to {epochs} epochs"),
            Self::Anew(why) => write!(f, "trains from the start, for {why}"),
        }
    }
}

fn write_causes(causes: &[Cause], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match causes.split_first() {
        None => f.write_str("changed"),
        Some((first, [])) => write!(f, "{first}"),
        Some((first, rest)) => write!(f, "{first}, and {} more", rest.len()),
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
