//! What the kind `import` counted on the way, as tables and figures. Unaware of how files are read.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use crate::read::record::{Reason, SetAside};
use crate::stage::Metrics;
use crate::table::{Column, Table};
use crate::workouts::{Origin, Workout};

/// Notes that are kept with their words; all are counted. A file of nothing else must not fill the memory.
pub const KEPT_ASIDE: usize = 100_000;

/// Sports and devices that the summary names.
const NAMED: usize = 10;

/// What was counted on the way.
#[derive(Default)]
pub struct Counts {
    /// Files that were opened.
    pub files: u64,
    /// Lines of FitRec files, blank ones left out.
    pub lines: u64,
    workouts: u64,
    synthetic: u64,
    indoor: u64,
    spans: u64,
    paused: u64,
    sources: BTreeMap<String, u64>,
    devices: BTreeMap<String, u64>,
    sports: BTreeMap<String, u64>,
    speed: BTreeMap<Origin, u64>,
    altitude: BTreeMap<Origin, u64>,
    reasons: BTreeMap<Reason, u64>,
    set_aside: Vec<SetAside>,
}

impl Counts {
    /// Takes a workout that is written.
    pub fn count(&mut self, workout: &Workout) {
        let add = |map: &mut BTreeMap<String, u64>, word: Option<&str>| {
            let word = word.filter(|word| !word.is_empty()).unwrap_or("not given");
            match map.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(map.insert(word.to_owned(), 1)),
            }
        };
        self.workouts += 1;
        self.synthetic += u64::from(workout.synthetic);
        self.indoor += u64::from(workout.indoor == Some(true));
        self.spans += u64::from(workout.heart_rate_span.is_some());
        self.paused += u64::from(!workout.pauses.is_empty());
        add(&mut self.sources, Some(&workout.source));
        add(&mut self.devices, workout.device.as_deref());
        add(&mut self.sports, Some(&workout.sport));
        *self.speed.entry(workout.speed_source).or_default() += 1;
        *self.altitude.entry(workout.altitude_source).or_default() += 1;
    }

    /// Begins to count workouts anew; what was read and set aside stays counted.
    pub fn forget_workouts(&mut self) {
        let (files, lines) = (self.files, self.lines);
        let (reasons, set_aside) = (std::mem::take(&mut self.reasons), std::mem::take(&mut self.set_aside));
        *self = Self { files, lines, reasons, set_aside, ..Self::default() };
    }

    /// Takes a note of something that gave no workout.
    pub fn put_aside(&mut self, note: SetAside) {
        *self.reasons.entry(note.reason).or_default() += 1;
        if self.set_aside.len() < KEPT_ASIDE {
            self.set_aside.push(note);
        }
    }

    /// Workouts that are written.
    pub fn workouts(&self) -> u64 {
        self.workouts
    }

    /// Notes, kept or not.
    pub fn aside(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// Why there is no workout, with the first that was set aside.
    pub fn why_none(&self) -> String {
        let remedy = "give FitRec lines, an Apple Health export, or FIT, TCX, GPX or CSV files";
        match self.set_aside.first() {
            None => format!("nothing in it is a workout; {remedy}"),
            Some(first) => {
                let excerpt = if first.excerpt.is_empty() { String::new() } else { format!(": `{}`", first.excerpt) };
                let place = [first.file.as_str(), first.place.as_str()].into_iter().filter(|part| !part.is_empty());
                let place: Vec<&str> = place.collect();
                let place = if place.is_empty() { "it".to_owned() } else { place.join(", ") };
                format!(
                    "all of it was set aside ({}), {place} because of `{}` ({}){excerpt}; {remedy}",
                    self.aside(),
                    first.reason.words(),
                    first.detail
                )
            }
        }
    }

    /// Each note with its file, place and reason.
    pub fn set_aside_table(&self) -> Result<Table> {
        let text = |name: &str, get: fn(&SetAside) -> &str| Column::text(name, self.set_aside.iter().map(get));
        Table::new(vec![
            text("file", |note| &note.file),
            text("place", |note| &note.place),
            text("reason", |note| note.reason.words()),
            text("detail", |note| &note.detail),
            text("excerpt", |note| &note.excerpt),
        ])
    }

    /// What was counted, a row for each.
    pub fn summary(&self) -> Result<Table> {
        let mut rows = vec![("files".to_owned(), self.files)];
        if self.lines > 0 {
            rows.push(("lines".to_owned(), self.lines));
        }
        rows.push(("workouts".to_owned(), self.workouts));
        rows.push(("set aside".to_owned(), self.aside()));
        rows.extend(self.reasons.iter().map(|(reason, n)| (format!("set aside: {}", reason.words()), *n)));
        for (what, counts) in [("speed", &self.speed), ("altitude", &self.altitude)] {
            let count = |origin| counts.get(&origin).copied().unwrap_or_default();
            rows.extend(Origin::ALL.map(|origin| (format!("{what}: {}", origin.name()), count(origin))));
        }
        rows.push(("heart rate averaged over spans".to_owned(), self.spans));
        rows.push(("with pauses".to_owned(), self.paused));
        rows.push(("indoor".to_owned(), self.indoor));
        rows.push(("synthetic".to_owned(), self.synthetic));
        rows.extend(self.sources.iter().map(|(source, count)| (format!("source: {source}"), *count)));
        rows.extend(most("device", &self.devices));
        rows.extend(most("sport", &self.sports));
        Table::new(vec![
            Column::text("what", rows.iter().map(|row| row.0.as_str())),
            Column::int("count", rows.iter().map(|row| row.1 as i64)),
        ])
    }

    /// The figures of the result.
    pub fn metrics(&self) -> Metrics {
        let speed = |origin| self.speed.get(&origin).copied().unwrap_or_default();
        let figures = [
            ("files", self.files),
            ("lines", self.lines),
            ("workouts", self.workouts),
            ("set_aside", self.aside()),
            ("speed_recorded", speed(Origin::Recorded)),
            ("speed_derived", speed(Origin::Positions) + speed(Origin::Distance)),
            ("speed_missing", speed(Origin::Missing)),
            ("synthetic", self.synthetic),
        ];
        let figures = figures.into_iter().filter(|(name, count)| *name != "lines" || *count > 0);
        figures.map(|(name, count)| (name.to_owned(), json!(count))).collect()
    }
}

/// The most frequent words, then all others in one row.
fn most(what: &str, counts: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut rows: Vec<(String, u64)> =
        sorted.iter().take(NAMED).map(|(word, count)| (format!("{what}: {word}"), **count)).collect();
    let others: u64 = sorted.iter().skip(NAMED).map(|(_, count)| **count).sum();
    if others > 0 {
        rows.push((format!("{what}: any other"), others));
    }
    rows
}
