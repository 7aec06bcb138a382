//! The counting of the kind `correlate`: how heart rate goes with each predictor, over workouts in bounded
//! memory. Unaware of tables, figures and files.

use std::cell::OnceCell;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::features::{Feature, Signals};
use crate::statistics::{PairMoments, pearson, ranks, spearman};
use crate::track::{Places, Track};

/// Fewer samples than this say nothing of a workout.
const FEWEST: usize = 10;

/// A constant: the subsample is a property of the data, not a draw of the experiment.
const SUBSAMPLE_SEED: u64 = 0x7061_6365;

/// What heart rate is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictor {
    /// The feature.
    pub feature: Feature,
    /// Seconds by which it is read earlier than the heart rate.
    pub lag: f64,
    /// Whether ranks are compared too, which costs sorting.
    pub ranked: bool,
}

/// How heart rate goes with one predictor in one workout.
struct Within {
    moments: PairMoments,
    pearson: Option<f64>,
    spearman: Option<f64>,
    /// Pairs for the subsample, each with its random key.
    sampled: Vec<(u64, f64, f64)>,
}

/// How heart rate goes with every predictor in one workout; none where a series is missing.
pub struct WorkoutTally(Vec<Option<Within>>);

impl WorkoutTally {
    /// Compares a track with every predictor; pairs whose key is below `threshold` of their predictor are kept
    /// for the pooled ranks.
    pub fn new(id: i64, track: &Track, window: f64, predictors: &[Predictor], thresholds: &[u64]) -> Self {
        let signals = Signals::new(track, window).expecting(predictors.iter().map(|predictor| &predictor.feature));
        let mut random = ChaCha8Rng::seed_from_u64(SUBSAMPLE_SEED);
        random.set_stream(id as u64);
        let keys: Vec<u64> = track.heart_time.iter().map(|_| random.next_u64()).collect();
        let mut lags: Vec<Lagged<'_>> = Vec::new();
        let compare = |(predictor, threshold): (&Predictor, &u64)| {
            let known = lags.iter().position(|lagged| lagged.lag == predictor.lag).unwrap_or_else(|| {
                lags.push(Lagged::new(track, &signals, predictor.lag));
                lags.len() - 1
            });
            let (lagged, y) = (&lags[known], lags[known].heart_rate);
            let x = signals.sample_at(&predictor.feature, &lagged.at, &lagged.places).ok()?;
            let moments = PairMoments::of(&x, y);
            let enough = y.len() >= FEWEST;
            let sampled = x.iter().zip(y).zip(&keys).filter(|(_, key)| predictor.ranked && *key < threshold);
            Some(Within {
                moments,
                pearson: moments.r().filter(|_| enough),
                spearman: if predictor.ranked && enough { pearson(&ranks(&x), lagged.ranks()) } else { None },
                sampled: sampled.map(|((x, y), key)| (*key, *x, *y)).collect(),
            })
        };
        Self(predictors.iter().zip(thresholds).map(compare).collect())
    }
}

/// The samples that had a predictor a lag before, found once for all predictors of that lag.
struct Lagged<'a> {
    lag: f64,
    /// When the predictor is read.
    at: Vec<f64>,
    places: Places,
    heart_rate: &'a [f64],
    ranks: OnceCell<Vec<f64>>,
}

impl<'a> Lagged<'a> {
    fn new(track: &'a Track, signals: &Signals<'_>, lag: f64) -> Self {
        let first = track.heart_time.partition_point(|t| *t < lag);
        let at: Vec<f64> = track.heart_time[first..].iter().map(|t| t - lag).collect();
        let places = signals.places(&at);
        Self { lag, at, places, heart_rate: &track.heart_rate[first..], ranks: OnceCell::new() }
    }

    fn ranks(&self) -> &[f64] {
        self.ranks.get_or_init(|| ranks(self.heart_rate))
    }
}

