//! The reader of TCX files: each activity is a workout. Unaware of Garmin's other files.
//!
//! Read of each `Trackpoint`: `Time`, `Position` (degrees), `AltitudeMeters`, `DistanceMeters` (since the start),
//! `HeartRateBpm` and `Speed` (m/s) anywhere in its `Extensions`. Prefixes do not matter. Time between the tracks of
//! one lap is a pause. Courses and workouts that are only planned are passed over.

use crate::read::instant;
use crate::read::record::{Found, Reason, SetAside};
use crate::read::samples::{Recording, Sample};
use crate::read::sport;
use crate::read::utf8;
use crate::read::xml::{self, Elements, Step};
use crate::workouts::{Origin, Workout};

const NAMES: &[&str] = &[
    "Activity",
    "Lap",
    "Track",
    "Trackpoint",
    "Time",
    "Position",
    "LatitudeDegrees",
    "LongitudeDegrees",
    "AltitudeMeters",
    "DistanceMeters",
    "HeartRateBpm",
    "Value",
    "Extensions",
    "Speed",
    "Creator",
    "Name",
];

/// What stands in a file so far.
#[derive(Default)]
struct Activities {
    recordings: Vec<Recording>,
    /// The last time before the track that is open, where the lap has one.
    track_before: Option<f64>,
    /// The last time of all within the lap.
    latest: Option<f64>,
    untimed: usize,
}

/// Reads a TCX text into workouts, one for each activity.
pub fn read(text: &[u8]) -> Found {
    let mut found = Found::default();
    let mut elements = match Elements::within(text, &["TrainingCenterDatabase"], NAMES) {
        Ok((elements, _)) => elements,
        Err(why) => {
            found.set_aside.push(utf8::refusal(text, why));
            return found;
        }
    };
    let activities = Activities::walk(&mut elements);
    if let Some(damage) = elements.damage() {
        xml::note_damage(damage.to_owned(), &mut found);
    } else if activities.recordings.is_empty() {
        found.set_aside.push(SetAside::new("", Reason::NoSamples, "there is no activity, as in a course"));
    }
    if activities.untimed > 0 {
        found.warnings.push(format!("{} points have no time; they are left out", activities.untimed));
    }
    for (i, recording) in activities.recordings.into_iter().enumerate() {
        recording.put_into(&mut found, &format!("activity {}", i + 1));
    }
    found
}

impl Activities {
    fn walk(elements: &mut Elements<'_>) -> Self {
        let mut activities = Self::default();
        let mut point = Sample::at(f64::NAN);
        while let Some(step) = elements.next() {
            match step {
                Step::Opens { name: "Activity", tag } => {
                    activities.begin(&xml::attribute(&tag, "Sport").unwrap_or_default());
                }
                Step::Opens { name: "Lap", .. } => (activities.track_before, activities.latest) = (None, None),
                Step::Opens { name: "Track", .. } => activities.track_before = activities.latest,
                Step::Opens { name: "Trackpoint", .. } => point = Sample::at(f64::NAN),
                Step::Opens { .. } => {}
                Step::Closes { name: "Trackpoint", .. } if elements.inside("Activity") => activities.push(point),
                Step::Closes { name: "Name", parent: "Creator" } if elements.inside("Activity") => {
                    if let Some(recording) = activities.recordings.last_mut() {
                        recording.about.device = elements.words();
                    }
                }
                Step::Closes { name, parent } if elements.inside("Trackpoint") => {
                    take(&mut point, name, parent, elements);
                }
                Step::Closes { .. } => {}
            }
        }
        activities
    }

    fn begin(&mut self, sport: &str) {
        let about = Workout {
            source: "tcx".into(),
            sport: sport::normal(sport),
            altitude_source: Origin::Recorded,
            ..Workout::default()
        };
        self.recordings.push(Recording { about, ..Recording::default() });
        (self.track_before, self.latest) = (None, None);
    }

    fn push(&mut self, point: Sample) {
        let Some(recording) = self.recordings.last_mut() else { return };
        if !point.time.is_finite() {
            self.untimed += 1;
            return;
        }
        if let Some(before) = self.track_before.take() {
            recording.pauses.push([before, point.time]);
        }
        self.latest = Some(point.time);
        recording.samples.push(point);
    }
}

