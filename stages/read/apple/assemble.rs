//! Puts a workout together: what it says of itself, the samples that lie within it, and the points of its routes.
//! Unaware of files.

use std::collections::BTreeMap;

use crate::read::apple::pauses;
use crate::read::apple::samples::{Sample, Sorted, Sources};
use crate::read::apple::workout::Draft;
use crate::read::gpx::Point;
use crate::read::record::Record;
use crate::workouts::{Origin, Workout};

/// All samples that lie within workouts, and who measured them.
pub struct Measured {
    /// Heart rates.
    pub heart_rates: Sorted,
    /// Distances.
    pub distances: Sorted,
    /// Who measured.
    pub sources: Sources,
}

impl Measured {
    /// The heart rates of a workout, those of pauses left out.
    pub fn heart_rates(&self, draft: &Draft, pauses: &[(i64, i64)]) -> Vec<Sample> {
        let samples = self.heart_rates.between(draft.start, draft.end);
        let moving = samples.filter(|sample| pauses::around(pauses, sample.middle()).is_none());
        self.of_one_source(moving.collect(), &draft.source)
    }

    /// Leaves the samples of the workout's own source, else those of the Watch, else of the source with most.
    fn of_one_source(&self, samples: Vec<Sample>, own: &[u8]) -> Vec<Sample> {
        let source = |sample: &Sample| self.sources.get(sample.source);
        let is_own = |sample: &Sample| source(sample).is_some_and(|source| source.name == own);
        if samples.iter().any(is_own) {
            return samples.into_iter().filter(is_own).collect();
        }
        let mut counts: BTreeMap<u16, (bool, usize)> = BTreeMap::new();
        for sample in &samples {
            let watch = source(sample).is_some_and(|source| source.watch);
            counts.entry(sample.source).or_insert((watch, 0)).1 += 1;
        }
        // Of equals the first that was met.
        let best = counts.iter().rev().max_by_key(|(_, rank)| **rank).map(|(number, _)| *number);
        samples.into_iter().filter(|sample| Some(sample.source) == best).collect()
    }

    /// Times and metres since the start of a workout without positions.
    fn distance(&self, draft: &Draft, pauses: &[(i64, i64)]) -> Option<(Vec<f64>, Vec<f64>)> {
        let on_wheels_or_in_water = matches!(draft.sport.as_str(), "bike" | "swim");
        let samples = self.distances.between(draft.start, draft.end).filter(|_| !on_wheels_or_in_water);
        let moving = samples.filter(|sample| pauses::around(pauses, sample.middle()).is_none());
        let mut samples = self.of_one_source(moving.collect(), &draft.source);
        samples.sort_by(|a, b| a.end().total_cmp(&b.end()));
        let (mut time, mut metres) = (vec![draft.start as f64], vec![0.0]);
        let mut sum = 0.0;
        for sample in samples {
            sum += f64::from(sample.value);
            let end = sample.end().min(draft.end as f64);
            let end = pauses::around(pauses, end).map_or(end, |(pause, _)| pause as f64);
            match time.last() {
                Some(last) if *last >= end => *metres.last_mut().expect("as many as times") = sum,
                _ => {
                    time.push(end);
                    metres.push(sum);
                }
            }
        }
        (time.len() > 1).then_some((time, metres))
    }
}

/// The points of a workout's routes in order, one a second, those of pauses and outside of the workout left out.
pub fn in_order(mut points: Vec<Point>, draft: &Draft, pauses: &[(i64, i64)]) -> Vec<Point> {
    // The export cuts fractions of a second off.
    let (start, end) = (draft.start as f64, draft.end as f64 + 1.0);
    points.retain(|point| {
        (start..=end).contains(&point.time)
            && point.latitude.is_finite()
            && point.longitude.is_finite()
            && pauses::around(pauses, point.time).is_none()
    });
    points.sort_by(|a, b| a.time.total_cmp(&b.time));
    points.dedup_by_key(|point| point.time.floor());
    points
}

/// Puts a workout together. None where there is no sample at all.
pub fn workout(draft: &Draft, measured: &Measured, points: Vec<Point>, whose: Whose<'_>) -> Option<Record> {
    let pauses = pauses::pauses(&draft.events, draft.start, draft.end);
    let mut record = Record { workout: described(draft, &pauses, whose), distance: None };
    put_points(&mut record.workout, in_order(points, draft, &pauses));
    put_heart_rates(&mut record.workout, measured.heart_rates(draft, &pauses));
    if record.workout.time.is_none()
        && let Some((time, metres)) = measured.distance(draft, &pauses)
    {
        record.workout.time = Some(time);
        record.distance = Some(metres);
    }
    (record.workout.time.is_some() || record.workout.heart_rate.is_some()).then_some(record)
}

/// Whose workout it is.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// The user's number.
    pub user: i64,
    /// The gender as the export says it.
    pub gender: &'a str,
    /// The workout's number.
    pub id: i64,
}

