//! The reader of GPX files: each track is a workout. Unaware of what routes belong to.
//!
//! Read of each point: `lat` and `lon` (degrees), `ele` (metres), `time`; heart rate (BPM) from `hr` or `heartrate`
//! anywhere in `extensions`, such as Garmin's `TrackPointExtension`; speed (m/s) from `speed` there or, as GPX 1.0 has
//! it, in the point itself. Prefixes do not matter. Waypoints and routes have no times and are passed over.

use crate::read::instant;
use crate::read::record::{Found, Reason, SetAside};
use crate::read::samples::{self, Recording, Sample};
use crate::read::sport;
use crate::read::utf8;
use crate::read::xml::{self, Elements, Step};
use crate::workouts::{Origin, Workout};

/// A point of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Unix seconds.
    pub time: f64,
    /// Degrees; NaN where the file has none.
    pub latitude: f64,
    /// Degrees; NaN where the file has none.
    pub longitude: f64,
    /// Metres above sea level.
    pub altitude: Option<f64>,
    /// m/s.
    pub speed: Option<f64>,
    /// BPM.
    pub heart_rate: Option<f64>,
}

/// A track: all its segments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    /// Points with a time, by time, one for each.
    pub points: Vec<Point>,
    /// The track's name.
    pub name: Option<String>,
    /// The track's type, as it stands there.
    pub sport: Option<String>,
    /// First and last time of each segment that has points, in the order of the file.
    pub segments: Vec<[f64; 2]>,
    /// Points that were older than the one before, and were moved to their place.
    pub moved: usize,
}

/// What a GPX file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpx {
    /// Its tracks, in the order of the file.
    pub tracks: Vec<Track>,
    /// The program that wrote it.
    pub creator: Option<String>,
    /// Where it breaks off or is damaged; what stands before is kept.
    pub damage: Option<String>,
    /// Points left out for lack of a time.
    pub untimed: usize,
}

const NAMES: &[&str] =
    &["trk", "trkseg", "trkpt", "ele", "time", "extensions", "hr", "heartrate", "speed", "name", "type"];

/// Reads a GPX text.
///
/// Fails where it is no GPX at all or not UTF-8.
pub fn parse(text: &[u8]) -> Result<Gpx, String> {
    let (mut elements, root) = Elements::within(text, &["gpx"], NAMES)?;
    let mut gpx = Gpx { creator: xml::attribute(&root, "creator"), ..Gpx::default() };
    let mut point = Point::without_time();
    while let Some(step) = elements.next() {
        match step {
            Step::Opens { name: "trk", .. } => gpx.tracks.push(Track::default()),
            Step::Opens { name: "trkpt", tag } => {
                let degrees = |name| xml::attribute(&tag, name).and_then(|text| xml::number(&text));
                point = Point::without_time();
                point.latitude = degrees("lat").unwrap_or(f64::NAN);
                point.longitude = degrees("lon").unwrap_or(f64::NAN);
            }
            Step::Opens { name: "trkseg", .. } => gpx.last_track().segments.push([f64::INFINITY, f64::NEG_INFINITY]),
            Step::Opens { .. } => {}
            Step::Closes { name: "trkpt", .. } => gpx.push(point),
            Step::Closes { name, parent: "trk" } => match name {
                "name" => gpx.last_track().name = elements.words(),
                "type" => gpx.last_track().sport = elements.words(),
                _ => {}
            },
            Step::Closes { name, parent } if elements.inside("trkpt") => point.take(name, parent, &elements),
            Step::Closes { .. } => {}
        }
    }
    gpx.damage = elements.damage().map(str::to_owned);
    for track in &mut gpx.tracks {
        track.segments.retain(|[first, last]| first <= last);
        track.moved = samples::into_order(&mut track.points, |point| point.time);
        track.points.dedup_by(|later, kept| kept.is_filled_by(later));
    }
    Ok(gpx)
}