/// How heart rate goes with one predictor over many workouts.
pub struct Tally {
    /// The most pairs that ranks over all workouts are computed from.
    limit: usize,
    pooled: PairMoments,
    within: PairSum,
    ranked_within: PairSum,
    negative: u64,
    subsample: Subsample,
}

/// The pairs with the smallest keys, in bits.
#[derive(Default)]
struct Subsample {
    /// Those and some more: twice the limit at most.
    pairs: Vec<(u64, [u64; 2])>,
    /// The greatest key of the pairs that were kept when there were last too many.
    greatest: Option<u64>,
}

impl Subsample {
    fn add(&mut self, key: u64, [x, y]: [f64; 2], limit: usize) {
        if self.greatest.is_some_and(|greatest| key > greatest) {
            return;
        }
        self.pairs.push((key, [x.to_bits(), y.to_bits()]));
        if self.pairs.len() >= 2 * limit {
            let (_, (greatest, _), _) = self.pairs.select_nth_unstable(limit - 1);
            self.greatest = Some(*greatest);
            self.pairs.truncate(limit);
        }
    }

    /// The pairs in the order of their keys.
    fn sorted(&self, limit: usize) -> Vec<(u64, [u64; 2])> {
        let mut pairs = self.pairs.clone();
        pairs.sort_unstable();
        pairs.truncate(limit);
        pairs
    }
}

/// The sum of figures and their number.
#[derive(Clone, Copy, Default)]
struct PairSum {
    n: u64,
    sum: f64,
}

impl PairSum {
    fn add(&mut self, value: f64) {
        self.n += 1;
        self.sum += value;
    }

    fn mean(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / self.n as f64)
    }
}

/// Tallies of all predictors over a set of workouts.
pub struct Tallies {
    tallies: Vec<Tally>,
}

impl Tallies {
    /// Tallies of nothing yet; `limit` pairs at most are kept for pooled ranks.
    pub fn new(predictors: usize, limit: usize) -> Self {
        Self { tallies: (0..predictors).map(|_| Tally::new(limit)).collect() }
    }

    /// The keys below which pairs still enter each subsample.
    pub fn thresholds(&self) -> Vec<u64> {
        self.tallies.iter().map(|tally| tally.subsample.greatest.unwrap_or(u64::MAX)).collect()
    }

    /// Takes in a workout; call in the order of the workouts, since sums round.
    pub fn take(&mut self, workout: WorkoutTally) {
        for (tally, within) in self.tallies.iter_mut().zip(workout.0) {
            if let Some(within) = within {
                tally.take(within);
            }
        }
    }

    /// The tally of a predictor, by its place.
    pub fn of(&self, predictor: usize) -> &Tally {
        &self.tallies[predictor]
    }
}

