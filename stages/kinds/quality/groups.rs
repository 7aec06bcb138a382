//! Counts of workouts by year, source and device. Unaware of files and of single workouts' numbers.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::kinds::quality::median::Median;
use crate::quality::date::Month;
use crate::quality::{Gaps, Quality, Tier};
use crate::sequences::DataSource;
use crate::statistics::rounded;
use crate::table::{Column, Table};
use crate::workouts::{Origin, Workout};

/// The most groups of one sort; what comes later goes to `other`, so that memory stays bounded.
const MOST_GROUPS: usize = 1000;

/// What workouts are grouped by, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The year of the start, where the workout took place.
    Year,
    /// The format it was read from.
    Source,
    /// What recorded it.
    Device,
    /// All of them.
    Total,
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Source => "source",
            Self::Device => "device",
            Self::Total => "total",
        }
    }
}

/// Groups of workouts, each counted.
#[derive(Default)]
pub struct Groups(BTreeMap<(By, String), Group>);

/// What is counted of the workouts of a group.
#[derive(Default)]
pub struct Group {
    /// Where they came from.
    pub data: Option<DataSource>,
    /// How many they are.
    pub workouts: u64,
    /// Those without a heart rate.
    pub no_heart_rate: u64,
    /// Those without times.
    pub no_time: u64,
    /// Recorded time without pauses.
    pub seconds: f64,
    density: Median,
    tiers: [u64; 3],
    flags: [u64; 6],
    score: f64,
}

/// What may be true of a workout, as the columns name it.
const FLAGS: [&str; 6] = ["gaps", "flat lines", "spikes", "cadence lock suspected", "indoor", "speed derived"];

/// Each of [`FLAGS`] for a workout.
fn flags(quality: &Quality) -> [bool; 6] {
    let some = |count: Option<u64>| count.is_some_and(|count| count > 0);
    let seconds = |seconds: Option<f64>| seconds.is_some_and(|seconds| seconds > 0.0);
    [
        some(quality.gaps.map(|gaps: Gaps| gaps.count)),
        seconds(quality.flat_total_s),
        some(quality.spikes),
        seconds(quality.lock_s),
        quality.indoor == Some(true),
        matches!(quality.speed_source, Origin::Positions | Origin::Distance),
    ]
}

impl Groups {
    /// Takes a workout into its groups; call in the order of the workouts, since sums round.
    pub fn take(&mut self, workout: &Workout, quality: &Quality) {
        let zone = workout.time_zone.as_deref();
        let year = quality.start.and_then(|start| Month::of(start, zone)).map(|month| month.year.to_string());
        let unknown = || "unknown".to_owned();
        let source = if workout.source.is_empty() { unknown() } else { workout.source.clone() };
        self.group(By::Year, year.unwrap_or_else(unknown)).take(workout, quality);
        self.group(By::Source, source).take(workout, quality);
        self.group(By::Device, workout.device.clone().unwrap_or_else(unknown)).take(workout, quality);
        self.group(By::Total, "all".into()).take(workout, quality);
    }

    fn group(&mut self, by: By, name: String) -> &mut Group {
        let new = !self.0.contains_key(&(by, name.clone()));
        let full = new && self.0.keys().filter(|(other, _)| *other == by).count() >= MOST_GROUPS;
        self.0.entry((by, if full { "other".into() } else { name })).or_default()
    }

    /// All workouts; none where none was taken.
    pub fn total(&self) -> Option<&Group> {
        self.0.get(&(By::Total, "all".into()))
    }

    /// One row a group.
    pub fn table(&self) -> Result<Table> {
        let groups = || self.0.values();
        let count = |name: &str, of: fn(&Group) -> u64| Column::int(name, groups().map(|group| of(group) as i64));
        let figure = |name: &str, of: &dyn Fn(&Group) -> Option<f64>| {
            Column::float(name, groups().map(|group| of(group).map(rounded)).collect::<Vec<_>>())
        };
        let mut columns = vec![
            Column::text("by", self.0.keys().map(|(by, _)| by.name())),
            Column::text("group", self.0.keys().map(|(_, name)| name.as_str())),
            Column::optional_text("data", groups().map(|group| group.data.map(DataSource::name))),
            count("workouts", |group| group.workouts),
            count("without heart rate", |group| group.no_heart_rate),
            count("without time", |group| group.no_time),
            figure("hours", &|group| Some(group.seconds / 3600.0)),
            figure("median heart rates a minute", &Group::median_density),
        ];
        for tier in Tier::ALL {
            columns.push(figure(tier.name(), &|group| group.tier_share(tier)));
        }
        for (place, flag) in FLAGS.iter().enumerate() {
            columns.push(figure(flag, &|group| Some(group.share(group.flags[place]))));
        }
        columns.push(figure("mean score", &|group| Some(group.mean_score())));
        Table::new(columns)
    }
}

impl Group {
    fn take(&mut self, workout: &Workout, quality: &Quality) {
        let data = if workout.synthetic { DataSource::Synthetic } else { DataSource::Recorded };
        self.data = Some(self.data.map_or(data, |before| before.and(data)));
        self.workouts += 1;
        self.no_heart_rate += u64::from(workout.heart_rate.is_none());
        self.no_time += u64::from(quality.start.is_none());
        self.seconds += quality.recorded_s.unwrap_or_default();
        if let Some((density, tier)) = quality.density.zip(quality.tier) {
            self.density.add(density);
            self.tiers[tier as usize] += 1;
        }
        for (count, flag) in self.flags.iter_mut().zip(flags(quality)) {
            *count += u64::from(flag);
        }
        self.score += quality.score();
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 / self.workouts.max(1) as f64
    }

    /// The median of the workouts' densities, heart rates a minute.
    pub fn median_density(&self) -> Option<f64> {
        self.density.get()
    }

    /// The share of a tier among the workouts that have a density.
    pub fn tier_share(&self, tier: Tier) -> Option<f64> {
        let all: u64 = self.tiers.iter().sum();
        (all > 0).then(|| self.tiers[tier as usize] as f64 / all as f64)
    }

    /// Each of the things that may be true of a workout, with the share of workouts of which it is.
    pub fn shares(&self) -> impl Iterator<Item = (&'static str, f64)> {
        FLAGS.into_iter().zip(self.flags.map(|count| self.share(count)))
    }

    /// The mean of the workouts' scores.
    pub fn mean_score(&self) -> f64 {
        self.score / self.workouts.max(1) as f64
    }
}
