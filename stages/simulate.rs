//! A simulator of runners that writes what the makers of FitRec would have published, or what one runner's phone
//! would export: it knows the heart rate without noise, which no recording does. Unaware of pipelines and of models.
//!
//! A [`runner::Runner`] has a body and a home; each run has a [`course`] (pace and slope at every second), the
//! [`heart`] answers it, and the [`recording`] is what a device would have kept of both; [`apple`] has other devices.
//! Every draw comes from a counter-based stream of (seed, user, workout), so that users can be simulated in any order.

pub mod apple;
pub mod course;
pub mod fitrec;
pub mod heart;
pub mod noise;
pub mod recording;
pub mod runner;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::simulate::course::Course;
use crate::simulate::heart::Offset;
use crate::simulate::noise::{bernoulli, log_normal, normal, uniform};
use crate::simulate::recording::Recording;
use crate::simulate::runner::Runner;

/// What a population is like.
#[derive(Clone, Debug)]
pub struct Population {
    /// Mean number of runs of a user; each user's own is drawn.
    pub runs_per_user: f64,
    /// Points of a workout.
    pub points: usize,
    /// Share of workouts that are no runs.
    pub other_sports: f64,
    /// Share of workouts without recorded speed.
    pub without_speed: f64,
    /// Start of the first user's history, unix seconds.
    pub start: i64,
    /// Days that a user's history covers.
    pub days: f64,
    /// Shares of workouts with something wrong in them.
    pub failures: Failures,
}

/// Shares of workouts that a quality filter should take, by what is wrong with them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Failures {
    /// Heart rate, altitude, gender or user is missing.
    pub missing: f64,
    /// A series holds something that is no number.
    pub unconvertible: f64,
    /// Fewer than 50 points.
    pub short: f64,
    /// Series differ in length.
    pub unequal: f64,
    /// A series holds NaN or infinity.
    pub not_finite: f64,
    /// Heart rates outside 50 to 220 BPM.
    pub out_of_range: f64,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            missing: 0.004,
            unconvertible: 0.002,
            short: 0.004,
            unequal: 0.002,
            not_finite: 0.002,
            out_of_range: 0.008,
        }
    }
}

impl Failures {
    /// Each share with its name, in the order of the filters.
    pub fn shares(&self) -> [(&'static str, f64); 6] {
        [
            ("missing", self.missing),
            ("unconvertible", self.unconvertible),
            ("short", self.short),
            ("unequal", self.unequal),
            ("not_finite", self.not_finite),
            ("out_of_range", self.out_of_range),
        ]
    }
}

/// Workouts of a user are cut off here, so that no two have one number.
const MOST_WORKOUTS: u64 = 20_000;

/// Simulates the history of one user, in the order of time.
pub fn history(population: &Population, seed: u64, user: u64) -> Vec<Recording> {
    let mut rng = stream(seed, user, 0);
    let runner = Runner::draw(&mut rng, user);
    // The mean of exp(N(0, σ)) is exp(σ²/2): divided by it, the mean is the one asked for.
    let runs = log_normal(&mut rng, population.runs_per_user * (-0.18_f64).exp(), 0.6).round().max(1.0);
    let workouts = (runs / (1.0 - population.other_sports)).round().min(MOST_WORKOUTS as f64) as u64;
    let days = population.days.max(workouts as f64);
    (0..workouts).map(|index| workout(population, &runner, seed, user, (index, workouts, days))).collect()
}

/// Simulates one workout of a user who has `count` of them in `days` days.
fn workout(
    population: &Population,
    runner: &Runner,
    seed: u64,
    user: u64,
    (index, count, days): (u64, u64, f64),
) -> Recording {
    let rng = &mut stream(seed, user, index + 1);
    let progress = (index as f64 + uniform(rng, 0.2, 0.8)) / count as f64;
    let start = population.start + (progress * days * 86_400.0) as i64;
    let sport = if bernoulli(rng, population.other_sports) { course::other_sport(rng) } else { course::RUN };
    let course = Course::draw(rng, runner, sport);
    let offset = Offset { day: normal(rng, 0.0, runner.offset_sd), known: runner.trend * (progress - 0.5) };
    let heart = heart::answer(rng, runner, &course, offset);
    let id = 200_000_000 + (user * MOST_WORKOUTS + index) as i64;
    recording::record(rng, population, runner, &course, &heart, (id, start))
}

/// The random numbers of one workout of one user; workout 0 is the user.
fn stream(seed: u64, user: u64, workout: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((user << 20) | workout);
    rng
}

#[cfg(test)]
mod tests {
    use super::{Failures, Population, history};
    use crate::read::fitrec::parse;
    use crate::read::record::Reason;
    use crate::simulate::fitrec::push_line;
    use crate::simulate::recording::Flaw;
    use crate::workouts::Workout;
    use crate::workouts::speed::from_positions;

