//! Who is in which part: the `split` artifact. Unaware of how parts are chosen.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part that a workout belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Models are fitted on it.
    Train,
    /// Choices are made on it.
    Validation,
    /// Reported on once.
    Test,
}

/// What keeps the parts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// No user is in two parts: figures speak of unseen users.
    User,
    /// Each user's later workouts are held out: figures speak of known users.
    Time,
    /// Workouts at random: neighbours leak, so figures are labelled unsafe.
    Workout,
}

/// A split of workouts.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// What keeps the parts apart.
    pub by: SplitBy,
    /// The part and the user of each workout, by the workout's number.
    pub parts: BTreeMap<i64, (Part, i64)>,
}
