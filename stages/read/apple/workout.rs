//! A `<Workout>` element as it is written, old form and new: what it says of itself, without any samples.
//! Unaware of the file around it.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::read::apple::scan::is_watch;
use crate::read::apple::tags::{Attributes, plain};
use crate::read::apple::time::Clock;
use crate::read::apple::units;

/// What the project's own simulator writes before the names of its sources.
const SYNTHETIC: &str = "synthetic:";

/// A workout before its samples are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The sport in FitRec's words.
    pub sport: String,
    /// The name of the source as it is written, entities unresolved.
    pub source: Vec<u8>,
    /// The name of the source and the model of the device, for people.
    pub device: Option<String>,
    /// Whether an Apple Watch recorded it.
    pub watch: bool,
    /// Whether a simulator made it.
    pub synthetic: bool,
    /// Beginning in unix seconds.
    pub start: i64,
    /// End in unix seconds.
    pub end: i64,
    /// Seconds without pauses, where it says so.
    pub duration: Option<f64>,
    /// Metres in all, where it says so.
    pub distance: Option<f64>,
    /// The name of the time zone.
    pub time_zone: Option<String>,
    /// Whether it took place indoors.
    pub indoor: Option<bool>,
    /// Pauses and resumes, in the order of the file.
    pub events: Vec<(i64, Change)>,
    /// Paths of its routes.
    pub routes: Vec<String>,
}

/// What happened at an instant of a workout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The runner began a pause.
    Pause,
    /// The runner ended it.
    Resume,
    /// The watch noticed a standstill.
    MotionPause,
    /// The watch noticed the runner move again.
    MotionResume,
}

/// The attributes of an element, by name.
struct Named<'a>(&'a [u8]);

impl<'a> Named<'a> {
    fn new(element: &'a BytesStart<'_>) -> Self {
        Self(element.attributes_raw().as_bytes())
    }

    fn raw(&self, name: &str) -> Option<&'a [u8]> {
        Attributes::new(self.0).find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(plain)
    }

    /// A number with the unit that another attribute gives, as SI.
    fn quantity(&self, name: &str, unit: &str, convert: fn(&[u8]) -> Option<f64>) -> Option<f64> {
        Some(units::number(self.raw(name)?)? * convert(self.raw(unit)?)?)
    }

    fn time(&self, name: &str) -> Option<i64> {
        self.raw(name).and_then(|text| Clock::default().seconds(text))
    }
}

/// Reads the text of one element, from `<Workout` to `</Workout>`. On failure, what is wrong.
pub fn parse(text: &[u8]) -> Result<Draft, String> {
    let text = String::from_utf8_lossy(text);
    let mut reader = Reader::from_str(&text);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.allow_unmatched_ends = true;
    let mut reading = Reading::default();
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => reading.start(&element)?,
            Ok(Event::Empty(element)) => {
                reading.start(&element)?;
                reading.end();
            }
            Ok(Event::End(_)) => reading.end(),
            Ok(Event::Eof) => break,
            Ok(_) => (),
            Err(error) => return Err(format!("it is no well-formed XML ({error})")),
        }
    }
    reading.finish()
}

/// A workout while its elements are read.
#[derive(Default)]
struct Reading {
    draft: Draft,
    path: Vec<Element>,
    /// What activities within the workout say, which stands in for what the workout itself does not say.
    within: Draft,
}

/// Elements that matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Workout,
    Activity,
    Other,
}

impl Reading {
    fn start(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let named = Named::new(element);
        let parent = self.path.last().copied();
        let mut kind = Element::Other;
        match (element.name().as_ref(), parent) {
            ("Workout", None) => {
                kind = Element::Workout;
                self.draft = workout(&named)?;
            }
            ("WorkoutActivity", Some(Element::Workout)) => kind = Element::Activity,
            ("FileReference", Some(_)) => {
                let path = named.text("path").filter(|path| !self.draft.routes.contains(path));
                self.draft.routes.extend(path);
            }
            (name, Some(Element::Workout)) => part(&mut self.draft, name, &named),
            (name, Some(Element::Activity)) => part(&mut self.within, name, &named),
            _ => (),
        }
        self.path.push(kind);
        Ok(())
    }

    fn end(&mut self) {
        self.path.pop();
    }

