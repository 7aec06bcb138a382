//! What a device keeps of a workout: irregular points, positions with error, whole beats, and now and then
//! something broken. Unaware of the file it goes to.

use rand_chacha::ChaCha8Rng;

use crate::simulate::course::Course;
use crate::simulate::heart::Heart;
use crate::simulate::noise::{Wander, bernoulli, normal, uniform};
use crate::simulate::runner::Runner;
use crate::simulate::{Failures, Population};

/// A recorded workout; every series has one value for each point.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The number that the file gives.
    pub id: i64,
    /// The user's number.
    pub user: i64,
    /// The user's gender.
    pub gender: &'static str,
    /// The sport.
    pub sport: &'static str,
    /// Unix seconds.
    pub time: Vec<i64>,
    /// Whole BPM.
    pub heart_rate: Vec<i64>,
    /// Heart rate without noise, BPM: what a model that knew user, course and day could say at best.
    pub oracle: Vec<f64>,
    /// The same on a day like any other, BPM: what a model that knew user and course could say at best.
    pub usual: Vec<f64>,
    /// Speed in km/h, where the device kept it.
    pub speed: Option<Vec<f64>>,
    /// Altitude in m, with the device's offset and noise.
    pub altitude: Vec<f64>,
    /// Degrees.
    pub latitude: Vec<f64>,
    /// Degrees.
    pub longitude: Vec<f64>,
    /// What is broken, if anything.
    pub flaw: Option<Flaw>,
}

/// Something that a quality filter should find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A field is not there.
    Missing(&'static str),
    /// A heart rate is `None`.
    Unconvertible,
    /// There are fewer than 50 points.
    Short,
    /// Heart rate ends early.
    Unequal,
    /// An altitude is `nan`.
    NotFinite,
    /// Some heart rates are 0 or too high.
    OutOfRange,
}

impl Flaw {
    fn draw(rng: &mut ChaCha8Rng, failures: &Failures) -> Option<Self> {
        let field = ["heart_rate", "altitude", "gender", "userId"][uniform(rng, 0.0, 4.0) as usize];
        let flaws =
            [Self::Missing(field), Self::Unconvertible, Self::Short, Self::Unequal, Self::NotFinite, Self::OutOfRange];
        let mut left = uniform(rng, 0.0, 1.0);
        let hit = failures.shares().into_iter().zip(flaws).find(|((_, share), _)| {
            left -= share;
            left < 0.0
        });
        hit.map(|(_, flaw)| flaw)
    }
}

/// Metres of a degree of latitude.
const METRES_PER_DEGREE: f64 = 111_195.08;

/// Records a workout of this id and start (unix seconds).
pub fn record(
    rng: &mut ChaCha8Rng,
    population: &Population,
    runner: &Runner,
    course: &Course,
    heart: &Heart,
    (id, start): (i64, i64),
) -> Recording {
    let flaw = Flaw::draw(rng, &population.failures);
    let points = if flaw == Some(Flaw::Short) { uniform(rng, 5.0, 50.0) as usize } else { population.points };
    let seconds = sample(rng, &recorded_seconds(runner, course), points);
    let track = Track::draw(rng, runner, course);
    let at = |series: &[f64]| seconds.iter().map(|&second| series[second]).collect::<Vec<f64>>();
    let has_speed = !bernoulli(rng, population.without_speed);
    let mut heart_rate: Vec<i64> = at(&heart.noisy).into_iter().map(|rate| rate.round() as i64).collect();
    if flaw == Some(Flaw::OutOfRange) {
        drop_out(rng, &mut heart_rate);
    }
    Recording {
        id,
        user: runner.user,
        gender: runner.gender,
        sport: course.sport.name,
        time: seconds.iter().map(|&second| start + second as i64).collect(),
        heart_rate,
        oracle: at(&heart.clean),
        usual: at(&heart.usual),
        speed: has_speed.then(|| at(&track.speed).into_iter().map(|speed| speed * 3.6).collect()),
        altitude: at(&track.altitude),
        latitude: at(&track.latitude),
        longitude: at(&track.longitude),
        flaw,
    }
}

/// The seconds that the device keeps: all, or those in motion.
fn recorded_seconds(runner: &Runner, course: &Course) -> Vec<usize> {
    let moving = |second: &usize| !runner.auto_pause || course.speed[*second] > 0.4;
    (0..course.speed.len()).filter(moving).collect()
}

/// Picks points at uneven distances, so that the step grows with the duration.
fn sample(rng: &mut ChaCha8Rng, seconds: &[usize], points: usize) -> Vec<usize> {
    let stride = seconds.len() as f64 / points as f64;
    let mut pick = |point: usize| {
        let place = (point as f64 + uniform(rng, 0.05, 0.95)) * stride;
        seconds[(place as usize).min(seconds.len() - 1)]
    };
    (0..points).map(&mut pick).collect()
}

/// A sensor that slips: some beats are lost, or twice as many are counted.
fn drop_out(rng: &mut ChaCha8Rng, heart_rate: &mut [i64]) {
    let first = uniform(rng, 0.0, heart_rate.len() as f64) as usize;
    let count = uniform(rng, 1.0, 20.0) as usize;
    let value = if bernoulli(rng, 0.7) { 0 } else { 230 };
    heart_rate.iter_mut().skip(first).take(count).for_each(|rate| *rate = value);
}

/// What a device's sensors say at every second.
pub struct Track {
    /// m/s.
    pub speed: Vec<f64>,
    /// Metres above sea level.
    pub altitude: Vec<f64>,
    /// Degrees.
    pub latitude: Vec<f64>,
    /// Degrees.
    pub longitude: Vec<f64>,
}

impl Track {
    /// Draws the way of a course from about the runner's home, and how far the sensors err.
    pub fn draw(rng: &mut ChaCha8Rng, runner: &Runner, course: &Course) -> Self {
        let count = course.speed.len();
        let series = || Vec::with_capacity(count);
        let mut track = Self { speed: series(), altitude: series(), latitude: series(), longitude: series() };
        // Streets bend slowly; the error of a receiver wanders.
        let (mut bend, mut heading) = (Wander::new(rng, 0.02, 20.0), uniform(rng, 0.0, std::f64::consts::TAU));
        let (mut east_error, mut north_error) = (Wander::new(rng, 3.0, 60.0), Wander::new(rng, 3.0, 60.0));
        let (mut height_error, mut speed_error) = (Wander::new(rng, 3.0, 300.0), Wander::new(rng, 0.12, 5.0));
        let (mut east, mut north) = (normal(rng, 0.0, 1000.0), normal(rng, 0.0, 1000.0));
        let mut height = runner.altitude + normal(rng, 0.0, 15.0);
        let narrowing = runner.home.0.to_radians().cos();
        for (&speed, &grade) in course.speed.iter().zip(&course.grade) {
            heading += bend.next(rng);
            east += speed * heading.sin();
            north += speed * heading.cos();
            height += speed * grade;
            let (east, north) = (east + east_error.next(rng), north + north_error.next(rng));
            track.latitude.push(runner.home.0 + north / METRES_PER_DEGREE);
            track.longitude.push(runner.home.1 + east / (METRES_PER_DEGREE * narrowing));
            track.altitude.push(height + height_error.next(rng) + normal(rng, 0.0, 0.3));
            track.speed.push((speed + speed_error.next(rng)).max(0.0));
        }
        track
    }
}