/// Reads a GPX text into workouts, one for each track.
pub fn read(text: &[u8]) -> Found {
    let mut found = Found::default();
    let gpx = match parse(text) {
        Ok(gpx) => gpx,
        Err(why) => {
            found.set_aside.push(utf8::refusal(text, why));
            return found;
        }
    };
    if gpx.tracks.is_empty() && gpx.damage.is_none() {
        found.set_aside.push(SetAside::new("", Reason::NoSamples, "there is no track, as in a planned route"));
    }
    if gpx.untimed > 0 {
        found.warnings.push(format!("{} points have no time; they are left out", gpx.untimed));
    }
    if let Some(damage) = gpx.damage {
        xml::note_damage(damage, &mut found);
    }
    for (i, track) in gpx.tracks.into_iter().enumerate() {
        let place = format!("track {}", i + 1);
        if track.moved > 0 {
            found.warnings.push(samples::moved(&place, track.moved));
        }
        track.recording(gpx.creator.as_deref()).put_into(&mut found, &place);
    }
    found
}

impl Gpx {
    /// The track that points belong to; one without a name where the file has points outside of any.
    fn last_track(&mut self) -> &mut Track {
        if self.tracks.is_empty() {
            self.tracks.push(Track::default());
        }
        self.tracks.last_mut().expect("there is one now")
    }

    fn push(&mut self, point: Point) {
        if !point.time.is_finite() {
            self.untimed += 1;
            return;
        }
        let track = self.last_track();
        if let Some([first, last]) = track.segments.last_mut() {
            (*first, *last) = (first.min(point.time), last.max(point.time));
        }
        track.points.push(point);
    }
}

impl Point {
    const fn without_time() -> Self {
        let none = f64::NAN;
        Self { time: none, latitude: none, longitude: none, altitude: None, speed: None, heart_rate: None }
    }

    /// Whether the other is of the same time; then what only that one has is taken over.
    fn is_filled_by(&mut self, other: &Self) -> bool {
        if self.time != other.time {
            return false;
        }
        self.altitude = self.altitude.or(other.altitude);
        self.speed = self.speed.or(other.speed);
        self.heart_rate = self.heart_rate.or(other.heart_rate);
        true
    }

    /// Takes the value of an element within the point.
    fn take(&mut self, name: &str, parent: &str, elements: &Elements<'_>) {
        let extended = elements.inside("extensions");
        match name {
            "ele" if parent == "trkpt" => self.altitude = elements.number(),
            "time" if parent == "trkpt" => self.time = instant::iso(elements.text()).unwrap_or(f64::NAN),
            "speed" if extended || parent == "trkpt" => self.speed = elements.number().or(self.speed),
            "hr" | "heartrate" if extended => self.heart_rate = elements.number().or(self.heart_rate),
            _ => {}
        }
    }
}

impl Track {
    /// The track as a recording; time between segments is a pause.
    fn recording(self, creator: Option<&str>) -> Recording {
        let Self { points, sport, segments, .. } = self;
        let pauses = gaps(segments);
        let sport = sport.unwrap_or_default();
        let sport = match creator.is_some_and(|creator| creator.starts_with("Strava")) {
            true => strava(&sport).to_owned(),
            false => sport,
        };
        let about = Workout {
            source: "gpx".into(),
            sport: sport::normal(&sport),
            device: creator.map(str::to_owned),
            altitude_source: Origin::Positions,
            ..Workout::default()
        };
        let sample = |point: Point| Sample {
            heart_rate: point.heart_rate.unwrap_or(f64::NAN),
            speed: point.speed.unwrap_or(f64::NAN),
            altitude: point.altitude.unwrap_or(f64::NAN),
            latitude: point.latitude,
            longitude: point.longitude,
            ..Sample::at(point.time)
        };
        Recording { about, samples: points.into_iter().map(sample).collect(), pauses }
    }
}

/// Stretches of time that lie between segments and in none of them.
fn gaps(mut segments: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    samples::into_order(&mut segments, |segment| segment[0]);
    let mut end = f64::INFINITY;
    let mut gaps = Vec::new();
    for [first, last] in segments {
        if first > end {
            gaps.push([end, first]);
        }
        end = if end.is_finite() { end.max(last) } else { last };
    }
    gaps
}