/// Takes the value of an element within a point.
fn take(point: &mut Sample, name: &str, parent: &str, elements: &Elements<'_>) {
    let value = || elements.number().unwrap_or(f64::NAN);
    match (parent, name) {
        ("Trackpoint", "Time") => point.time = instant::iso(elements.text()).unwrap_or(f64::NAN),
        ("Trackpoint", "AltitudeMeters") => point.altitude = value(),
        ("Trackpoint", "DistanceMeters") => point.distance = value(),
        ("Position", "LatitudeDegrees") => point.latitude = value(),
        ("Position", "LongitudeDegrees") => point.longitude = value(),
        ("HeartRateBpm", "Value") => point.heart_rate = value(),
        (_, "Speed") if elements.inside("Extensions") => point.speed = value(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: f64 = 1_617_019_200.0;

    fn tcx(inner: &str) -> String {
        format!("<?xml version='1.0'?><TrainingCenterDatabase xmlns='http://x'>{inner}</TrainingCenterDatabase>")
    }

    fn point(second: u32, inner: &str) -> String {
        let (minute, second) = (second / 60, second % 60);
        format!("<Trackpoint><Time>2021-03-29T12:{minute:02}:{second:02}.000Z</Time>{inner}</Trackpoint>")
    }

    fn beat(bpm: u32) -> String {
        format!("<HeartRateBpm xsi:type='HeartRateInBeatsPerMinute_t'><Value>{bpm}</Value></HeartRateBpm>")
    }

    /// Tracks of one lap, each with points at these seconds.
    fn lap(tracks: &[&[u32]]) -> String {
        let track = |seconds: &&[u32]| {
            let points: String = seconds.iter().map(|&second| point(second, &beat(100 + second))).collect();
            format!("<Track>{points}</Track>")
        };
        let tracks: String = tracks.iter().map(track).collect();
        format!(
            "<Lap><DistanceMeters>9</DistanceMeters><AverageHeartRateBpm><Value>9</Value></AverageHeartRateBpm>{tracks}</Lap>"
        )
    }

    fn activity(inner: &str) -> String {
        format!("<Activity Sport='Running'><Id>x</Id>{inner}<Creator><Name>Watch 4</Name></Creator></Activity>")
    }

    #[test]
    fn a_point_gives_all_its_values_whatever_the_prefix() {
        let all = "<Position><LatitudeDegrees>90</LatitudeDegrees><LongitudeDegrees>-180</LongitudeDegrees></Position>\
                   <AltitudeMeters>35.5</AltitudeMeters><DistanceMeters>2.5</DistanceMeters>\
                   <Extensions><ns3:TPX><ns3:Speed>2.75</ns3:Speed><ns3:RunCadence>80</ns3:RunCadence></ns3:TPX></Extensions>";
        let points = point(0, all) + &point(1, &(beat(120) + all));
        let found = read(tcx(&activity(&format!("<Lap><Track>{points}</Track></Lap>"))).as_bytes());
        let record = &found.records[0];
        let workout = &record.workout;
        assert_eq!((workout.source.as_str(), workout.sport.as_str()), ("tcx", "run"));
        assert_eq!((workout.device.as_deref(), workout.id), (Some("Watch 4"), NOON as i64));
        assert_eq!(workout.speed, Some(vec![2.75, 2.75]));
        assert_eq!((workout.altitude_source, workout.speed_source), (Origin::Recorded, Origin::Recorded));
        assert_eq!((&workout.latitude, &workout.longitude), (&Some(vec![90.0; 2]), &Some(vec![-180.0; 2])));
        assert_eq!((&workout.altitude, &record.distance), (&Some(vec![35.5; 2]), &Some(vec![2.5; 2])));
        assert_eq!((&workout.heart_rate, &workout.heart_rate_time), (&Some(vec![120.0]), &Some(vec![NOON + 1.0])));
    }

    #[test]
    fn a_treadmill_has_distance_and_no_positions() {
        let points: String =
            (0..4).map(|i| point(i, &format!("<DistanceMeters>{}</DistanceMeters>{}", 3 * i, beat(100)))).collect();
        let found = read(tcx(&activity(&format!("<Lap><Track>{points}</Track></Lap>"))).as_bytes());
        assert_eq!(found.records[0].distance, Some(vec![0.0, 3.0, 6.0, 9.0]));
        assert_eq!((&found.records[0].workout.latitude, &found.records[0].workout.speed), (&None, &None));
    }

    #[test]
    fn time_between_the_tracks_of_a_lap_is_a_pause_and_between_laps_it_is_not() {
        let laps = lap(&[&[0, 1], &[], &[10, 11]]) + &lap(&[&[20, 21]]);
        let found = read(tcx(&format!("<Activities>{}</Activities>", activity(&laps))).as_bytes());
        assert_eq!(found.records[0].workout.pauses, [NOON + 1.0, NOON + 10.0]);
        assert_eq!(found.records[0].workout.heart_rate.as_ref().unwrap().len(), 6);
    }

    #[test]
    fn each_activity_of_a_session_of_several_sports_is_a_workout() {
        let sports = activity(&lap(&[&[0, 1]])) + "<X/>" + &activity(&lap(&[&[60, 61]])).replace("Running", "Biking");
        let found = read(tcx(&format!("<MultiSportSession>{sports}</MultiSportSession>")).as_bytes());
        let sports: Vec<_> = found.records.iter().map(|record| record.workout.sport.as_str()).collect();
        assert_eq!((sports, found.records[1].workout.pauses.len()), (vec!["run", "bike"], 0));
    }

    #[test]
    fn a_course_an_empty_activity_and_points_without_time_are_told() {
        let course = tcx(&format!("<Courses><Course>{}</Course></Courses>", lap(&[&[0, 1]])));
        assert_eq!(read(course.as_bytes()).set_aside[0].reason, Reason::NoSamples);
        let found = read(tcx(&activity("<Lap><Track><Trackpoint/></Track></Lap>")).as_bytes());
        assert_eq!((found.set_aside[0].place.as_str(), found.records.len()), ("activity 1", 0));
        assert_eq!(found.warnings, ["1 points have no time; they are left out"]);
    }

    #[test]
    fn a_file_that_is_cut_keeps_what_was_read() {
        let text = tcx(&activity(&lap(&[&[0, 1, 2]])));
        let cut = text.rfind("<Value>").unwrap();
        let found = read(&text.as_bytes()[..cut]);
        assert_eq!(found.records[0].workout.heart_rate, Some(vec![100.0, 101.0]));
        assert_eq!((found.set_aside[0].reason, found.warnings.len()), (Reason::BrokenOff, 1));
        assert_eq!(read(b"<gpx/>").set_aside[0].reason, Reason::Malformed);
        assert_eq!(read(b"\xff\xd8\xff\xe0 a picture").set_aside[0].reason, Reason::Encoding);
    }
}
