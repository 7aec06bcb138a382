//! The route of a workout: a point a second, with gaps and repeated seconds, and its GPX text. Unaware of archives.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use rand_chacha::ChaCha8Rng;

use crate::simulate::apple::clock::{Clock, utc};
use crate::simulate::apple::outing::Outing;
use crate::simulate::noise::{Wander, bernoulli, normal, uniform};

/// A point of a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix seconds.
    pub time: i64,
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// Metres above sea level.
    pub altitude: f64,
    /// m/s.
    pub speed: f64,
    /// Degrees from north; −1 where nothing moves.
    pub course: f64,
    /// Metres that the position may be off.
    pub horizontal: f64,
    /// Metres that the altitude may be off.
    pub vertical: f64,
}

/// Share of points that are followed by another one of the same second.
const REPEATED: f64 = 0.0015;
/// Gaps for each hour, and their lengths in seconds.
const GAPS: (f64, f64, f64) = (1.5, 4.0, 25.0);

/// The points of a workout: from the first fix on, none during pauses or gaps.
pub fn points(rng: &mut ChaCha8Rng, outing: &Outing) -> Vec<Point> {
    let mut accuracy = Wander::new(rng, 0.8, 40.0);
    let fix = uniform(rng, 1.0, 9.0) as usize;
    let mut resume = fix;
    let mut points = Vec::with_capacity(outing.seconds());
    for second in fix..outing.seconds() {
        let error = accuracy.next(rng);
        if second > resume && bernoulli(rng, GAPS.0 / 3600.0) {
            // The second before has a point, and so has the one at the end.
            resume = second + uniform(rng, GAPS.1, GAPS.2) as usize - 1;
        }
        let last = second + 1 == outing.seconds();
        if outing.is_paused(second) || second < resume && !last {
            continue;
        }
        let point = point(outing, second, error);
        points.push(point);
        if bernoulli(rng, REPEATED) {
            let latitude = point.latitude + normal(rng, 0.0, 3e-6);
            points.push(Point { latitude, ..point });
        }
    }
    points
}

fn point(outing: &Outing, second: usize, error: f64) -> Point {
    let track = &outing.track;
    let before = second.saturating_sub(1);
    let north = track.latitude[second] - track.latitude[before];
    let east = (track.longitude[second] - track.longitude[before]) * track.latitude[second].to_radians().cos();
    let moves = track.speed[second] > 0.3;
    Point {
        time: outing.start + second as i64,
        latitude: track.latitude[second],
        longitude: track.longitude[second],
        altitude: track.altitude[second],
        speed: track.speed[second],
        course: if moves { east.atan2(north).rem_euclid(TAU).to_degrees() } else { -1.0 },
        horizontal: (3.5 + error).max(1.2),
        vertical: (2.8 + 0.6 * error).max(1.0),
    }
}

/// Appends a route as GPX; `exported` is the unix second of the export.
pub fn push_gpx(text: &mut String, clock: &Clock, exported: i64, points: &[Point]) {
    let end = points.last().map_or(exported, |point| point.time);
    push(text, format_args!("{HEAD}    <time>{}</time>\n  </metadata>\n  <trk>\n", utc(exported)));
    push(text, format_args!("    <name>Route {}</name>\n    <trkseg>\n", clock.title(end)));
    for point in points {
        let Point { latitude, longitude, altitude, speed, course, horizontal, vertical, time } = point;
        push(text, format_args!("      <trkpt lon=\"{longitude:.6}\" lat=\"{latitude:.6}\"><ele>{altitude:.2}</ele>"));
        push(text, format_args!("<time>{}</time><extensions><speed>{speed:.2}</speed>", utc(*time)));
        push(text, format_args!("<course>{course:.1}</course><hAcc>{horizontal:.1}</hAcc>"));
        push(text, format_args!("<vAcc>{vertical:.1}</vAcc></extensions></trkpt>\n"));
    }
    text.push_str("    </trkseg>\n  </trk>\n</gpx>\n");
}

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="Apple Health Export" xmlns="http://www.topografix.com/GPX/1/1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.topografix.com/GPX/1/1 http://www.topografix.com/GPX/1/1/gpx.xsd">
  <metadata>
"#;

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("writing to a string cannot fail");
}
