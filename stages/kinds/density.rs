//! The kind `density`: how dense heart rates became from year to year, and what else changed with it. Unaware of
//! models and of filters.

use std::collections::BTreeMap;

use anyhow::Result;
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::kinds::density::summary::{Aside, Summary};
use crate::kinds::density::tables::Group;
use crate::plot::Plot;
use crate::quality::{GOOD, MEDIUM, Tier};
use crate::sequences::DataSource;
use crate::stage::{Blame, Context, Metrics, ParameterFault, Run, Stage};
use crate::statistics::rounded;
use crate::workouts::{Workout, WorkoutReader};

pub mod shift;
pub mod summary;
pub mod tables;

/// Density of heart rates by month and year, correlations by density, and what shifted between years.
///
/// Reads `workouts`; writes `by_month`, `by_year`, `by_tier`, `shift`, `figure` and `picture`. A density is heart rates (30 to
/// 230 BPM, one an instant) a minute of recorded time without pauses. Means of pace, heart rate and correlations are
/// over workouts. Correlations are within workouts of at least 10 heart rates: with speed and power of the same
/// instant, with power of 60 s before and with power smoothed by an exponential average of 60 s. FitRec workouts were
/// cut to 500 points before they were published: their density says how long they took, and a warning says so.
///
/// `shift` compares each year with the first by means over workouts of pace, heart rate and drift: the slope of heart
/// rate over time after minute 10, at one speed. It gives the difference and the population stability index on
/// deciles of the first year (fewer bins where they would hold fewer than 5 workouts), each with a 95 % percentile
/// interval from `draws` resamplings by a fixed generator: over workouts for one user, over users for 10 or more; for 2
/// to 9 users, or fewer than 5 workouts in a year, there is none. The usual reading of the index is: below 0.1
/// stable, up to 0.25 moderate, above large; as it grows where workouts are few, what two equal populations reach
/// 5 times in 100 stands beside it. One summary of some 150 bytes is kept of each workout.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Density {
    /// The source's words for sports that are looked at; empty for all.
    #[serde(default = "run")]
    pub sports: Vec<String>,
    /// How dense a recording of each tier is at least.
    #[serde(default)]
    pub tiers: Tiers,
    /// Whose month and year a workout belongs to.
    #[serde(default)]
    pub time_zone: Calendar,
    /// Resamplings for each interval.
    #[serde(default = "two_thousand")]
    pub draws: usize,
}

/// The least densities, in heart rates a minute; what is below both is sparse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tiers {
    /// Of a good recording.
    pub good: f64,
    /// Of a medium one.
    pub medium: f64,
}

impl Default for Tiers {
    fn default() -> Self {
        Self { good: GOOD, medium: MEDIUM }
    }
}

/// A choice of calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Calendar {
    /// Where the workout took place, UTC where that is not known.
    #[default]
    Own,
    /// UTC for all.
    Utc,
}

fn run() -> Vec<String> {
    vec!["run".into()]
}

const fn two_thousand() -> usize {
    2000
}

const BY_MONTH: OutputPort = OutputPort::fixed("by_month", ArtifactType::Table, "density by month");
const BY_YEAR: OutputPort = OutputPort::fixed("by_year", ArtifactType::Table, "density and means by year");
const BY_TIER: OutputPort = OutputPort::fixed("by_tier", ArtifactType::Table, "correlations by density");
const SHIFT: OutputPort = OutputPort::fixed("shift", ArtifactType::Table, "what shifted between years");
const FIGURE: OutputPort = OutputPort::fixed("figure", ArtifactType::Figure, "density by month and by year");
const PICTURE: OutputPort = OutputPort::fixed("picture", ArtifactType::Picture, "the figure, drawn");

impl Stage for Density {
    const NAME: &'static str = "density";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "workouts",
        accepts: &[ArtifactType::Workouts],
        arity: Arity::One,
        doc: "workouts, as imported or filtered",
    }];
    const OUTPUTS: &'static [OutputPort] = &[BY_MONTH, BY_YEAR, BY_TIER, SHIFT, FIGURE, PICTURE];

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        let Tiers { good, medium } = self.tiers;
        if !(medium.is_finite() && medium > 0.0) {
            faults.push(ParameterFault::new("tiers.medium", "must be a number of heart rates a minute above 0"));
        }
        if !(good.is_finite() && good > medium) {
            faults.push(ParameterFault::new("tiers.good", "must be above `tiers.medium`"));
        }
        if !(100..=100_000).contains(&self.draws) {
            faults.push(ParameterFault::new("draws", "must lie between 100 and 100000"));
        }
        faults
    }
}

impl Run for Density {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        threads.install(|| self.tell(context))
    }
}

/// The source whose workouts have 500 points each, however long they took.
const RESAMPLED: &str = "fitrec";

/// What was read.
#[derive(Default)]
struct Seen {
    workouts: u64,
    other_sports: u64,
    summaries: Vec<Summary>,
    /// Those of a source that gives every workout the same number of points.
    resampled: u64,
    /// How many are set aside for each reason, with the number of the first.
    aside: BTreeMap<Aside, (u64, i64)>,
}

