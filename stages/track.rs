//! A workout put in order for computing: rising times, one sample an instant, finite numbers; heart rate may have times
//! of its own. Unaware of features, grids and files.

use crate::workouts::Workout;

/// The series of a workout, sample by sample, ready for computing.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Time of the first sample in unix seconds, of whichever series begins first.
    pub start: f64,
    /// Seconds since the start of each sample of speed and altitude, strictly rising; those of the heart rate where
    /// the workout has neither.
    pub elapsed: Vec<f64>,
    /// Seconds since the start of each heart rate, strictly rising.
    pub heart_time: Vec<f64>,
    /// Heart rate in BPM.
    pub heart_rate: Vec<f64>,
    /// Speed in m/s, where the workout has it.
    pub speed: Option<Vec<f64>>,
    /// Altitude in metres, where the workout has it.
    pub altitude: Option<Vec<f64>>,
    /// What the source says of the runner.
    pub gender: Gender,
}

/// The runner's gender as the source says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gender {
    /// `male`.
    Male,
    /// `female`.
    Female,
    /// Anything else or nothing.
    Unknown,
}

/// What had to be done to put samples in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Samples older than the one before, moved to their place in time.
    pub moved: u64,
    /// Samples averaged into another of the same instant.
    pub averaged: u64,
    /// Samples left out because a value is NaN or infinite.
    pub dropped: u64,
}

/// Why no track can be made of a workout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unusable {
    /// There are no times.
    NoTime,
    /// There is no heart rate.
    NoHeartRate,
    /// Series have different lengths.
    Lengths,
    /// Fewer than two instants with finite values.
    TooFew,
}

impl Unusable {
    /// The reason in words, to follow a workout's number.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoTime => "has no times",
            Self::NoHeartRate => "has no heart rate",
            Self::Lengths => "has series of different lengths",
            Self::TooFew => "has fewer than two instants with finite values",
        }
    }
}

impl Gender {
    fn of(text: Option<&str>) -> Self {
        match text.map(str::to_lowercase).as_deref() {
            Some("male" | "m") => Self::Male,
            Some("female" | "f") => Self::Female,
            _ => Self::Unknown,
        }
    }
}

/// One instant: its time, how many samples it holds, and their values, `None` for a series that is not there.
struct Instant {
    time: f64,
    n: f64,
    values: [Option<f64>; 3],
}

impl Instant {
    fn is_finite(&self) -> bool {
        self.time.is_finite() && self.values.iter().flatten().all(|value| value.is_finite())
    }

    /// Takes a sample of the same instant into the average.
    fn average(&mut self, other: &Self) {
        self.n += 1.0;
        let share = 1.0 / self.n;
        for (mean, value) in self.values.iter_mut().zip(other.values) {
            *mean = mean.zip(value).map(|(mean, value)| mean + share * (value - mean));
        }
    }
}

impl Track {
    /// Puts a workout's samples in order: sorts them by time, averages those of one instant, leaves out those
    /// with a value that is no finite number, and says how many of each.
    pub fn new(workout: &Workout) -> Result<(Self, Repairs), Unusable> {
        let heart_rate = workout.heart_rate.as_deref().ok_or(Unusable::NoHeartRate)?;
        if let Some(track) = Self::in_order(workout) {
            return Ok((track, Repairs::default()));
        }
        let (speed, altitude) = (workout.speed.as_deref(), workout.altitude.as_deref());
        let time = workout.time.as_deref();
        let mut repairs = Repairs::default();
        let (heart, way) = match workout.heart_rate_time.as_deref() {
            None => {
                let time = time.ok_or(Unusable::NoTime)?;
                (instants(time, [Some(heart_rate), speed, altitude], &mut repairs)?, None)
            }
            Some(own) => {
                let way = time.filter(|_| speed.is_some() || altitude.is_some());
                let way = way.map(|time| instants(time, [None, speed, altitude], &mut repairs)).transpose()?;
                (instants(own, [Some(heart_rate), None, None], &mut repairs)?, way)
            }
        };
        let way = way.as_deref().unwrap_or(&heart);
        if heart.len() < 2 || way.len() < 2 {
            return Err(Unusable::TooFew);
        }
        let start = heart[0].time.min(way[0].time);
        let elapsed = |instants: &[Instant]| instants.iter().map(|instant| instant.time - start).collect();
        let series = |series: usize| way.iter().map(|instant| instant.values[series]).collect();
        let track = Self {
            start,
            elapsed: elapsed(way),
            heart_time: elapsed(&heart),
            heart_rate: heart.iter().filter_map(|instant| instant.values[0]).collect(),
            speed: series(1),
            altitude: series(2),
            gender: Gender::of(workout.gender.as_deref()),
        };
        Ok((track, repairs))
    }

