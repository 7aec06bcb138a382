//! One row for each workout. Unaware of batches and of groups.

use anyhow::Result;

use crate::quality::finding::words;
use crate::quality::{Gaps, Quality, Tier, date};
use crate::sequences::DataSource;
use crate::statistics::rounded;
use crate::table::{Column, Table};
use crate::workouts::{Origin, Workout};

/// A workout with what is known of its recording.
pub type Row<'a> = (&'a Workout, Quality);

/// The rows of some workouts.
pub fn table(rows: &[Row<'_>]) -> Result<Table> {
    let mut columns = identity(rows);
    columns.extend(times(rows));
    columns.extend(heart(rows));
    columns.extend(way(rows));
    columns.push(Column::text("findings", rows.iter().map(findings)));
    columns.push(Column::float("score", rows.iter().map(|(_, quality)| rounded(quality.score()))));
    Table::new(columns)
}

fn identity(rows: &[Row<'_>]) -> Vec<Column> {
    let workouts = || rows.iter().map(|(workout, _)| *workout);
    let data = |workout: &Workout| if workout.synthetic { DataSource::Synthetic } else { DataSource::Recorded };
    vec![
        Column::int("id", workouts().map(|workout| workout.id)),
        Column::int("user", workouts().map(|workout| workout.user)),
        Column::optional_text("date", rows.iter().map(|(_, quality)| quality.start.and_then(date::utc))),
        Column::text("source", workouts().map(|workout| workout.source.as_str())),
        Column::optional_text("device", workouts().map(|workout| workout.device.as_deref())),
        Column::text("sport", workouts().map(|workout| workout.sport.as_str())),
        Column::text("data", workouts().map(|workout| data(workout).name())),
        Column::flag("indoor", workouts().map(|workout| workout.indoor)),
    ]
}

fn figure(rows: &[Row<'_>], name: &str, of: impl Fn(&Quality) -> Option<f64>) -> Column {
    Column::float(name, rows.iter().map(|(_, quality)| of(quality).map(rounded)))
}

fn count(rows: &[Row<'_>], name: &str, of: impl Fn(&Quality) -> Option<u64>) -> Column {
    Column::int(name, rows.iter().map(|(_, quality)| of(quality).map(|count| count as i64)))
}

fn times(rows: &[Row<'_>]) -> Vec<Column> {
    vec![
        figure(rows, "duration (s)", |quality| quality.duration_s),
        figure(rows, "paused (s)", |quality| quality.paused_s),
        figure(rows, "moving (s)", |quality| quality.moving_s),
        figure(rows, "distance (m)", |quality| quality.distance_m),
    ]
}

fn heart(rows: &[Row<'_>]) -> Vec<Column> {
    let tier = |(_, quality): &Row<'_>| quality.tier.map(Tier::name);
    vec![
        count(rows, "heart rates", |quality| quality.samples),
        count(rows, "unusable", |quality| quality.unusable),
        count(rows, "out of range", |quality| quality.out_of_range),
        figure(rows, "mean heart rate (BPM)", |quality| quality.mean_bpm),
        figure(rows, "heart rates a minute", |quality| quality.density),
        Column::optional_text("tier", rows.iter().map(tier)),
        figure(rows, "averages", |quality| quality.average_share),
        figure(rows, "longest span (s)", |quality| quality.longest_span_s),
        count(rows, "gaps", |quality| quality.gaps.map(|gaps: Gaps| gaps.count)),
        figure(rows, "longest gap (s)", |quality| quality.gaps.map(|gaps| gaps.longest_s)),
        figure(rows, "all gaps (s)", |quality| quality.gaps.map(|gaps| gaps.total_s)),
        figure(rows, "longest flat (s)", |quality| quality.flat_s),
        figure(rows, "flat lines (s)", |quality| quality.flat_total_s),
        count(rows, "spikes", |quality| quality.spikes),
        figure(rows, "cadence lock suspected (s)", |quality| quality.lock_s),
    ]
}

fn way(rows: &[Row<'_>]) -> Vec<Column> {
    let origin =
        |name: &str, of: fn(&Quality) -> Origin| Column::text(name, rows.iter().map(|(_, quality)| of(quality).name()));
    vec![
        count(rows, "position gaps", |quality| quality.position_gaps.map(|gaps| gaps.count)),
        figure(rows, "longest position gap (s)", |quality| quality.position_gaps.map(|gaps| gaps.longest_s)),
        count(rows, "position jumps", |quality| quality.position_jumps),
        origin("speed", |quality| quality.speed_source),
        origin("altitude", |quality| quality.altitude_source),
    ]
}

/// What was found, led by what is missing.
fn findings((workout, quality): &Row<'_>) -> String {
    let heartless = workout.heart_rate.is_none().then(|| "no heart rate".to_owned());
    let timeless = quality.start.is_none().then(|| "no times".to_owned());
    let found = Some(words(&quality.findings)).filter(|words| !words.is_empty());
    [heartless, timeless, found].into_iter().flatten().collect::<Vec<String>>().join(", ")
}
