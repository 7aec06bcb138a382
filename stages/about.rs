//! What a network may be told about the user of a workout: who it is, and what the earlier workouts were like.
//! Unaware of networks and of workouts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::ParameterFault;

/// What a network is told about the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct About {
    /// Numbers learned for each user of the training part; 0 leaves users apart from their history unknown.
    pub embedding: usize,
    /// Share of training workouts whose user is hidden, so that the network also learns to meet strangers.
    pub hide: f64,
    /// Earlier workouts of the user that are looked at, the latest first; 0 for none.
    pub history: usize,
    /// Units of the network that reads them.
    pub width: usize,
}

impl Default for About {
    fn default() -> Self {
        Self { embedding: 0, hide: 0.1, history: 0, width: 16 }
    }
}

impl About {
    /// Whether there is anything to be told.
    pub const fn is_empty(&self) -> bool {
        self.embedding == 0 && self.history == 0
    }

    /// What types do not show.
    pub fn check(&self, path: &str) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        if !(0.0..1.0).contains(&self.hide) {
            faults.push(ParameterFault::new(format!("{path}.hide"), format!("{} is not from 0 to below 1", self.hide)));
        }
        if self.width == 0 {
            faults.push(ParameterFault::new(format!("{path}.width"), "must be 1 or more"));
        }
        faults
    }
}