    fn finish(self) -> Result<Draft, String> {
        let Self { mut draft, within, .. } = self;
        if draft.sport.is_empty() {
            return Err("it names no activity".to_owned());
        }
        draft.time_zone = draft.time_zone.or(within.time_zone);
        draft.indoor = draft.indoor.or(within.indoor);
        draft.distance = draft.distance.or(within.distance);
        if draft.events.is_empty() {
            draft.events = within.events;
        }
        Ok(draft)
    }
}

/// What the start tag of a workout says.
fn workout(named: &Named<'_>) -> Result<Draft, String> {
    let time = |name: &str| named.time(name).ok_or_else(|| format!("its `{name}` is no date"));
    let (start, end) = (time("startDate")?, time("endDate")?);
    if end < start {
        return Err("it ends before it begins".to_owned());
    }
    let name = named.text("sourceName").unwrap_or_default();
    let own = name.strip_prefix(SYNTHETIC);
    let device = named.text("device").unwrap_or_default();
    let shown = own.unwrap_or(&name).trim();
    let hardware = hardware(&device).filter(|hardware| !shown.contains(hardware));
    let parts: Vec<_> = [shown].into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let model = hardware.map(|hardware| if parts.is_empty() { hardware.to_owned() } else { format!("({hardware})") });
    let parts: Vec<_> = parts.into_iter().chain(model).collect();
    Ok(Draft {
        sport: sport(&named.text("workoutActivityType").unwrap_or_default()),
        source: named.raw("sourceName").unwrap_or_default().to_vec(),
        device: (!parts.is_empty()).then(|| parts.join(" ")),
        watch: is_watch(name.as_bytes()) || is_watch(device.as_bytes()),
        synthetic: own.is_some(),
        start,
        end,
        duration: named.quantity("duration", "durationUnit", units::seconds),
        distance: named.quantity("totalDistance", "totalDistanceUnit", units::metres),
        ..Draft::default()
    })
}

/// The model in `<<HKDevice: 0x3012772a0>, name:Apple Watch, hardware:Watch6,7, software:10.2>`; it may hold a comma.
fn hardware(device: &str) -> Option<&str> {
    let (_, rest) = device.split_once("hardware:")?;
    let end = rest.find(", ").or_else(|| rest.find('>')).unwrap_or(rest.len());
    Some(rest[..end].trim()).filter(|model| !model.is_empty())
}

/// The sport in FitRec's words, or in Apple's where FitRec has none.
fn sport(activity: &str) -> String {
    let word = activity.strip_prefix("HKWorkoutActivityType").unwrap_or(activity).to_lowercase();
    match word.as_str() {
        "running" => "run".into(),
        "cycling" => "bike".into(),
        "walking" => "walk".into(),
        "hiking" => "hike".into(),
        "swimming" => "swim".into(),
        _ => word,
    }
}

