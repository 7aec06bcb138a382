//! What a network reads: sequences of different lengths, the shorter ones padded at their end, and what is known of
//! their users. Unaware of heart rates of the workouts themselves, which no network reads.
//!
//! What stands in the padding reaches no step of its sequence: the forward direction comes to it last, and the
//! backward direction begins at each sequence's own end. LibTorch's packed form would need no padding, but its
//! backward pass on the CPU takes fifty times as long.

use anyhow::Result;
use tch::{Device, Tensor};

/// Some workouts as a network reads them.
pub struct Input {
    /// Standardised features, shape `[longest, workouts, features]`.
    pub steps: Tensor,
    /// Seconds since the step before, 0 at the first and in padding; shape `[longest, workouts]`.
    pub seconds: Tensor,
    /// Steps of each workout.
    pub lengths: Vec<usize>,
    /// The place of each user among those that the model knows, from 1; 0 for others. Shape `[workouts]`.
    pub users: Tensor,
    /// The users' earlier workouts, where the network asks for them.
    pub history: Option<History>,
    /// The users' own lines, where one stands beside the network.
    pub line: Option<Line>,
}

/// What linear models of the users say, both standardised.
pub struct Line {
    /// The heart rate at each step, shape `[longest, workouts]`.
    pub rates: Tensor,
    /// The weights, shape `[workouts, features of the line + 1]`.
    pub weights: Tensor,
}

/// Earlier workouts of the users of some workouts.
pub struct History {
    /// Each in numbers, the latest first, zeros where there are fewer; shape `[workouts, most, numbers]`.
    pub rows: Tensor,
    /// 1 where there is one, else 0; shape `[workouts, most]`.
    pub there: Tensor,
}

impl Input {
    /// Workouts of which nothing but the features is known, all of one length, a step each second.
    pub fn plain(steps: Tensor, lengths: Vec<usize>) -> Result<Self> {
        let (shape, device) = (steps.size(), steps.device());
        let seconds = Tensor::f_ones([shape[0], shape[1]], (tch::Kind::Float, device))?;
        let users = Tensor::f_zeros([shape[1]], (tch::Kind::Int64, device))?;
        Ok(Self { steps, seconds, lengths, users, history: None, line: None })
    }

    /// Where the tensors lie.
    pub fn device(&self) -> Device {
        self.steps.device()
    }

    /// For each step of each sequence, counted through as `[longest, sequences]`, the one that takes its place
    /// when every sequence is read from its own end; padding stays where it is. Applied twice it does nothing.
    pub fn reversal(&self) -> Result<Tensor> {
        let (longest, sequences) = (self.lengths.iter().max().copied().unwrap_or(0), self.lengths.len());
        let places = (0..longest).flat_map(|step| {
            let ends = self.lengths.iter().enumerate();
            ends.map(move |(sequence, length)| {
                let from = if step < *length { length - 1 - step } else { step };
                (from * sequences + sequence) as i64
            })
        });
        let places: Vec<i64> = places.collect();
        Ok(Tensor::f_from_slice(&places)?.f_to(self.device())?)
    }
}