    fn population() -> Population {
        Population {
            runs_per_user: 6.0,
            points: 500,
            other_sports: 0.0,
            without_speed: 0.84,
            start: 1_325_376_000,
            days: 365.0,
            failures: Failures::default(),
        }
    }

    /// Every simulated workout as the reader of files sees it.
    fn workouts(population: &Population, users: u64, seed: u64) -> Vec<Workout> {
        let mut text = String::new();
        for user in 0..users {
            history(population, seed, user).iter().for_each(|recording| push_line(&mut text, recording));
        }
        let read = |line: &str| parse(line.as_bytes()).map_err(|(reason, detail): (Reason, String)| (reason, detail));
        text.lines().map(|line| read(line).unwrap().workout).collect()
    }

    /// Heart rate (BPM) and speed (km/h, from positions) of a workout that passes the seven filters.
    fn usable(workout: &Workout) -> Option<(Vec<f64>, Vec<f64>)> {
        let time = workout.time.as_deref()?;
        let (rate, altitude) = (workout.heart_rate.as_deref()?, workout.altitude.as_deref()?);
        let speed = from_positions(time, workout.latitude.as_deref()?, workout.longitude.as_deref()?, 15.0)?;
        workout.user.zip(workout.gender.as_ref())?;
        let converts = workout.unconvertible.is_none();
        let even = time.len() >= 50 && rate.len() == time.len() && altitude.len() == time.len();
        let finite = altitude.iter().chain(&speed).all(|value| value.is_finite());
        let alive = rate.iter().all(|rate| (50.0..=220.0).contains(rate));
        (workout.sport == "run" && converts && even && finite && alive).then(|| {
            (rate.iter().map(|&v| f64::from(v)).collect(), speed.iter().map(|&v| 3.6 * f64::from(v)).collect())
        })
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn sd(values: &[f64]) -> f64 {
        let middle = mean(values);
        mean(&values.iter().map(|value| (value - middle).powi(2)).collect::<Vec<_>>()).sqrt()
    }

    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let (mean_a, mean_b) = (mean(a), mean(b));
        let products: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).collect();
        mean(&products) / (sd(a) * sd(b))
    }

    fn range(values: &[f64]) -> f64 {
        values.iter().copied().fold(f64::MIN, f64::max) - values.iter().copied().fold(f64::MAX, f64::min)
    }

    fn quantile(values: &mut [f64], share: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        values[((values.len() - 1) as f64 * share).round() as usize]
    }