impl Tally {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            pooled: PairMoments::default(),
            within: PairSum::default(),
            ranked_within: PairSum::default(),
            negative: 0,
            subsample: Subsample::default(),
        }
    }

    fn take(&mut self, within: Within) {
        self.pooled.merge(&within.moments);
        if let Some(r) = within.pearson {
            self.within.add(r);
            self.negative += u64::from(r < 0.0);
        }
        if let Some(rho) = within.spearman {
            self.ranked_within.add(rho);
        }
        for (key, x, y) in within.sampled {
            self.subsample.add(key, [x, y], self.limit);
        }
    }

    /// Pairs seen.
    pub fn points(&self) -> u64 {
        self.pooled.n
    }

    /// Workouts with a correlation of their own.
    pub fn workouts(&self) -> u64 {
        self.within.n
    }

    /// Pearson's r over all pairs.
    pub fn pooled_pearson(&self) -> Option<f64> {
        self.pooled.r()
    }

    /// Spearman's correlation over the subsample.
    pub fn pooled_spearman(&self) -> Option<f64> {
        let pairs = self.subsample.sorted(self.limit);
        let side = |i: usize| pairs.iter().map(|(_, pair)| f64::from_bits(pair[i])).collect::<Vec<f64>>();
        spearman(&side(0), &side(1))
    }

    /// Mean over workouts of Pearson's r within the workout.
    pub fn mean_pearson(&self) -> Option<f64> {
        self.within.mean()
    }

    /// Mean over workouts of Spearman's correlation within the workout.
    pub fn mean_spearman(&self) -> Option<f64> {
        self.ranked_within.mean()
    }

    /// Share of workouts in which heart rate falls as the predictor rises.
    pub fn negative_share(&self) -> Option<f64> {
        (self.within.n > 0).then(|| self.negative as f64 / self.within.n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::Gender;

    fn track(n: usize, heart_rate: impl Fn(f64) -> f64) -> Track {
        let elapsed: Vec<f64> = (0..n).map(|i| 10.0 * i as f64).collect();
        Track {
            start: 0.0,
            heart_rate: elapsed.iter().map(|t| heart_rate(*t)).collect(),
            speed: Some(elapsed.iter().map(|t| 3.0 + (t / 50.0).sin()).collect()),
            altitude: None,
            heart_time: elapsed.clone(),
            elapsed,
            gender: Gender::Unknown,
        }
    }

    fn predictor(feature: &str, lag: f64) -> Predictor {
        Predictor { feature: feature.parse().unwrap(), lag, ranked: true }
    }

    fn tally(tracks: &[Track], predictors: &[Predictor], limit: usize) -> Tallies {
        let mut tallies = Tallies::new(predictors.len(), limit);
        for (id, track) in tracks.iter().enumerate() {
            let thresholds = tallies.thresholds();
            tallies.take(WorkoutTally::new(id as i64, track, 30.0, predictors, &thresholds));
        }
        tallies
    }

    #[test]
    fn heart_rate_that_answers_late_agrees_best_at_its_lag() {
        let late = track(200, |t| 140.0 + 20.0 * ((t - 40.0) / 50.0).sin());
        let predictors = [predictor("speed", 0.0), predictor("speed", 40.0), predictor("power", 0.0)];
        let tallies = tally(&[late], &predictors, 1000);
        assert!(tallies.of(1).mean_pearson().unwrap() > 0.999);
        assert!(tallies.of(0).mean_pearson().unwrap() < 0.8);
        assert_eq!((tallies.of(0).points(), tallies.of(1).points()), (200, 196));
        assert_eq!((tallies.of(2).points(), tallies.of(2).mean_pearson()), (0, None), "there is no altitude");
    }

    #[test]
    fn a_workout_whose_heart_rate_falls_with_speed_counts_as_negative() {
        let with = track(50, |t| 140.0 + 20.0 * (t / 50.0).sin());
        let against = track(50, |t| 140.0 - 20.0 * (t / 50.0).sin());
        let few = track(5, |t| t);
        let tallies = tally(&[with, against.clone(), few, against], &[predictor("speed", 0.0)], 1000);
        let speed = tallies.of(0);
        assert_eq!(speed.workouts(), 3);
        assert!((speed.negative_share().unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert!((speed.mean_spearman().unwrap() + 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn the_subsample_does_not_depend_on_how_workouts_come_and_keeps_to_its_limit() {
        let tracks: Vec<Track> = (0..6).map(|i| track(40, move |t| 100.0 + (t * f64::from(i)) % 37.0)).collect();
        let predictors = [predictor("speed", 0.0)];
        let one_by_one = tally(&tracks, &predictors, 50);
        let mut at_once = Tallies::new(1, 50);
        let all: Vec<WorkoutTally> =
            (0..6).map(|id| WorkoutTally::new(id, &tracks[id as usize], 30.0, &predictors, &[u64::MAX])).collect();
        all.into_iter().for_each(|workout| at_once.take(workout));
        assert_eq!(at_once.of(0).subsample.sorted(50).len(), 50);
        assert_eq!(at_once.of(0).pooled_spearman(), one_by_one.of(0).pooled_spearman());
        assert!(at_once.of(0).pooled_spearman() != tally(&tracks, &predictors, 1000).of(0).pooled_spearman());
    }
}