    /// The track of a workout that needs no repair and whose series share their times, as most do.
    fn in_order(workout: &Workout) -> Option<Self> {
        let (time, heart_rate) = (workout.time.as_deref()?, workout.heart_rate.as_deref()?);
        let (speed, altitude) = (workout.speed.as_deref(), workout.altitude.as_deref());
        let series = || [Some(heart_rate), speed, altitude].into_iter().flatten();
        let finite = |series: &[f32]| series.iter().fold(true, |all, value| all & value.is_finite());
        let rising = || time.windows(2).fold(true, |all, pair| all & (pair[0] < pair[1]));
        let ends = [time.first()?, time.last()?];
        let usual = workout.heart_rate_time.is_none()
            && time.len() > 1
            && series().all(|series| series.len() == time.len() && finite(series))
            && ends.into_iter().all(|end| end.is_finite())
            && rising();
        let wide = |series: &[f32]| series.iter().map(|value| f64::from(*value)).collect();
        usual.then(|| {
            let elapsed: Vec<f64> = time.iter().map(|now| now - time[0]).collect();
            Self {
                start: time[0],
                heart_time: elapsed.clone(),
                elapsed,
                heart_rate: wide(heart_rate),
                speed: speed.map(wide),
                altitude: altitude.map(wide),
                gender: Gender::of(workout.gender.as_deref()),
            }
        })
    }

    /// Seconds from the first sample to the last.
    pub fn duration(&self) -> f64 {
        let last = |times: &[f64]| times.last().copied().unwrap_or_default();
        last(&self.elapsed).max(last(&self.heart_time))
    }
}

/// The samples of series that share their times, in order.
fn instants(time: &[f64], series: [Option<&[f32]>; 3], repairs: &mut Repairs) -> Result<Vec<Instant>, Unusable> {
    if series.iter().flatten().any(|series| series.len() != time.len()) {
        return Err(Unusable::Lengths);
    }
    let mut samples: Vec<Instant> = Vec::with_capacity(time.len());
    for (i, &time) in time.iter().enumerate() {
        let values = series.map(|series| series.map(|series| f64::from(series[i])));
        let sample = Instant { time, n: 1.0, values };
        if !sample.is_finite() {
            repairs.dropped += 1;
            continue;
        }
        repairs.moved += u64::from(samples.last().is_some_and(|before| before.time > time));
        samples.push(sample);
    }
    Ok(merge_instants(samples, repairs))
}

fn merge_instants(mut samples: Vec<Instant>, repairs: &mut Repairs) -> Vec<Instant> {
    samples.sort_by(|a, b| a.time.total_cmp(&b.time));
    let mut instants: Vec<Instant> = Vec::with_capacity(samples.len());
    for sample in samples {
        match instants.last_mut().filter(|before| before.time == sample.time) {
            Some(before) => {
                before.average(&sample);
                repairs.averaged += 1;
            }
            None => instants.push(sample),
        }
    }
    instants
}

/// Where given times lie between samples, found once for all series of those samples.
pub struct Places {
    /// The samples before and after each time, and how far it lies on the way between them.
    between: Vec<(u32, u32, f64)>,
}

impl Places {
    /// Finds the places; `time` is strictly rising and not empty, `at` never falls.
    pub fn of(time: &[f64], at: &[f64]) -> Self {
        let mut next = 0;
        let place = |&at: &f64| {
            while next < time.len() && time[next] < at {
                next += 1;
            }
            if next == 0 || next == time.len() {
                let end = next.saturating_sub(1) as u32;
                // Negative zero leaves every value as it is, down to the sign of a zero.
                return (end, end, -0.0);
            }
            let share = (at - time[next - 1]) / (time[next] - time[next - 1]);
            (next as u32 - 1, next as u32, share)
        };
        Self { between: at.iter().map(place).collect() }
    }

    /// The values of a series there, by straight lines between samples; beyond the ends the end's value holds.
    pub fn read(&self, values: &[f64]) -> Vec<f64> {
        let value = |&(before, after, share): &(u32, u32, f64)| {
            let (before, after) = (values[before as usize], values[after as usize]);
            before + share * (after - before)
        };
        self.between.iter().map(value).collect()
    }
}