    /// What was measured, what the published data show, and how far it may be off.
    fn statistics(workouts: &[Workout]) -> Vec<(&'static str, f64, f64, f64)> {
        let runs: Vec<(Vec<f64>, Vec<f64>)> = workouts.iter().filter_map(usable).collect();
        let mut rates: Vec<f64> = runs.iter().flat_map(|run| run.0.clone()).collect();
        let speeds: Vec<f64> = runs.iter().flat_map(|run| run.1.clone()).collect();
        let pooled = correlation(&speeds, &rates);
        let each = |figure: fn(&(Vec<f64>, Vec<f64>)) -> f64| runs.iter().map(figure).collect::<Vec<f64>>();
        let ranges = each(|run| range(&run.0));
        let within = each(|run| correlation(&run.0, &run.1));
        let negative = within.iter().filter(|&&r| r < 0.0).count() as f64 / within.len() as f64;
        let times = workouts.iter().filter_map(|workout| workout.time.as_ref());
        let mut minutes: Vec<f64> = times.map(|time| (time[time.len() - 1] - time[0]) / 60.0).collect();
        vec![
            ("heart rate, mean", mean(&rates), 149.0, 3.0),
            ("heart rate, sd", sd(&rates), 18.0, 3.0),
            ("heart rate, 5th percentile", quantile(&mut rates, 0.05), 117.0, 7.0),
            ("heart rate, median", quantile(&mut rates, 0.5), 150.0, 4.0),
            ("heart rate, 95th percentile", quantile(&mut rates, 0.95), 175.0, 6.0),
            ("mean of a workout, sd", sd(&each(|run| mean(&run.0))), 13.4, 2.5),
            ("range within a workout, mean", mean(&ranges), 71.0, 6.0),
            ("range within a workout, sd", sd(&ranges), 19.0, 4.0),
            ("speed, mean (km/h)", mean(&speeds), 11.5, 0.6),
            ("speed, sd (km/h)", sd(&speeds), 2.7, 0.5),
            ("speed and heart rate, pooled r", pooled, 0.27, 0.09),
            ("share of workouts with r < 0", negative, 0.24, 0.08),
            ("duration, median (min)", quantile(&mut minutes, 0.5), 61.0, 6.0),
        ]
    }

    #[test]
    fn a_population_looks_like_the_published_one() {
        let statistics = statistics(&workouts(&population(), 150, 1));
        for (what, found, target, tolerance) in &statistics {
            println!("{what:32} {found:8.2}   published {target:7.2} ± {tolerance}");
        }
        for (what, found, target, tolerance) in statistics {
            assert!((found - target).abs() <= tolerance, "{what}: {found:.2}, published {target} ± {tolerance}");
        }
    }

    #[test]
    fn the_seed_alone_decides_and_every_user_is_someone_else() {
        assert_eq!(history(&population(), 5, 3), history(&population(), 5, 3));
        assert_ne!(history(&population(), 5, 3), history(&population(), 6, 3));
        assert_ne!(history(&population(), 5, 3)[0].heart_rate, history(&population(), 5, 4)[0].heart_rate);
    }

    #[test]
    fn a_history_goes_forward_in_time_and_runs_do_not_overlap() {
        for user in 0..20 {
            let runs = history(&population(), 2, user);
            for pair in runs.windows(2) {
                assert!(pair[0].time.last() < pair[1].time.first(), "user {user}");
            }
            assert!(runs.iter().all(|run| run.time.is_sorted()));
        }
    }

    #[test]
    fn steps_are_uneven_and_grow_with_the_duration() {
        let mut runs: Vec<_> = (0..30).flat_map(|user| history(&population(), 2, user)).collect();
        runs.retain(|run| run.flaw.is_none());
        let length = |time: &[i64]| time[time.len() - 1] - time[0];
        let step = |time: &[i64]| quantile(&mut time.windows(2).map(|t| (t[1] - t[0]) as f64).collect::<Vec<_>>(), 0.5);
        let (short, long) = runs.iter().partition::<Vec<_>, _>(|run| length(&run.time) < 3000);
        let mean_step = |runs: &[&super::Recording]| mean(&runs.iter().map(|run| step(&run.time)).collect::<Vec<_>>());
        assert!(mean_step(&long) > 1.5 * mean_step(&short));
        assert!(runs.iter().all(|run| run.time.len() == 500));
        let uneven = |time: &[i64]| time.windows(3).any(|t| t[1] - t[0] != t[2] - t[1]);
        assert!(runs.iter().all(|run| uneven(&run.time)));
    }