impl Density {
    fn tell(&self, context: &Context<'_>) -> Result<Metrics> {
        let seen = self.read(context)?;
        for (why, (count, example)) in &seen.aside {
            context.warn(format!("`workouts`: {count} without {}, such as {example}, have no density", why.words()));
        }
        if seen.resampled > 0 {
            let n = seen.resampled;
            context
                .warn(format!("`workouts`: {n} of FitRec have 500 points each: their density says how long they took"));
        }
        let data = Group::by(&seen.summaries, |_| ()).remove(&()).and_then(|all| all.data());
        let data = data.ok_or_else(|| seen.nothing())?;
        tables::by_month(&seen.summaries)?.write(&context.output(&BY_MONTH))?;
        tables::by_year(&seen.summaries)?.write(&context.output(&BY_YEAR))?;
        tables::by_tier(&seen.summaries)?.write(&context.output(&BY_TIER))?;
        context.check_cancelled()?;
        let shifts = shift::shifts(&seen.summaries, self.draws);
        tables::shift(&shifts, data)?.write(&context.output(&SHIFT))?;
        let figure = figure(&seen.summaries, data);
        std::fs::write(context.output(&FIGURE), serde_json::to_string_pretty(&figure)? + "\n")?;
        std::fs::write(context.output(&PICTURE), Plot::of_figure(&figure).svg())?;
        Ok(seen.metrics(data))
    }

    fn read(&self, context: &Context<'_>) -> Result<Seen> {
        let reader = WorkoutReader::open(context.job.input("workouts")?)?;
        let total = reader.total() as u64;
        let mut seen = Seen::default();
        for batch in reader {
            context.check_cancelled()?;
            let batch = batch?;
            let asked: Vec<&Workout> = batch.iter().filter(|workout| self.asks_for(workout)).collect();
            let summaries: Vec<_> = asked.par_iter().map(|workout| self.summarize(workout)).collect();
            seen.workouts += batch.len() as u64;
            seen.other_sports += (batch.len() - asked.len()) as u64;
            for (workout, summary) in asked.iter().zip(summaries) {
                match summary {
                    Ok(summary) => {
                        seen.summaries.push(summary);
                        seen.resampled += u64::from(workout.source == RESAMPLED);
                    }
                    Err(why) => seen.aside.entry(why).or_insert((0, workout.id)).0 += 1,
                }
            }
            context.progress(seen.workouts, Some(total), "workouts", "");
        }
        Ok(seen)
    }

    fn asks_for(&self, workout: &Workout) -> bool {
        self.sports.is_empty() || self.sports.contains(&workout.sport)
    }

    fn summarize(&self, workout: &Workout) -> Result<Summary, Aside> {
        let zone = workout.time_zone.as_deref().filter(|_| self.time_zone == Calendar::Own);
        Summary::of(workout, zone, |density| Tier::of(density, self.tiers.good, self.tiers.medium))
    }
}

impl Seen {
    fn nothing(&self) -> Blame {
        let aside = self.aside.iter().map(|(why, (count, _))| format!("{count} are without {}", why.words()));
        let sports = (self.other_sports > 0).then(|| format!("{} are of other sports", self.other_sports));
        let why: Vec<String> = sports.into_iter().chain(aside).collect();
        let message = match self.workouts {
            0 => "`workouts`: holds no workout".to_owned(),
            n => format!("`workouts`: none of {n} has a density: {}", why.join(", ")),
        };
        Blame { parameter: "sports".into(), message }
    }

    fn metrics(&self, data: DataSource) -> Metrics {
        let years = Group::by(&self.summaries, |summary| summary.month.year);
        let density = |year: Option<(&i16, &Group<'_>)>| year.and_then(|(_, group)| group.density());
        let (first, last) = (density(years.first_key_value()), density(years.last_key_value()));
        let ratio = first.zip(last).map(|(first, last)| last / first);
        let mut metrics = Metrics::new();
        let mut put = |name: String, value: Value| metrics.insert(name, value);
        put("data".into(), json!(data));
        put("workouts".into(), json!(self.summaries.len()));
        put("other_sports".into(), json!(self.other_sports));
        for why in Aside::ALL {
            let count = self.aside.get(&why).map_or(0, |(count, _)| *count);
            put(format!("without {}", why.words()).replace(' ', "_"), json!(count));
        }
        put("years".into(), json!(years.len()));
        put("first_year".into(), json!(years.first_key_value().map(|(year, _)| year)));
        put("last_year".into(), json!(years.last_key_value().map(|(year, _)| year)));
        put("heart_rates_a_minute_first".into(), json!(first));
        put("heart_rates_a_minute_last".into(), json!(last));
        put("ratio_last_first".into(), json!(ratio));
        metrics
    }
}

/// Density over time: a month stands at its middle, a year at its own.
fn figure(summaries: &[Summary], data: DataSource) -> Value {
    let months = Group::by(summaries, |summary| summary.month);
    let years = Group::by(summaries, |summary| summary.month.year);
    let of_month = months.iter().filter_map(|(month, group)| {
        Some((f64::from(month.year) + (f64::from(month.month) - 0.5) / 12.0, group.density()?))
    });
    let of_year = years.iter().filter_map(|(year, group)| Some((f64::from(*year) + 0.5, group.density()?)));
    let series = |name: &str, points: &mut dyn Iterator<Item = (f64, f64)>| {
        let (x, y): (Vec<f64>, Vec<f64>) = points.map(|(x, y)| (rounded(x), rounded(y))).unzip();
        json!({ "name": name, "x": x, "y": y })
    };
    json!({
        "title": "Heart rates a minute over the years",
        "x": "year",
        "y": "heart rates a minute",
        "series": [series("by month", &mut { of_month }), series("by year", &mut { of_year })],
        "data": data,
    })
}

#[cfg(test)]
mod tests;
