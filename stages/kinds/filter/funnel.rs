//! The funnel of the kind `filter`: how many workouts each rule removed. Unaware of how rules judge.

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::kinds::filter::rules::Rule;
use crate::stage::{Blame, Metrics};
use crate::table::{Column, Table};
use crate::workouts::Workout;

/// What each rule removed.
pub struct Funnel {
    /// Workouts seen.
    pub came: u64,
    rules: Vec<Removed>,
}

struct Removed {
    rule: Rule,
    reason: String,
    count: u64,
    example: Option<i64>,
}

impl Funnel {
    /// A funnel of rules in their order, each with the reason for which it removes.
    pub fn new(rules: impl IntoIterator<Item = (Rule, String)>) -> Self {
        let rules = rules.into_iter().map(|(rule, reason)| Removed { rule, reason, count: 0, example: None });
        Self { came: 0, rules: rules.collect() }
    }

    /// Counts a workout at the rule that removed it, if one did.
    pub fn count(&mut self, verdict: Option<Rule>, workout: &Workout) {
        self.came += 1;
        let removed = self.rules.iter_mut().find(|removed| Some(removed.rule) == verdict);
        if let Some(removed) = removed {
            removed.count += 1;
            removed.example.get_or_insert(workout.id);
        }
    }

    /// How many passed every rule.
    pub fn kept(&self) -> u64 {
        self.came - self.rules.iter().map(|removed| removed.count).sum::<u64>()
    }

    /// How many reached each rule.
    fn reached(&self) -> Vec<u64> {
        let mut left = self.came;
        let mut reached = Vec::new();
        for removed in &self.rules {
            reached.push(left);
            left -= removed.count;
        }
        reached
    }

    /// One row for each rule.
    pub fn table(&self) -> Result<Table> {
        let (rules, reached) = (&self.rules, self.reached());
        let order = |rule: Rule| 1 + Rule::ALL.iter().position(|other| *other == rule).unwrap_or_default() as i64;
        let out = reached.iter().zip(rules).map(|(came, removed)| (came - removed.count) as i64);
        Table::new(vec![
            Column::int("order", rules.iter().map(|removed| order(removed.rule))),
            Column::text("rule", rules.iter().map(|removed| removed.rule.name())),
            Column::int("in", reached.iter().map(|came| *came as i64)),
            Column::int("out", out),
            Column::int("removed", rules.iter().map(|removed| removed.count as i64)),
            Column::int("example", rules.iter().map(|removed| removed.example)),
            Column::text("reason", rules.iter().map(|removed| removed.reason.as_str())),
        ])
        .context("the funnel is a table")
    }

    /// Counts and rates.
    pub fn metrics(&self) -> Metrics {
        let removed = self.rules.iter().map(|removed| (removed.rule.name(), removed.count));
        let removed: serde_json::Map<_, _> = removed.map(|(name, count)| (name.to_owned(), json!(count))).collect();
        let share = self.kept() as f64 / self.came as f64;
        Metrics::from_iter([
            ("in".to_owned(), json!(self.came)),
            ("kept".to_owned(), json!(self.kept())),
            ("kept_share".to_owned(), json!(share)),
            ("removed".to_owned(), json!(removed)),
        ])
    }

    /// Tells which rules took everything, pointing at the parameter of the hungriest.
    pub fn nothing_left(&self) -> Blame {
        let took = self.rules.iter().filter(|removed| removed.count > 0).map(|removed| {
            let example = removed.example.map(|id| format!(", such as workout {id}")).unwrap_or_default();
            format!("`{}` took {} ({}{example})", removed.rule.name(), removed.count, removed.reason)
        });
        let most = self.rules.iter().rev().max_by_key(|removed| removed.count);
        let message = match self.came {
            0 => "`workouts`: no workout came in".to_owned(),
            came => format!("`workouts`: none of {came} is left: {}", took.collect::<Vec<_>>().join("; ")),
        };
        Blame { parameter: most.map_or("", |removed| removed.rule.parameter()).to_owned(), message }
    }
}