    #[test]
    fn positions_say_the_speed_that_the_device_recorded() {
        let with_speed = Population { without_speed: 0.0, failures: none(), ..population() };
        let workouts = workouts(&with_speed, 10, 3);
        for workout in &workouts {
            let (lat, lon) = (workout.latitude.as_deref().unwrap(), workout.longitude.as_deref().unwrap());
            let derived = from_positions(workout.time.as_deref().unwrap(), lat, lon, 15.0).unwrap();
            let recorded = workout.speed.as_deref().unwrap();
            let wide = |speed: &[f32]| speed.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (derived, recorded) = (wide(&derived), wide(recorded));
            assert!((mean(&derived) - mean(&recorded)).abs() < 0.15, "{}", workout.id);
            assert!(sd(&derived.iter().zip(&recorded).map(|(a, b)| a - b).collect::<Vec<_>>()) < 0.6, "{}", workout.id);
        }
    }

    fn none() -> Failures {
        Failures { missing: 0.0, unconvertible: 0.0, short: 0.0, unequal: 0.0, not_finite: 0.0, out_of_range: 0.0 }
    }

    #[test]
    fn every_flaw_arises_at_its_share_and_is_found_in_the_file() {
        let failures =
            Failures { missing: 0.1, unconvertible: 0.1, short: 0.1, unequal: 0.1, not_finite: 0.1, out_of_range: 0.1 };
        let flawed = Population { points: 60, failures, ..population() };
        let mut shares = std::collections::BTreeMap::<&str, f64>::new();
        let recordings: Vec<_> = (0..120).flat_map(|user| history(&flawed, 4, user)).collect();
        for recording in &recordings {
            let name = match recording.flaw {
                None => "none",
                Some(Flaw::Missing(_)) => "missing",
                Some(Flaw::Unconvertible) => "unconvertible",
                Some(Flaw::Short) => "short",
                Some(Flaw::Unequal) => "unequal",
                Some(Flaw::NotFinite) => "not finite",
                Some(Flaw::OutOfRange) => "out of range",
            };
            *shares.entry(name).or_default() += 1.0 / recordings.len() as f64;
            let mut line = String::new();
            push_line(&mut line, recording);
            let workout = parse(line.as_bytes()).unwrap().workout;
            assert_eq!(usable(&workout).is_some(), recording.flaw.is_none(), "{name}: {line}");
            assert!(workout.synthetic);
        }
        assert_eq!(shares.len(), 7);
        assert!(shares.iter().all(|(&name, share)| name == "none" || (share - 0.1).abs() < 0.04), "{shares:?}");
    }

    /// The mean size of an oracle's errors over sound runs.
    fn error_of(oracle: fn(&super::Recording) -> &Vec<f64>) -> f64 {
        let runs: Vec<_> = (0..30).flat_map(|user| history(&population(), 7, user)).collect();
        let sound = runs.iter().filter(|run| run.flaw.is_none());
        let errors =
            sound.flat_map(|run| oracle(run).iter().zip(&run.heart_rate).map(|(oracle, &rate)| oracle - rate as f64));
        mean(&errors.map(f64::abs).collect::<Vec<_>>())
    }

    #[test]
    fn the_oracle_of_the_day_errs_by_the_noise_alone() {
        // The mean size of normal noise of sd 5 is 3.99.
        let error = error_of(|run| &run.oracle);
        assert!((error - 3.99).abs() < 0.3, "{error}");
    }

    #[test]
    fn the_oracle_of_the_user_also_errs_by_what_days_add() {
        // With sd 4 to 10 between days, the mean size of normal errors of sd √(25 + sd²) is 6.9 over such users.
        let error = error_of(|run| &run.usual);
        assert!((error - 6.9).abs() < 0.6, "{error}");
    }
}