fn described(draft: &Draft, pauses: &[(i64, i64)], whose: Whose<'_>) -> Workout {
    Workout {
        id: whose.id,
        user: Some(whose.user),
        sport: draft.sport.clone(),
        gender: Some(whose.gender.to_owned()),
        source: "apple".to_owned(),
        device: draft.device.clone(),
        time_zone: draft.time_zone.clone(),
        indoor: draft.indoor,
        pauses: pauses.iter().flat_map(|(from, to)| [*from as f64, *to as f64]).collect(),
        synthetic: draft.synthetic,
        ..Workout::default()
    }
}

/// Takes times, positions, speed and altitude. Points that lack what most have are left out: a receiver that has
/// only begun gives neither, and writes a speed of −1.
fn put_points(workout: &mut Workout, mut points: Vec<Point>) {
    for point in &mut points {
        point.speed = point.speed.filter(|speed| speed.is_finite() && *speed >= 0.0);
        point.altitude = point.altitude.filter(|altitude| altitude.is_finite());
    }
    let most_have = |value: fn(&Point) -> Option<f64>| {
        2 * points.iter().filter(|point| value(point).is_some()).count() >= points.len()
    };
    let (with_speed, with_altitude) = (most_have(|point| point.speed), most_have(|point| point.altitude));
    points.retain(|point| (!with_speed || point.speed.is_some()) && (!with_altitude || point.altitude.is_some()));
    if points.is_empty() {
        return;
    }
    workout.time = Some(points.iter().map(|point| point.time).collect());
    workout.latitude = Some(points.iter().map(|point| point.latitude).collect());
    workout.longitude = Some(points.iter().map(|point| point.longitude).collect());
    if with_speed {
        workout.speed = Some(points.iter().filter_map(|point| point.speed.map(|speed| speed as f32)).collect());
        workout.speed_source = Origin::Recorded;
    }
    if with_altitude {
        let altitude = points.iter().filter_map(|point| point.altitude.map(|altitude| altitude as f32));
        workout.altitude = Some(altitude.collect());
        workout.altitude_source = Origin::Positions;
    }
}

