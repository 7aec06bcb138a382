//! The positions of a recording: where they are missing and where they leap. Unaware of the heart.

use crate::quality::clock::{Clock, Gaps, usual_step};
use crate::quality::finding::{Finding, FindingKind, join};
use crate::workouts::Workout;
use crate::workouts::speed::haversine;

/// Nobody on foot is faster, m/s.
const FASTEST_ON_FOOT: f64 = 12.0;

/// Positions nearer in time than this (s) are taken to be so far apart: their errors over a short time are no speed.
const SHORTEST_STEP: f64 = 1.0;

/// Below this speed (m/s) a runner stands.
const SLOWEST: f64 = 0.5;

/// Where the recording was at some time.
struct Point {
    at: f64,
    latitude: f64,
    longitude: f64,
}

/// Gaps between positions, and leaps: changes of place faster than 12 m/s, none for sports that are not on foot.
/// None where there is no position.
pub fn positions(workout: &Workout, clock: &Clock, findings: &mut Vec<Finding>) -> Option<(Gaps, Option<u64>)> {
    let points = points(workout, clock)?;
    let times: Vec<f64> = points.iter().map(|point| point.at).collect();
    let (gaps, stretches) = clock.gaps(times.iter().map(|time| [*time; 2]), usual_step(&times));
    for [from, to] in stretches {
        let detail = format!("no position for {:.0} s", clock.active(from, to));
        findings.push(Finding { kind: FindingKind::PositionGap, from, to, detail });
    }
    Some((gaps, on_foot(&workout.sport).then(|| jumps(&points, findings))))
}

fn jumps(points: &[Point], findings: &mut Vec<Finding>) -> u64 {
    let mut count = 0;
    for pair in points.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let metres = haversine(a.latitude, a.longitude, b.latitude, b.longitude);
        let seconds = b.at - a.at;
        if metres > FASTEST_ON_FOOT * seconds.max(SHORTEST_STEP) {
            let detail = format!("{metres:.0} m in {seconds:.1} s");
            join(findings, FindingKind::PositionJump, [a.at, b.at], detail);
            count += 1;
        }
    }
    count
}

fn points(workout: &Workout, clock: &Clock) -> Option<Vec<Point>> {
    let (time, latitude, longitude) =
        (workout.time.as_deref()?, workout.latitude.as_deref()?, workout.longitude.as_deref()?);
    let point = |((time, latitude), longitude): ((&f64, &f64), &f64)| {
        let point = Point { at: time - clock.start, latitude: *latitude, longitude: *longitude };
        (point.at.is_finite() && latitude.is_finite() && longitude.is_finite()).then_some(point)
    };
    let mut points: Vec<Point> = time.iter().zip(latitude).zip(longitude).filter_map(point).collect();
    points.sort_by(|a, b| a.at.total_cmp(&b.at));
    (!points.is_empty()).then_some(points)
}

fn on_foot(sport: &str) -> bool {
    let sport = sport.to_lowercase();
    ["run", "walk", "hik", "treadmill", "jog"].iter().any(|word| sport.contains(word))
}

/// Seconds in motion and the metres covered in them, pauses left out; none where there is no speed with times.
pub fn moving(workout: &Workout, clock: &Clock) -> Option<[f64; 2]> {
    let (time, speed) = (workout.time.as_deref()?, workout.speed.as_deref()?);
    let finite = |(time, speed): (&f64, &f32)| {
        (time.is_finite() && speed.is_finite()).then_some((time - clock.start, f64::from(*speed)))
    };
    let mut samples: Vec<(f64, f64)> = time.iter().zip(speed).filter_map(finite).collect();
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut moving = [0.0; 2];
    for pair in samples.windows(2) {
        let speed = 0.5 * (pair[0].1 + pair[1].1);
        if speed >= SLOWEST {
            let seconds = clock.active(pair[0].0, pair[1].0);
            moving = [moving[0] + seconds, moving[1] + seconds * speed];
        }
    }
    (samples.len() >= 2).then_some(moving)
}
