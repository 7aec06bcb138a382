//! One runner's years as an Apple Health export holds them: each day's records, workouts and routes, and the heart
//! rate without noise. Unaware of archives and of pipelines.
//!
//! A [`plan`] says on which days there are workouts; an [`outing`] is a workout as it took place; [`watch`] and
//! [`route`] are what devices keep of it; [`export`] and [`document`] are the words of the files, with times by the
//! [`clock`]. No day needs another one, so that days can be simulated in any order.

pub mod clock;
pub mod document;
pub mod export;
pub mod outing;
pub mod plan;
pub mod route;
pub mod view;
pub mod watch;

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::simulate::apple::clock::{Clock, DAY, new_year, year};
use crate::simulate::apple::export::{Quantity, Record, Session, Source, Writer};
use crate::simulate::apple::outing::Outing;
use crate::simulate::apple::plan::{Activity, Planned};
use crate::simulate::apple::view::AppleView;
use crate::simulate::apple::watch::{Sample, resting, samples};
use crate::simulate::noise::{bernoulli, clipped, normal, uniform};
use crate::simulate::runner::Runner;

/// The user's number in tables; an export names none. No user of the FitRec view has it.
pub const USER: i64 = 1;

/// All that is decided before any day is simulated.
pub struct History {
    /// How dates are written.
    pub clock: Clock,
    /// The runner.
    pub runner: Runner,
    view: AppleView,
    seed: u64,
    planned: Vec<Planned>,
    first: i64,
    end: i64,
}

/// What a day leaves in the export.
#[derive(Default)]
pub struct Day {
    /// Elements `Record`, in the order of time.
    pub records: String,
    /// Elements `Workout`, in the order of time.
    pub workouts: String,
    /// Routes: their file names and texts.
    pub routes: Vec<(String, String)>,
    /// Heart rate without noise, where the day has a run.
    pub truth: Option<Truth>,
    /// What is in it.
    pub counts: Counts,
}

/// The heart rate without noise of a run, at the samples that the watch kept outside pauses.
pub struct Truth {
    /// The run's first unix second, by which it is known.
    pub run: i64,
    /// Seconds since then; the middle of a span.
    pub time: Vec<f64>,
    /// BPM; the mean over a span.
    pub heart_rate: Vec<f64>,
    /// The same on a day like any other.
    pub usual: Vec<f64>,
    /// Sum of the sizes of the watch's errors there, BPM.
    pub error: f64,
}

/// Numbers of things in an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Elements `Workout`.
    pub workouts: u64,
    /// Runs, each counted once.
    pub runs: u64,
    /// Runs that stand there twice.
    pub duplicates: u64,
    /// Elements `Record`.
    pub records: u64,
    /// Heart rates.
    pub heart_rates: u64,
    /// Heart rates of the watch during runs.
    pub heart_rates_of_runs: u64,
    /// Routes.
    pub routes: u64,
}

impl Counts {
    /// Adds those of another part.
    pub fn add(&mut self, other: &Self) {
        self.workouts += other.workouts;
        self.runs += other.runs;
        self.duplicates += other.duplicates;
        self.records += other.records;
        self.heart_rates += other.heart_rates;
        self.heart_rates_of_runs += other.heart_rates_of_runs;
        self.routes += other.routes;
    }
}

impl History {
    /// Draws the runner and the calendar.
    pub fn new(view: &AppleView, seed: u64) -> Result<Self> {
        let mut rng = stream(seed, 0);
        let runner = outing::runner(&mut rng);
        let planned = plan::plan(&mut rng, view);
        let (first, end) = (new_year(view.first_year), new_year(view.first_year + view.years as i16));
        Ok(Self { clock: Clock::new(&view.offset_at_export)?, runner, view: view.clone(), seed, planned, first, end })
    }

    /// Days of the history.
    pub fn days(&self) -> u64 {
        (self.end - self.first) as u64
    }

    /// The unix second of the export: a week after the last day.
    pub fn exported(&self) -> i64 {
        self.clock.local(self.end + 7, 10 * 3600)
    }