/// The sport behind a number that Strava writes as a track's type.
fn strava(number: &str) -> &str {
    match number {
        "1" | "17" => "bike",
        "4" => "hike",
        "9" => "run",
        "10" => "walk",
        "16" => "swim",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::record::Record;

    fn gpx(inner: &str) -> String {
        format!("<?xml version='1.0'?><gpx version='1.1' creator='Watch 3' xmlns='http://x'>{inner}</gpx>")
    }

    /// A point at a second of an hour, with whatever else it holds.
    fn point(second: u32, inner: &str) -> String {
        let (minute, second) = (second / 60, second % 60);
        format!("<trkpt lat='60.5' lon='24.5'><time>2021-03-29T12:{minute:02}:{second:02}Z</time>{inner}</trkpt>")
    }

    fn track(points: &[String]) -> String {
        format!("<trk><trkseg>{}</trkseg></trk>", points.concat())
    }

    const NOON: f64 = 1_617_019_200.0;

    fn beat(bpm: u32) -> String {
        format!("<extensions><q:TrackPointExtension><q:hr>{bpm}</q:hr></q:TrackPointExtension></extensions>")
    }

    fn only(text: &str) -> Record {
        let mut found = read(text.as_bytes());
        assert_eq!((found.records.len(), &found.set_aside), (1, &vec![]));
        found.records.remove(0)
    }

    #[test]
    fn heart_rate_is_found_under_any_prefix_and_speed_in_the_default_namespace() {
        let beats = [
            beat(120),
            "<extensions><ns3:TrackPointExtension><ns3:hr>121</ns3:hr></ns3:TrackPointExtension></extensions>".into(),
            "<extensions><heartrate>122</heartrate></extensions>".into(),
            "<extensions><x:TrackPointExtension xmlns:x='u'><x:hr> 123 </x:hr></x:TrackPointExtension></extensions>"
                .into(),
        ];
        let speeds = ["<speed>2.5</speed>", "<extensions><speed>2.5</speed><course>1</course></extensions>"];
        let points: Vec<String> = (0..).zip(&beats).map(|(i, beat)| point(i, beat)).collect();
        let found = only(&gpx(&track(&points))).workout;
        assert_eq!(found.heart_rate, Some(vec![120.0, 121.0, 122.0, 123.0]));
        assert_eq!((found.heart_rate_time, found.time.unwrap()[3]), (None, NOON + 3.0));
        assert_eq!((found.id, found.device.as_deref()), (NOON as i64, Some("Watch 3")));
        let points: Vec<String> =
            (0..).zip(speeds).map(|(i, speed)| point(i, &format!("<ele>9</ele>{speed}"))).collect();
        let found = only(&gpx(&track(&points))).workout;
        assert_eq!((found.speed, found.speed_source), (Some(vec![2.5, 2.5]), Origin::Recorded));
        assert_eq!((found.altitude, found.altitude_source), (Some(vec![9.0, 9.0]), Origin::Positions));
    }

    #[test]
    fn two_tracks_are_two_workouts_and_segments_are_parts_of_one() {
        let segments = |parts: [[u32; 2]; 2]| {
            let part = |part: [u32; 2]| format!("<trkseg>{}</trkseg>", part.map(|second| point(second, "")).concat());
            format!("<trk><name>Lunch &amp; run</name><type>Running</type>{}<trkseg/></trk>", parts.map(part).concat())
        };
        let text = gpx(&(segments([[0, 5], [65, 70]]) + &segments([[200, 201], [201, 202]])));
        let found = read(text.as_bytes());
        let pauses: Vec<_> = found.records.iter().map(|record| record.workout.pauses.clone()).collect();
        assert_eq!(pauses, [vec![NOON + 5.0, NOON + 65.0], vec![]]);
        assert_eq!(found.records[0].workout.time.as_ref().unwrap().len(), 4);
        assert_eq!(found.records[1].workout.time.as_ref().unwrap().len(), 3, "the same second stands once");
        assert_eq!(found.records[0].workout.sport, "run");
        assert_eq!(parse(text.as_bytes()).unwrap().tracks[1].name.as_deref(), Some("Lunch & run"));
        assert_eq!((found.set_aside, found.warnings), (vec![], vec![]));
    }

    #[test]
    fn time_that_goes_backwards_is_sorted_and_counted() {
        let found = read(gpx(&track(&[0, 2, 1, 3].map(|second| point(second, &beat(100 + second))))).as_bytes());
        assert_eq!(found.records[0].workout.heart_rate, Some(vec![100.0, 101.0, 102.0, 103.0]));
        assert_eq!(found.warnings, ["`track 1`: 1 samples are older than the one before; they were sorted"]);
    }

    #[test]
    fn points_without_a_time_are_counted_and_a_track_of_them_is_set_aside() {
        let bare = "<trkpt lat='1' lon='2'/>".to_owned();
        let text = gpx(&(track(&[bare.clone(), point(1, ""), bare.clone()]) + &track(&[bare])));
        let found = read(text.as_bytes());
        assert_eq!((found.records.len(), parse(text.as_bytes()).unwrap().untimed), (1, 3));
        assert_eq!((found.set_aside[0].place.as_str(), found.set_aside[0].reason), ("track 2", Reason::NoSamples));
        assert_eq!(found.warnings, ["3 points have no time; they are left out"]);
        let planned = read(gpx("<rte><rtept lat='1' lon='2'/></rte>").as_bytes());
        assert_eq!(planned.set_aside[0].reason, Reason::NoSamples);
    }

    #[test]
    fn heart_rates_of_0_and_255_are_none() {
        let beats = [0, 120, 255, 121];
        let points: Vec<String> = (0..).zip(beats).map(|(i, bpm)| point(i, &beat(bpm))).collect();
        let found = only(&gpx(&track(&points))).workout;
        assert_eq!(found.heart_rate, Some(vec![120.0, 121.0]));
        assert_eq!(found.heart_rate_time, Some(vec![NOON + 1.0, NOON + 3.0]));
    }

    #[test]
    fn the_pole_and_the_date_line_are_places_like_others() {
        let places = [("90", "-180"), ("89.99999", "180.0"), ("-90", "-179.9999"), ("0.0", "179.9999")];
        let place =
            |(i, (lat, lon))| format!("<trkpt lat='{lat}' lon='{lon}'><time>2021-03-29T12:00:0{i}Z</time></trkpt>");
        let points: Vec<String> = places.into_iter().enumerate().map(place).collect();
        let found = only(&gpx(&track(&points))).workout;
        assert_eq!(found.latitude, Some(vec![90.0, 89.99999, -90.0, 0.0]));
        assert_eq!(found.longitude, Some(vec![-180.0, 180.0, -179.9999, 179.9999]));
        assert_eq!((found.altitude, found.altitude_source), (None, Origin::Missing));
    }

    #[test]
    fn a_file_that_is_cut_keeps_what_was_read() {
        let text = gpx(&track(&[point(0, &beat(100)), point(1, &beat(101)), point(2, &beat(102))]));
        let cut = text.rfind("<q:hr>").unwrap();
        let found = read(&text.as_bytes()[..cut]);
        assert_eq!(found.records[0].workout.heart_rate, Some(vec![100.0, 101.0]));
        assert_eq!(found.set_aside[0].reason, Reason::BrokenOff);
        assert_eq!(found.warnings, [format!("the text breaks off at byte {cut}; what stands before is kept")]);
    }

    #[test]
    fn what_is_no_gpx_is_refused_and_control_characters_are_not() {
        assert_eq!(parse(b"<kml/>").unwrap_err(), "its outermost element is `kml`, not `gpx`");
        assert_eq!(read(b"\x89PNG\r\n\x1a\n").set_aside[0].reason, Reason::Encoding);
        assert_eq!(read(b"<html><p>hello</html>").set_aside[0].reason, Reason::Malformed);
        let odd = gpx(&track(&[point(0, "<desc>\u{b}</desc>\u{b}"), point(1, "")])).replace("' lon", "'\u{b} lon");
        assert_eq!(only(&odd).workout.longitude, Some(vec![24.5, 24.5]));
    }

    #[test]
    fn a_type_that_is_a_number_is_a_sport_of_strava() {
        let text = gpx(&track(&[point(0, "")]).replace("<trkseg>", "<type>9</type><trkseg>"));
        assert_eq!(only(&text.replace("Watch 3", "StravaGPX")).workout.sport, "run");
        assert_eq!(only(&text).workout.sport, "9");
    }

    #[test]
    fn thirty_hours_are_read_like_one() {
        let day =
            |s: u32| format!("2021-03-{:02}T{:02}:{:02}:{:02}Z", 1 + s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60);
        let point = |s: u32| format!("<trkpt lat='1' lon='2'><time>{}</time>{}</trkpt>", day(s), beat(90 + s % 60));
        let points: Vec<String> = (0..30 * 360).map(|i| point(10 * i)).collect();
        let time = only(&gpx(&track(&points))).workout.time.unwrap();
        assert_eq!((time.len(), time[10_799] - time[0]), (10_800, 107_990.0));
    }
}
