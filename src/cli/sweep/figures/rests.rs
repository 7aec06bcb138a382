//! What figures of trials rest on: the part that was scored, what kept it apart, where the data came from. Unaware of
//! where the figures stand.

use std::collections::BTreeSet;

use pacer_stages::split::{Part, SplitBy};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// What a figure rests on, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rests {
    /// The part that was scored.
    pub part: Option<String>,
    /// What kept the parts apart.
    pub split: Option<String>,
    /// Where the data came from: `recorded`, `synthetic` or `mixed`.
    pub data: Option<String>,
}

impl Rests {
    /// What figures say themselves.
    pub fn said(figures: &Value) -> Self {
        let text = |key: &str| figures[key].as_str().map(str::to_owned);
        Self { part: text("part"), split: text("split"), data: text("data") }
    }

    /// What is known of these, and of others what is not known of these.
    pub fn or(self, other: Self) -> Self {
        Self { part: self.part.or(other.part), split: self.split.or(other.split), data: self.data.or(other.data) }
    }
}

/// The part that a training's own figure is of, by its name, such as `validation_mae`.
pub fn part_of(metric: &str) -> Option<&'static str> {
    let parts = [Part::Train, Part::Validation, Part::Test].map(Part::name);
    parts.into_iter().find(|part| metric.strip_prefix(part).is_some_and(|rest| rest.starts_with('_')))
}

/// What keeps parts apart, by the parameters of a stage that splits.
pub fn split_of(params: &Value) -> Option<String> {
    SplitBy::deserialize(&params["by"]).ok().map(SplitBy::label)
}

/// What several figures rest on: each value once.
#[derive(Debug, PartialEq, Eq)]
pub struct All<'a> {
    part: BTreeSet<&'a str>,
    split: BTreeSet<&'a str>,
    data: BTreeSet<&'a str>,
}

impl<'a> All<'a> {
    /// Gathers them.
    pub fn of(rests: impl Iterator<Item = &'a Rests> + Clone) -> Self {
        Self {
            part: rests.clone().filter_map(|it| it.part.as_deref()).collect(),
            split: rests.clone().filter_map(|it| it.split.as_deref()).collect(),
            data: rests.filter_map(|it| it.data.as_deref()).collect(),
        }
    }

    /// As cells of a table: part, split, data.
    pub fn cells(&self) -> [String; 3] {
        let cell = |values: &BTreeSet<&str>| values.iter().copied().collect::<Vec<_>>().join(" and ");
        [cell(&self.part), cell(&self.split), cell(&self.data)]
    }

    /// In words.
    pub fn words(&self) -> String {
        let [part, split, data] = self.cells();
        let told = |what: &str, value: String| match value.is_empty() {
            true => format!("{} unknown", what.split(' ').next().unwrap_or_default()),
            false => format!("{what} {value}"),
        };
        // What a simulator drew shall be mistaken for nothing else.
        let data = data.replace("synthetic", "SYNTHETIC").replace("mixed", "mixed (SYNTHETIC in part)");
        format!("{}, {}, {}", told("part", part), told("split by", split), told("data", data))
    }

    /// What has to be said aloud.
    pub fn caution(&self) -> Option<&'static str> {
        self.part.contains("test").then_some(
            "CAUTION: ranked by the TEST part, which is no choice any more: for what is chosen by it no test is left",
        )
    }

    /// As data.
    pub fn json(&self) -> Value {
        json!({ "part": self.part, "split": self.split, "data": self.data, "caution": self.caution() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests(part: &str, data: &str) -> Rests {
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Rests { part: known(part), split: None, data: known(data) }
    }

    #[test]
    fn what_is_not_said_is_unknown_and_what_is_simulated_is_said_aloud() {
        let told = [rests("validation", "synthetic"), rests("", "recorded")];
        assert_eq!(All::of(told.iter()).words(), "part validation, split unknown, data recorded and SYNTHETIC");
        let told = [rests("validation", "mixed")];
        let all = All::of(told.iter());
        assert_eq!(all.words(), "part validation, split unknown, data mixed (SYNTHETIC in part)");
        assert_eq!(all.caution(), None);
        let told = [rests("validation", ""), rests("test", "")];
        assert!(All::of(told.iter()).caution().is_some());
    }

    #[test]
    fn the_name_of_a_training_s_own_figure_says_its_part() {
        assert_eq!(part_of("validation_mae"), Some("validation"));
        assert_eq!(part_of("train_loss"), Some("train"));
        assert_eq!(part_of("mae"), None);
        assert_eq!(part_of("training_seconds"), None);
        assert_eq!(split_of(&json!({ "by": "workout" })).as_deref(), Some("workout (unsafe)"));
        assert_eq!(split_of(&json!({ "by": "time" })).as_deref(), Some("time"));
    }
}