    /// How texts of the export are written.
    pub fn writer(&self) -> Writer<'_> {
        Writer { clock: &self.clock, units: self.view.units }
    }

    /// Simulates a day, counted from the first one.
    pub fn day(&self, index: u64) -> Day {
        let day = self.first + index as i64;
        let rng = &mut stream(self.seed, index + 1);
        let planned = self.planned.binary_search_by_key(&day, |planned| planned.day).ok();
        let mut parts = Parts::default();
        if let Some(planned) = planned.map(|place| self.planned[place]) {
            self.go_out(rng, planned, &mut parts);
        }
        self.live(rng, day, &mut parts);
        parts.records.sort_by_key(|record| record.time);
        parts.sessions.sort_by_key(|session| session.time);
        self.write(parts)
    }

    fn write(&self, parts: Parts) -> Day {
        let writer = self.writer();
        let mut day = Day { routes: parts.routes, truth: parts.truth, counts: parts.counts, ..Day::default() };
        parts.records.iter().for_each(|record| writer.push_record(&mut day.records, record));
        parts.sessions.iter().for_each(|session| writer.push_workout(&mut day.workouts, session));
        let heart_rates = parts.records.iter().filter(|record| record.quantity == Quantity::HeartRate);
        day.counts.heart_rates = heart_rates.count() as u64;
        day.counts.records = parts.records.len() as u64;
        day.counts.workouts = parts.sessions.len() as u64;
        day.counts.routes = day.routes.len() as u64;
        day
    }

    /// The day's workout and all that devices keep of it.
    fn go_out(&self, rng: &mut ChaCha8Rng, planned: Planned, parts: &mut Parts) {
        let weekend = (planned.day + 3).rem_euclid(7) >= 5;
        let hour =
            if weekend || bernoulli(rng, 0.3) { clipped(rng, 9.3, 1.2, (6.5, 14.0)) } else { uniform(rng, 17.0, 19.3) };
        let start = self.clock.local(planned.day, (hour * 3600.0) as i64);
        let outing = Outing::draw(rng, &self.runner, planned, start);
        let samples = samples(rng, &outing, self.view.density_in(year(planned.day)));
        let weather = (9.0 - 9.0 * season(start) + normal(rng, 3.0, 3.0), clipped(rng, 70.0, 12.0, (30.0, 99.0)));
        parts.busy = Some((outing.start - 900, outing.end() + 900));
        parts.push_heart_rates(&outing, &samples);
        parts.push_distances(&outing);
        let mut session = session(&outing, &samples, weather);
        if !planned.traits.indoor {
            session.route = Some(self.push_route(parts, &route::points(rng, &outing)));
        }
        if planned.traits.twice {
            self.record_twice(rng, &outing, &samples, &session, parts);
        }
        if planned.activity == Activity::Running {
            let of_run = samples.iter().filter(|sample| !sample.paused);
            parts.counts.runs = 1;
            parts.counts.heart_rates_of_runs = samples.len() as u64;
            parts.truth = Some(truth(outing.start, of_run));
        }
        parts.sessions.push(session);
    }

    /// The same run by an app that begins and ends a few seconds off, keeps fewer heart rates and knows no pauses.
    fn record_twice(
        &self,
        rng: &mut ChaCha8Rng,
        outing: &Outing,
        samples: &[Sample],
        by_watch: &Session,
        parts: &mut Parts,
    ) {
        let seconds = uniform(rng, 1.0, 7.0) as i64;
        let shift = if bernoulli(rng, 0.5) { seconds } else { -seconds };
        let (start, end) = (outing.start + shift, outing.end() + uniform(rng, 0.0, 7.0) as i64);
        for sample in samples.iter().step_by(3) {
            let second = outing.start + ((sample.start + sample.end) / 2) as i64 + 1;
            let value = (sample.rate + normal(rng, 0.0, 1.0)).round();
            parts.push(Quantity::HeartRate, Source::App, (second, second), value);
        }
        let route = (!outing.planned.traits.indoor).then(|| {
            let points = route::points(rng, outing);
            self.push_route(parts, &points)
        });
        parts.counts.duplicates = 1;
        parts.sessions.push(Session {
            source: Source::App,
            time: (start, end),
            active: (end - start) as usize,
            pauses: Vec::new(),
            climb: None,
            metres: by_watch.metres * 1.01,
            route,
            ..session(outing, &[], by_watch.weather)
        });
    }

    /// Adds a route under a name that no other has: only those of one day can end in the same minute.
    fn push_route(&self, parts: &mut Parts, points: &[route::Point]) -> (String, (i64, i64)) {
        let time = (points[0].time, points[points.len() - 1].time);
        let stem = format!("route_{}", self.clock.route(time.1));
        let taken = |name: &String| parts.routes.iter().any(|(other, _)| other == name);
        let numbered = (2..).map(|number| format!("{stem} {number}.gpx"));
        let mut names = std::iter::once(format!("{stem}.gpx")).chain(numbered);
        let name = names.find(|name| !taken(name)).expect("numbers do not end");
        let mut text = String::with_capacity(220 * points.len());
        route::push_gpx(&mut text, &self.clock, self.exported(), points);
        parts.routes.push((name.clone(), text));
        (name, time)
    }

    /// The rest of the day: heart rates at rest, steps, energy.
    fn live(&self, rng: &mut ChaCha8Rng, day: i64, parts: &mut Parts) {
        if bernoulli(rng, self.view.resting_days) {
            let count = clipped(rng, 64.0, 8.0, (40.0, 90.0)) as usize;
            for (second, value) in resting(rng, &self.runner, count) {
                let second = day * DAY + second - self.clock_offset(day);
                if parts.busy.is_none_or(|(start, end)| !(start..end).contains(&second)) {
                    let record = Record { motion: Some(1), ..heart_rate((second, second), value) };
                    parts.records.push(record);
                }
            }
        }
        for hour in [8, 13, 20] {
            let (start, length) = (day * DAY + hour * 3600 - self.clock_offset(day), uniform(rng, 120.0, 900.0) as i64);
            let steps = (length as f64 * uniform(rng, 0.5, 1.7)).round();
            parts.push(Quantity::Steps, Source::Phone, (start, start + length), steps);
            parts.push(Quantity::Energy, Source::Watch, (start, start + length), steps * 0.04);
        }
    }

    fn clock_offset(&self, day: i64) -> i64 {
        day * DAY + 12 * 3600 - self.clock.local(day, 12 * 3600)
    }
}