/// Values at given times by straight lines between samples; beyond the ends the end's value holds.
///
/// `time` is strictly rising and not empty, `at` never falls.
pub fn interpolate(time: &[f64], values: &[f64], at: &[f64]) -> Vec<f64> {
    Places::of(time, at).read(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workout(time: &[f64], heart_rate: &[f32]) -> Workout {
        Workout {
            time: Some(time.to_vec()),
            heart_rate: Some(heart_rate.to_vec()),
            speed: Some(heart_rate.iter().map(|value| value / 40.0).collect()),
            gender: Some("Female".into()),
            ..Workout::default()
        }
    }

    #[test]
    fn samples_are_sorted_averaged_and_cleaned_and_that_is_counted() {
        let time = [100.0, 105.0, 103.0, 105.0, 110.0, 111.0];
        let (track, repairs) = Track::new(&workout(&time, &[100.0, 120.0, 110.0, 130.0, f32::NAN, 140.0])).unwrap();
        assert_eq!(track.start, 100.0);
        assert_eq!(track.elapsed, [0.0, 3.0, 5.0, 11.0]);
        assert_eq!(track.heart_rate, [100.0, 110.0, 125.0, 140.0]);
        assert_eq!(track.speed.unwrap()[2], 3.125);
        assert_eq!((track.altitude, track.gender), (None, Gender::Female));
        assert_eq!(repairs, Repairs { moved: 1, averaged: 1, dropped: 1 });
    }

    #[test]
    fn a_workout_in_order_gives_the_track_that_putting_it_in_order_gives() {
        let plain = Workout { altitude: Some(vec![1.0, -0.0, 3.0]), ..workout(&[7.0, 8.5, 11.0], &[99.0, 98.0, 97.0]) };
        let (track, repairs) = Track::new(&plain).unwrap();
        assert_eq!(Track::in_order(&plain).unwrap(), track);
        let shuffle = |series: &Option<Vec<f32>>| series.as_ref().map(|s| vec![s[2], s[0], s[1]]);
        let shuffled = Workout {
            time: Some(vec![11.0, 7.0, 8.5]),
            heart_rate: shuffle(&plain.heart_rate),
            speed: shuffle(&plain.speed),
            altitude: shuffle(&plain.altitude),
            ..plain.clone()
        };
        assert_eq!(Track::in_order(&shuffled), None);
        let (same, moved) = Track::new(&shuffled).unwrap();
        assert_eq!((same, moved.moved, repairs), (track, 1, Repairs::default()));
        for broken in [
            Workout { time: Some(vec![7.0, 8.5, f64::INFINITY]), ..plain.clone() },
            Workout { altitude: Some(vec![1.0, f32::NAN, 2.0]), ..plain.clone() },
            Workout { heart_rate_time: Some(vec![7.0, 8.0, 9.0]), ..plain.clone() },
            Workout { speed: Some(vec![1.0]), ..plain },
        ] {
            assert_eq!(Track::in_order(&broken), None);
        }
    }

    #[test]
    fn a_heart_rate_with_times_of_its_own_leaves_the_way_as_it_is() {
        let own = Workout {
            heart_rate: Some(vec![130.0, 120.0]),
            heart_rate_time: Some(vec![107.0, 98.0]),
            speed: Some(vec![2.0, 3.0, 4.0]),
            ..workout(&[100.0, 101.0, 102.0], &[0.0; 3])
        };
        let (track, repairs) = Track::new(&own).unwrap();
        assert_eq!((track.start, track.duration()), (98.0, 9.0));
        assert_eq!((track.elapsed, track.speed.unwrap()), (vec![2.0, 3.0, 4.0], vec![2.0, 3.0, 4.0]));
        assert_eq!((track.heart_time, track.heart_rate), (vec![0.0, 9.0], vec![120.0, 130.0]));
        assert_eq!(repairs.moved, 1);
        let indoors = Workout { time: None, speed: None, ..own };
        assert_eq!(Track::new(&indoors).unwrap().0.elapsed, [0.0, 9.0]);
    }

    #[test]
    fn a_workout_that_cannot_be_put_in_order_says_why() {
        let why = |workout: &Workout| Track::new(workout).unwrap_err();
        assert_eq!(why(&Workout::default()), Unusable::NoHeartRate);
        assert_eq!(why(&Workout { time: None, ..workout(&[], &[100.0]) }), Unusable::NoTime);
        assert_eq!(why(&workout(&[1.0, 2.0], &[100.0])), Unusable::Lengths);
        assert_eq!(why(&workout(&[1.0, 1.0], &[100.0, 101.0])), Unusable::TooFew);
        assert_eq!(why(&workout(&[], &[])), Unusable::TooFew);
    }

    #[test]
    fn values_between_samples_lie_on_straight_lines_and_ends_hold() {
        let values = interpolate(&[0.0, 10.0, 40.0], &[1.0, 2.0, 8.0], &[-5.0, 0.0, 5.0, 10.0, 20.0, 99.0]);
        assert_eq!(values, [1.0, 1.0, 1.5, 2.0, 4.0, 8.0]);
    }
}
