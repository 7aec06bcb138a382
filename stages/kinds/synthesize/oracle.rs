//! The table of heart rates without noise. Unaware of where they come from.

use anyhow::Result;

use crate::table::{Column, Table};

/// Rows of the oracle.
#[derive(Default)]
pub struct Oracle {
    workout: Vec<i64>,
    user: Vec<i64>,
    start: Vec<i64>,
    time: Vec<f64>,
    heart_rate: Vec<f64>,
    usual: Vec<f64>,
}

impl Oracle {
    /// Adds a run of this number, user and start (unix seconds): seconds since the start, BPM with the day known, and
    /// BPM on a usual day.
    pub fn push(&mut self, (workout, user, start): (i64, i64, i64), points: impl Iterator<Item = [f64; 3]>) {
        for [time, rate, usual] in points {
            self.workout.push(workout);
            self.user.push(user);
            self.start.push(start);
            self.time.push(time);
            self.heart_rate.push(rate);
            self.usual.push(usual);
        }
    }

    /// Adds the rows of another part.
    pub fn append(&mut self, mut other: Self) {
        self.workout.append(&mut other.workout);
        self.user.append(&mut other.user);
        self.start.append(&mut other.start);
        self.time.append(&mut other.time);
        self.heart_rate.append(&mut other.heart_rate);
        self.usual.append(&mut other.usual);
    }

    /// The rows as a table.
    pub fn table(self) -> Result<Table> {
        Table::new(vec![
            Column::int("workout", self.workout),
            Column::int("user", self.user),
            Column::int("start", self.start),
            Column::float("time_s", self.time),
            Column::float("heart_rate", self.heart_rate),
            Column::float("heart_rate_usual", self.usual),
        ])
    }
}
