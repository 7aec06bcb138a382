//! Compares what stages left in stores: configurations by what they predicted, artifacts by what they hold. Gives data;
//! unaware of the command line and of the terminal.
//!
//! Predictions become [`gather::Candidates`]: one for each configuration, its trainings grouped by the records behind
//! them. The science is in `pacer_stages::comparison`; here is what keys and records add to it: what may be set side
//! by side at all ([`basis`]), what differs between the configurations, and how many were tried.

pub mod artifacts;
pub mod basis;
pub mod gather;
pub mod operand;
pub mod provenance;
pub mod traces;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Result, bail};
use pacer_stages::comparison::points::{Differing, Scored};
use pacer_stages::comparison::{self, Comparison, Settings, Unit};
use serde::Serialize;

use crate::cache::{Cache, StageResult};
use crate::compare::basis::Basis;
use crate::compare::gather::Candidates;
use crate::digest::Digest;

/// Version of the JSON form of an answer.
const VERSION: u32 = 1;

/// A result that is to be compared.
pub struct Source {
    /// Which of the things that were named it belongs to: the trials of a sweep are one.
    pub operand: usize,
    /// What people call its place.
    pub label: String,
    /// The store that it lies in.
    pub cache: Cache,
    /// The result.
    pub result: StageResult,
    /// The one model that is asked for; none for all.
    pub model: Option<String>,
    /// Keys that it goes together with, for where artifacts come from.
    pub beside: BTreeSet<Digest>,
}

/// What to compare with what, and how.
pub struct Question {
    /// How to compare.
    pub settings: Settings,
    /// The name of the baseline. Without it the first configuration is it, or, where several whole results are
    /// compared, each model's namesake in the first.
    pub baseline: Option<String>,
}

/// A comparison of configurations with all that it rests on.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// Version of this form.
    pub v: u32,
    /// What the figures rest on.
    pub basis: Basis,
    /// Configurations that were scored on these points, those compared here included.
    pub tried: usize,
    /// The figures and verdicts.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The leaves of the records in which the configurations differ, by path, and the value in each configuration
    /// that has it.
    pub differs: BTreeMap<String, BTreeMap<String, String>>,
    /// What a reader has to know beside the figures.
    pub notes: Vec<String>,
}

/// Compares configurations.
///
/// Fails where they must not be set side by side.
pub fn compare(sources: &[Source], question: &Question) -> Result<Answer> {
    compare_read(sources, gather::read_all(sources)?, question)
}

/// As [`compare`], where the predictions of each source, by model, were read before.
pub fn compare_read(sources: &[Source], read: Vec<HashMap<String, Scored>>, question: &Question) -> Result<Answer> {
    let Candidates { candidates, leaves, figures, stores, mut notes } = gather::gather(sources, read, question)?;
    let common = question.settings.differing == Differing::Common;
    let (basis, warnings) = basis::agreed(&figures, common)?;
    let comparison = comparison::compare(&candidates, question.settings)?;
    let configurations = candidates.len();
    let tried = basis::tried(sources, &stores).max(configurations);
    let mut all = warnings;
    all.append(&mut notes);
    all.extend(remarks(&comparison));
    Ok(Answer { v: VERSION, basis, tried, differs: differing(leaves), comparison, notes: all })
}

/// What the figures themselves ask to be said.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    if comparison.unit == Unit::Workout {
        notes.push("by workout: this speaks of other workouts of these users, not of other users".to_owned());
    }
    if let Some(left_out) = &comparison.left_out {
        notes.push(format!("compared on what all have in common: {left_out}"));
    }
    for row in &comparison.rows {
        let Some(difference) = &row.difference else { continue };
        let base = comparison.rows.iter().find(|other| other.name == difference.baseline);
        let pooled = base.map_or(0.0, |base| row.mae_points - base.mae_points);
        if pooled * difference.mean < 0.0 && pooled.abs() > comparison.margin {
            notes.push(format!(
                "`{}`: over all samples the difference is {pooled:+.2}, the other way than by {}: users with many samples \
                 fare otherwise",
                row.name,
                if comparison.unit == Unit::User { "user" } else { "workout" }
            ));
        }
    }
    notes
}

/// The leaves that have several values, by path.
fn differing(leaves: Vec<(String, BTreeMap<String, String>)>) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut by_path: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (name, leaves) in leaves {
        for (path, value) in leaves {
            by_path.entry(path).or_default().insert(name.clone(), value);
        }
    }
    by_path.retain(|_, values| values.values().collect::<BTreeSet<_>>().len() > 1);
    by_path
}

/// The one artifact of a result with this name.
pub fn artifact<'a>(source: &'a Source, name: &str) -> Result<&'a crate::cache::Artifact> {
    let Some(found) = source.result.artifacts.iter().find(|artifact| artifact.name == name) else {
        let known: Vec<_> = source.result.artifacts.iter().map(|artifact| artifact.name.as_str()).collect();
        bail!("`{}` has no artifact `{name}`; it has: {}", source.label, known.join(", "));
    };
    Ok(found)
}