/// What a day gathers before it is written.
#[derive(Default)]
struct Parts {
    records: Vec<Record>,
    sessions: Vec<Session>,
    routes: Vec<(String, String)>,
    truth: Option<Truth>,
    counts: Counts,
    /// Unix seconds that belong to a workout.
    busy: Option<(i64, i64)>,
}

impl Parts {
    fn push(&mut self, quantity: Quantity, source: Source, time: (i64, i64), value: f64) {
        self.records.push(Record { quantity, source, time, value, motion: None });
    }

    fn push_heart_rates(&mut self, outing: &Outing, samples: &[Sample]) {
        let at = |second: usize| outing.start + second as i64;
        for sample in samples {
            // Condensed ones have lost what they knew of motion.
            let motion = (sample.start == sample.end).then_some(2);
            let record = heart_rate((at(sample.start), at(sample.end)), sample.rate);
            self.records.push(Record { motion, ..record });
        }
    }

    /// Distances: every ten seconds where they are all there is, each minute beside a route.
    fn push_distances(&mut self, outing: &Outing) {
        let step = if outing.planned.traits.indoor { 10 } else { 60 };
        let quantity = if outing.planned.activity == Activity::Cycling { Quantity::Ride } else { Quantity::Distance };
        for first in (0..outing.seconds()).step_by(step) {
            let end = (first + step).min(outing.seconds());
            let (metres, time) = (outing.metres(first..end), (outing.start + first as i64, outing.start + end as i64));
            if metres > 0.0 {
                self.push(quantity, Source::Watch, time, metres);
            }
        }
    }
}

fn heart_rate(time: (i64, i64), value: f64) -> Record {
    Record { quantity: Quantity::HeartRate, source: Source::Watch, time, value, motion: None }
}

/// The workout as the watch lists it.
fn session(outing: &Outing, samples: &[Sample], weather: (f64, f64)) -> Session {
    let at = |second: usize| outing.start + second as i64;
    let metres = outing.metres(0..outing.seconds());
    let ease = if outing.planned.activity == Activity::Running { 1.0 } else { 0.5 };
    let rates = || samples.iter().map(|sample| sample.rate);
    let heart_rate = (!samples.is_empty()).then(|| {
        let mean = rates().sum::<f64>() / samples.len() as f64;
        (mean, rates().fold(f64::MAX, f64::min), rates().fold(f64::MIN, f64::max))
    });
    Session {
        activity: outing.planned.activity,
        source: Source::Watch,
        time: (outing.start, outing.end()),
        active: outing.active_seconds(),
        pauses: outing.pauses.iter().map(|pause| at(pause.start)..at(pause.end)).collect(),
        indoor: outing.planned.traits.indoor,
        metres,
        // About a kcal for each kg and km.
        energy: 62.0 * metres / 1000.0 * ease,
        climb: Some(outing.climb()),
        heart_rate,
        weather,
        route: None,
    }
}