fn put_heart_rates(workout: &mut Workout, mut samples: Vec<Sample>) {
    if samples.is_empty() {
        return;
    }
    samples.sort_by(|a, b| a.middle().total_cmp(&b.middle()));
    workout.heart_rate = Some(samples.iter().map(|sample| sample.value).collect());
    workout.heart_rate_time = Some(samples.iter().map(|sample| sample.middle()).collect());
    if samples.iter().any(|sample| sample.span > 0) {
        workout.heart_rate_span = Some(samples.iter().map(|sample| f32::from(sample.span)).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::{Measured, Whose, workout};
    use crate::read::apple::samples::{Sample, Source, Sources, Store};
    use crate::read::apple::workout::{Change, Draft};
    use crate::read::gpx::Point;
    use crate::workouts::Origin;

    const WHOSE: Whose<'_> = Whose { user: 7, gender: "female", id: 1000 };

    fn draft() -> Draft {
        Draft { sport: "run".into(), source: b"Watch".to_vec(), start: 1000, end: 1100, ..Draft::default() }
    }

    /// Samples as source, start, end and value; sources are 0 `Watch`, 1 `Phone`, 2 `Strap`, 3 another watch.
    fn measured(heart_rates: &[(u16, i64, i64, f64)], distances: &[(u16, i64, i64, f64)]) -> Measured {
        let mut sources = Sources::default();
        for (name, watch) in [("Watch", true), ("Phone", false), ("Strap", false), ("Bob", true)] {
            sources.number(Source { name: name.into(), watch });
        }
        let sorted = |samples: &[(u16, i64, i64, f64)]| {
            let mut store = Store::default();
            store
                .extend(samples.iter().map(|&(source, from, to, value)| Sample::new(from, to, source, value).unwrap()));
            store.within(&[(0, 10_000)])
        };
        Measured { heart_rates: sorted(heart_rates), distances: sorted(distances), sources }
    }

    fn point(time: f64, speed: Option<f64>, altitude: Option<f64>) -> Point {
        Point { time, latitude: 48.0, longitude: 2.0, altitude, speed, heart_rate: None }
    }

    #[test]
    fn a_span_stands_at_its_middle_and_instants_alone_have_no_spans() {
        let spans = measured(&[(0, 1010, 1085, 140.0), (0, 1020, 1020, 130.0)], &[]);
        let read = workout(&draft(), &spans, vec![], WHOSE).unwrap().workout;
        assert_eq!(read.heart_rate_time.unwrap(), [1020.0, 1047.5]);
        assert_eq!(read.heart_rate_span.unwrap(), [0.0, 75.0]);
        let instants = measured(&[(0, 1010, 1010, 140.0)], &[]);
        assert_eq!(workout(&draft(), &instants, vec![], WHOSE).unwrap().workout.heart_rate_span, None);
    }

    #[test]
    fn heart_rates_are_of_the_own_source_then_the_watch_then_the_one_with_most() {
        let all = measured(
            &[
                (0, 1001, 1001, 1.0),
                (1, 1002, 1002, 2.0),
                (2, 1003, 1003, 3.0),
                (2, 1004, 1004, 3.0),
                (3, 1005, 1005, 4.0),
            ],
            &[],
        );
        let of = |source: &str, measured: &Measured| {
            let draft = Draft { source: source.into(), ..draft() };
            workout(&draft, measured, vec![], WHOSE).unwrap().workout.heart_rate.unwrap()
        };
        assert_eq!(of("Phone", &all), [2.0]);
        assert_eq!(of("Unknown", &all), [1.0]);
        let no_watch = measured(&[(1, 1002, 1002, 2.0), (2, 1003, 1003, 3.0), (2, 1004, 1004, 3.0)], &[]);
        assert_eq!(of("Unknown", &no_watch), [3.0, 3.0]);
    }

    #[test]
    fn nothing_is_left_within_pauses_and_the_clock_goes_on() {
        let paused = Draft { events: vec![(1030, Change::Pause), (1060, Change::Resume)], ..draft() };
        let rates = [(0, 1030, 1030, 1.0), (0, 1031, 1031, 2.0), (0, 1040, 1070, 3.0), (0, 1060, 1060, 4.0)];
        let points = [1000.0, 1045.0, 1099.0].map(|time| point(time, Some(3.0), Some(9.0)));
        let read = workout(&paused, &measured(&rates, &[]), points.to_vec(), WHOSE).unwrap().workout;
        assert_eq!(read.heart_rate.unwrap(), [1.0, 4.0]);
        assert_eq!(read.time.unwrap(), [1000.0, 1099.0]);
        assert_eq!(read.pauses, [1030.0, 1060.0]);
    }

    #[test]
    fn points_of_several_routes_are_one_series_with_one_point_a_second() {
        let points = vec![
            point(1050.0, Some(3.0), Some(9.0)),
            point(1050.4, Some(9.0), Some(9.0)),
            point(1010.0, Some(-1.0), Some(9.0)),
            point(1020.0, Some(2.0), Some(8.0)),
            point(999.0, Some(2.0), Some(8.0)),
            point(1102.0, Some(2.0), Some(8.0)),
            Point { latitude: f64::NAN, ..point(1030.0, Some(2.0), Some(8.0)) },
        ];
        let read = workout(&draft(), &measured(&[], &[]), points, WHOSE).unwrap().workout;
        assert_eq!(read.time.unwrap(), [1020.0, 1050.0]);
        assert_eq!((read.speed.unwrap(), read.altitude.unwrap()), (vec![2.0, 3.0], vec![8.0, 9.0]));
        assert_eq!((read.speed_source, read.altitude_source), (Origin::Recorded, Origin::Positions));
        let bare = vec![point(1050.0, None, None), point(1051.0, None, None), point(1052.0, Some(1.0), None)];
        let read = workout(&draft(), &measured(&[], &[]), bare, WHOSE).unwrap().workout;
        assert_eq!((read.time.unwrap().len(), read.speed, read.altitude), (3, None, None));
        assert_eq!((read.speed_source, read.altitude_source), (Origin::Missing, Origin::Missing));
    }

    #[test]
    fn indoors_distances_of_one_source_add_up_from_the_start() {
        let metres = [(0, 1000, 1010, 30.0), (1, 1000, 1010, 99.0), (0, 1010, 1020, 20.0), (0, 1095, 1103, 10.0)];
        let record = workout(&draft(), &measured(&[], &metres), vec![], WHOSE).unwrap();
        assert_eq!(record.workout.time.unwrap(), [1000.0, 1010.0, 1020.0, 1100.0]);
        assert_eq!(record.distance.unwrap(), [0.0, 30.0, 50.0, 60.0]);
        assert_eq!(record.workout.speed_source, Origin::Missing);
        let bike = Draft { sport: "bike".into(), ..draft() };
        assert_eq!(workout(&bike, &measured(&[], &metres), vec![], WHOSE), None);
        let paused = Draft { events: vec![(1005, Change::Pause), (1015, Change::Resume)], ..draft() };
        let record = workout(&paused, &measured(&[], &metres), vec![], WHOSE).unwrap();
        assert_eq!(record.workout.time.unwrap(), [1000.0, 1005.0, 1020.0, 1100.0]);
    }

    #[test]
    fn a_route_comes_before_distances() {
        let metres = measured(&[], &[(0, 1000, 1010, 30.0)]);
        let record = workout(&draft(), &metres, vec![point(1003.0, None, None)], WHOSE).unwrap();
        assert_eq!((record.distance, record.workout.time.unwrap().len()), (None, 1));
    }
}