/// Takes an element within a workout or one of its activities.
fn part(draft: &mut Draft, name: &str, named: &Named<'_>) {
    match name {
        "MetadataEntry" => match named.raw("key") {
            Some(b"HKTimeZone") => draft.time_zone = named.text("value").filter(|zone| !zone.is_empty()),
            Some(b"HKIndoorWorkout") => draft.indoor = named.raw("value").map(|value| value != b"0"),
            _ => (),
        },
        "WorkoutEvent" => {
            let change = match named.raw("type") {
                Some(b"HKWorkoutEventTypePause") => Change::Pause,
                Some(b"HKWorkoutEventTypeResume") => Change::Resume,
                Some(b"HKWorkoutEventTypeMotionPaused") => Change::MotionPause,
                Some(b"HKWorkoutEventTypeMotionResumed") => Change::MotionResume,
                _ => return,
            };
            draft.events.extend(named.time("date").map(|date| (date, change)));
        }
        "WorkoutStatistics"
            if named.raw("type").is_some_and(|kind| kind.starts_with(b"HKQuantityTypeIdentifierDistance")) =>
        {
            draft.distance = draft.distance.or(named.quantity("sum", "unit", units::metres));
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Draft, parse};

    const TIMES: &str = r#"startDate="2025-11-23 10:00:00 +0100" endDate="2025-11-23 10:45:00 +0100""#;

    fn draft(attributes: &str, content: &str) -> Draft {
        let text = format!(
            r#"<Workout workoutActivityType="HKWorkoutActivityTypeRunning" {TIMES} {attributes}>{content}</Workout>"#
        );
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn totals_are_read_before_and_after_they_moved() {
        let old = draft(r#"duration="0.75" durationUnit="hr" totalDistance="5" totalDistanceUnit="mi""#, "");
        let new = draft(
            r#"duration="45" durationUnit="min""#,
            r#"<WorkoutStatistics type="HKQuantityTypeIdentifierActiveEnergyBurned" sum="500" unit="Cal"/>
            <WorkoutStatistics type="HKQuantityTypeIdentifierDistanceWalkingRunning" sum="8.04672" unit="km"/>"#,
        );
        assert_eq!((old.duration, new.duration), (Some(2700.0), Some(2700.0)));
        assert_eq!((old.distance, new.distance), (Some(8046.72), Some(8046.72)));
        assert_eq!(old.end - old.start, 2700);
    }

    #[test]
    fn what_an_activity_repeats_counts_once_and_fills_what_is_missing() {
        let pause = r#"<WorkoutEvent type="HKWorkoutEventTypePause" date="2025-11-23 10:10:00 +0100"/>"#;
        let zone = |zone: &str| format!(r#"<MetadataEntry key="HKTimeZone" value="{zone}"/>"#);
        let indoor = r#"<MetadataEntry key="HKIndoorWorkout" value="1"/>"#;
        let within = format!("<WorkoutActivity>{pause}{}{indoor}</WorkoutActivity>", zone("Asia/Tokyo"));
        let both = draft("", &format!("{pause}{}{within}", zone("Europe/Paris")));
        assert_eq!((both.events.len(), both.time_zone.as_deref(), both.indoor), (1, Some("Europe/Paris"), Some(true)));
        let one = draft("", &within);
        assert_eq!((one.events[0].1, one.time_zone.as_deref()), (Change::Pause, Some("Asia/Tokyo")));
        let route = format!(
            "<WorkoutRoute>{}<FileReference path=\"/a\"/><FileReference path=\"/a\"/></WorkoutRoute>",
            zone("X")
        );
        let routed = draft("", &route);
        assert_eq!((routed.time_zone, routed.routes), (None, vec!["/a".to_owned()]));
    }

    #[test]
    fn a_source_is_shown_with_its_model_and_without_the_mark_of_a_simulator() {
        let device = "&lt;&lt;HKDevice: 0x1&gt;, name:Apple Watch, hardware:Watch6,7, software:10.2&gt;";
        let read = |name: &str, device: &str| draft(&format!(r#"sourceName="{name}" device="{device}""#), "");
        let watch = read("Zo&#235;’s toy", device);
        assert_eq!((watch.device.as_deref(), watch.watch), (Some("Zoë’s toy (Watch6,7)"), true));
        let made_up = read("synthetic: Apple Watch", "");
        assert_eq!((made_up.device.as_deref(), made_up.synthetic, made_up.watch), (Some("Apple Watch"), true, true));
        let nameless = read("", "hardware:iPhone12,1");
        assert_eq!(
            (nameless.device.as_deref(), nameless.watch, nameless.synthetic),
            (Some("iPhone12,1"), false, false)
        );
        assert_eq!(read("", "").device, None);
    }

    #[test]
    fn sports_are_those_of_fitrec_where_it_has_them() {
        let sport = |activity: &str| {
            let text = format!(r#"<Workout workoutActivityType="{activity}" {TIMES}/>"#);
            parse(text.as_bytes()).map(|draft| draft.sport)
        };
        let words = ["Running", "Cycling", "Walking", "Hiking", "Swimming", "CrossCountrySkiing"];
        let sports = words.map(|word| sport(&format!("HKWorkoutActivityType{word}")).unwrap());
        assert_eq!(sports, ["run", "bike", "walk", "hike", "swim", "crosscountryskiing"]);
        assert_eq!(sport(""), Err("it names no activity".into()));
    }

    #[test]
    fn odd_bytes_entities_and_tags_out_of_place_do_no_harm() {
        let mut text = br#"<Workout workoutActivityType="Running" sourceName="a"#.to_vec();
        text.extend(b"\x0b\xff &bomb; \" ");
        text.extend(TIMES.as_bytes());
        text.extend(b"><!-- <WorkoutEvent/> --><![CDATA[<x>]]></Wrong><MetadataEntry/></Workout>");
        let draft = parse(&text).unwrap();
        assert_eq!(draft.device.as_deref(), Some("a\u{b}\u{fffd} &bomb;"));
        for (text, why) in [
            ("<Workout/>", "its `startDate` is no date"),
            (
                r#"<Workout startDate="2025-11-23 10:00:00 +0100" endDate="2025-11-23 09:00:00 +0100"/>"#,
                "it ends before",
            ),
            ("<Workout", "well-formed"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