fn truth<'a>(run: i64, samples: impl Iterator<Item = &'a Sample>) -> Truth {
    let mut truth = Truth { run, time: Vec::new(), heart_rate: Vec::new(), usual: Vec::new(), error: 0.0 };
    for sample in samples {
        truth.time.push((sample.start + sample.end) as f64 / 2.0);
        truth.heart_rate.push(sample.clean);
        truth.usual.push(sample.usual);
        truth.error += (sample.rate - sample.clean).abs();
    }
    truth
}

/// From 1 in the middle of winter to −1 in that of summer.
fn season(second: i64) -> f64 {
    (second as f64 / (365.25 * DAY as f64) * std::f64::consts::TAU).cos()
}

/// The random numbers of one day; day 0 is the runner and the plan. The other view has no stream from here on.
fn stream(seed: u64, day: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((1 << 63) | day);
    rng
}

#[cfg(test)]
mod tests {
    use super::{Activity, History, outing::Outing, samples, stream};
    use crate::physiology::{ema, power};
    use crate::simulate::apple::view::AppleView;

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let (mean_a, mean_b) = (mean(a), mean(b));
        let product = |a: &[f64], b: &[f64], mean_a: f64, mean_b: f64| {
            mean(&a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).collect::<Vec<_>>())
        };
        let spread = (product(a, a, mean_a, mean_a) * product(b, b, mean_b, mean_b)).sqrt();
        product(a, b, mean_a, mean_b) / spread
    }

    /// Mean heart rate of a run, and its correlation with speed at once and with power that has lagged.
    fn figures(outing: &Outing) -> [f64; 3] {
        let time: Vec<f64> = (0..outing.seconds()).map(|second| second as f64).collect();
        let demand: Vec<f64> = outing.speed.iter().zip(&outing.grade).map(|(&v, &i)| power(v, i)).collect();
        let lagged = ema(&time, &demand, 60.0);
        let kept = samples(&mut stream(9, 1), outing, 12.0);
        let at = |series: &[f64]| kept.iter().map(|sample| series[sample.start]).collect::<Vec<f64>>();
        let rates: Vec<f64> = kept.iter().map(|sample| sample.rate).collect();
        [mean(&rates), correlation(&at(&outing.track.speed), &rates), correlation(&at(&lagged), &rates)]
    }

    #[test]
    fn speed_says_little_at_once_and_much_with_slope_and_lag() {
        let mut all = Vec::new();
        for seed in 0..4 {
            let history = History::new(&AppleView::default(), seed).unwrap();
            let runs = history.planned.iter().filter(|planned| planned.activity == Activity::Running);
            for planned in runs.step_by(12) {
                let rng = &mut stream(seed, planned.day as u64);
                all.push(figures(&Outing::draw(rng, &history.runner, *planned, planned.day * 86_400)));
            }
        }
        let [rate, at_once, lagged] =
            [0, 1, 2].map(|place| mean(&all.iter().map(|run| run[place]).collect::<Vec<_>>()));
        println!("mean {rate:.1} BPM, r with speed {at_once:.2}, with lagged power {lagged:.2}");
        assert!((140.0..155.0).contains(&rate), "{rate}");
        assert!((0.65..0.85).contains(&lagged) && at_once < lagged - 0.3, "{at_once} {lagged}");
    }

    #[test]
    fn pauses_cut_the_route_and_no_gap_is_long() {
        let view = AppleView { runs: 20, pauses: 1.0, years: 1, indoor: 0.0, ..AppleView::default() };
        let history = History::new(&view, 3).unwrap();
        for planned in history.planned.iter().filter(|planned| planned.traits.paused) {
            let outing = Outing::draw(&mut stream(3, planned.day as u64), &history.runner, *planned, 1_600_000_000);
            assert!((1..=3).contains(&outing.pauses.len()));
            let points = super::route::points(&mut stream(4, 1), &outing);
            let seconds: Vec<usize> = points.iter().map(|point| (point.time - outing.start) as usize).collect();
            assert!(seconds.is_sorted() && !seconds.iter().any(|&second| outing.is_paused(second)));
            let pauses =
                |pair: &[usize]| outing.pauses.iter().any(|pause| pair[0] <= pause.start && pause.end <= pair[1]);
            assert!(seconds.windows(2).filter(|pair| !pauses(pair)).all(|pair| pair[1] - pair[0] <= 25));
            assert!(seconds.windows(2).any(pauses));
        }
    }
}
