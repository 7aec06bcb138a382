//! The tables by month, by year and by tier, and the one of shifts. Unaware of how figures are computed.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::kinds::density::shift::{Psi, Shift};
use crate::kinds::density::summary::{PREDICTORS, Summary};
use crate::quality::Tier;
use crate::sequences::DataSource;
use crate::statistics::rounded;
use crate::table::{Column, Table};

/// Workouts that are told of together.
#[derive(Default)]
pub struct Group<'a>(Vec<&'a Summary>);

impl<'a> Group<'a> {
    /// Workouts by a key, in its order.
    pub fn by<K: Ord>(summaries: &'a [Summary], key: impl Fn(&Summary) -> K) -> BTreeMap<K, Self> {
        let mut groups: BTreeMap<K, Self> = BTreeMap::new();
        for summary in summaries {
            groups.entry(key(summary)).or_default().0.push(summary);
        }
        groups
    }

    fn minutes(&self) -> f64 {
        self.0.iter().fold(0.0, |minutes, summary| minutes + summary.minutes)
    }

    fn samples(&self) -> u64 {
        self.0.iter().map(|summary| summary.samples).sum()
    }

    /// Heart rates a minute of all recorded time.
    pub fn density(&self) -> Option<f64> {
        let minutes = self.minutes();
        (minutes > 0.0).then(|| self.samples() as f64 / minutes)
    }

    /// The mean over the workouts that have the figure.
    fn mean(&self, of: impl Fn(&Summary) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.0.iter().filter_map(|summary| of(summary)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    fn share(&self, tier: Tier) -> Option<f64> {
        self.mean(|summary| Some(f64::from(u8::from(summary.tier == tier))))
    }

    /// Where the workouts came from.
    pub fn data(&self) -> Option<DataSource> {
        let of = |summary: &&Summary| if summary.synthetic { DataSource::Synthetic } else { DataSource::Recorded };
        self.0.iter().map(of).reduce(DataSource::and)
    }
}

fn figure<'a>(groups: &[Group<'a>], name: &str, of: impl Fn(&Group<'a>) -> Option<f64>) -> Column {
    Column::float(name, groups.iter().map(|group| of(group).map(rounded)))
}

/// What every table tells of its groups.
fn counts(groups: &[Group<'_>]) -> Vec<Column> {
    vec![
        Column::int("workouts", groups.iter().map(|group| group.0.len() as i64)),
        figure(groups, "minutes", |group| Some(group.minutes())),
        Column::int("heart rates", groups.iter().map(|group| group.samples() as i64)),
        figure(groups, "heart rates a minute", Group::density),
    ]
}

fn means(groups: &[Group<'_>]) -> Vec<Column> {
    let mut columns = vec![
        figure(groups, "mean pace (s/km)", |group| group.mean(|summary| summary.pace)),
        figure(groups, "mean heart rate (BPM)", |group| group.mean(|summary| Some(summary.heart_rate))),
    ];
    for (place, name) in PREDICTORS.iter().enumerate() {
        columns.push(figure(groups, name, |group| group.mean(|summary| summary.r[place])));
    }
    columns
}

fn data(groups: &[Group<'_>]) -> Column {
    Column::optional_text("data", groups.iter().map(|group| group.data().map(DataSource::name)))
}

/// Density month by month.
pub fn by_month(summaries: &[Summary]) -> Result<Table> {
    let (months, groups): (Vec<_>, Vec<_>) = Group::by(summaries, |summary| summary.month).into_iter().unzip();
    let mut columns = vec![
        Column::int("year", months.iter().map(|month| i64::from(month.year))),
        Column::int("month", months.iter().map(|month| i64::from(month.month))),
    ];
    columns.extend(counts(&groups));
    columns.push(data(&groups));
    Table::new(columns)
}

/// Density year by year, beside what else changed; means are over workouts.
pub fn by_year(summaries: &[Summary]) -> Result<Table> {
    let (years, groups): (Vec<i16>, Vec<_>) = Group::by(summaries, |summary| summary.month.year).into_iter().unzip();
    let first = groups.first().and_then(Group::density).filter(|density| *density > 0.0);
    let mut columns = vec![Column::int("year", years.iter().map(|year| i64::from(*year)))];
    columns.extend(counts(&groups));
    columns.push(figure(&groups, "ratio to the first year", |group| Some(group.density()? / first?)));
    for tier in Tier::ALL {
        columns.push(figure(&groups, tier.name(), |group| group.share(tier)));
    }
    columns.extend(means(&groups));
    columns.push(data(&groups));
    Table::new(columns)
}

/// What density does to correlations: every tier, the densest first, also one without a workout.
pub fn by_tier(summaries: &[Summary]) -> Result<Table> {
    let mut tiers = Group::by(summaries, |summary| summary.tier);
    let groups = Tier::ALL.map(|tier| tiers.remove(&tier).unwrap_or_default());
    let mut columns = vec![Column::text("tier", Tier::ALL.map(Tier::name))];
    columns.extend(counts(&groups));
    columns.extend(means(&groups));
    columns.push(data(&groups));
    Table::new(columns)
}

/// What shifted between years; `data` is that of all workouts.
pub fn shift(shifts: &[Shift], data: DataSource) -> Result<Table> {
    let figure = |name: &str, of: &dyn Fn(&Shift) -> Option<f64>| {
        Column::float(name, shifts.iter().map(|shift| of(shift).map(rounded)).collect::<Vec<_>>())
    };
    let psi = |name: &str, of: fn(&Psi) -> Option<f64>| figure(name, &|shift| shift.psi.as_ref().and_then(of));
    Table::new(vec![
        Column::text("measure", shifts.iter().map(|shift| shift.measure)),
        Column::int("year", shifts.iter().map(|shift| i64::from(shift.year))),
        Column::int("reference", shifts.iter().map(|shift| i64::from(shift.reference))),
        Column::int("workouts", shifts.iter().map(|shift| shift.workouts as i64)),
        figure("mean", &|shift| Some(shift.mean)),
        figure("sd", &|shift| Some(shift.sd)),
        figure("difference", &|shift| shift.difference),
        figure("difference from (95 %)", &|shift| Some(shift.difference_interval?[0])),
        figure("difference to (95 %)", &|shift| Some(shift.difference_interval?[1])),
        Column::text("resampled", shifts.iter().map(|shift| shift.unit)),
        psi("psi", |psi| Some(psi.value)),
        psi("psi from (95 %)", |psi| Some(psi.interval?[0])),
        psi("psi to (95 %)", |psi| Some(psi.interval?[1])),
        Column::int("bins", shifts.iter().map(|shift| shift.psi.as_ref().map(|psi| psi.bins as i64))),
        psi("psi by chance (95 %)", |psi| Some(psi.by_chance)),
        Column::optional_text("reading", shifts.iter().map(|shift| shift.psi.as_ref().map(Psi::reading))),
        Column::text("data", shifts.iter().map(|_| data.name())),
    ])
}
