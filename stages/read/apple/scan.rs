//! The search for records and workouts in a piece of an export's text. It jumps from one start tag to the next and
//! reads the attributes of those alone that are asked for. Unaware of files and of what lies before the piece.

use memchr::memmem;

use crate::read::apple::samples::{Sample, Source, Sources};
use crate::read::apple::tags::{Attributes, End};
use crate::read::apple::time::Clock;
use crate::read::apple::units;

/// The end of a workout that has content.
pub const WORKOUT_END: &[u8] = b"</Workout>";
const WORKOUT: &[u8] = b"<Workout";
const RECORD: &[u8] = b"<Record";
/// What records of quantities begin with in every export that an iPhone wrote.
const USUAL_START: &[u8] = b" type=\"HKQuantityTypeIdentifier";
const HEART_RATE: &[u8] = b"HKQuantityTypeIdentifierHeartRate";
const DISTANCE: &[u8] = b"HKQuantityTypeIdentifierDistanceWalkingRunning";

/// What a piece of text holds.
#[derive(Debug, Default)]
pub struct Piece {
    /// Heart rates in BPM; their sources are numbered in `sources`.
    pub heart_rates: Vec<Sample>,
    /// Distances in metres.
    pub distances: Vec<Sample>,
    /// Who measured them.
    pub sources: Sources,
    /// Records that were asked for and cannot be read.
    pub unreadable: u64,
    /// Where the first of them begins.
    pub first_unreadable: Option<usize>,
    /// Where the workouts begin and end, in order; the end is missing where it is not in this piece.
    pub workouts: Vec<(usize, Option<usize>)>,
}

/// What a record measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    HeartRate,
    Distance,
}

/// Searches a piece that begins and ends outside of tags.
pub fn scan(text: &[u8]) -> Piece {
    let mut piece = Piece { workouts: workouts(text), ..Piece::default() };
    let mut reader = RecordReader::default();
    for at in memmem::find_iter(text, RECORD) {
        let rest = &text[at + RECORD.len()..];
        let Some(sort) = sort(rest) else { continue };
        match reader.read(rest, sort, &mut piece.sources) {
            Some(sample) if sort == Sort::HeartRate => piece.heart_rates.push(sample),
            Some(sample) => piece.distances.push(sample),
            None => {
                piece.unreadable += 1;
                piece.first_unreadable.get_or_insert(at);
            }
        }
    }
    piece
}

/// Where workouts begin and end. One begins where `<Workout` is the whole name.
fn workouts(text: &[u8]) -> Vec<(usize, Option<usize>)> {
    let named = |at: &usize| text.get(at + WORKOUT.len()).is_some_and(|byte| byte.is_ascii_whitespace());
    let starts: Vec<usize> = memmem::find_iter(text, WORKOUT).filter(named).collect();
    let next = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(next)
        .map(|(&start, next)| (start, workout_end(&text[start..next]).map(|end| start + end)))
        .collect()
}

/// Length of the workout at the start of a text that holds no other.
fn workout_end(text: &[u8]) -> Option<usize> {
    let mut attributes = Attributes::new(&text[WORKOUT.len()..]);
    attributes.by_ref().for_each(drop);
    if attributes.end() == End::Closed {
        let read = text.len() - attributes.rest().len();
        return memmem::find(attributes.rest(), b"/>").map(|end| read + end + 2);
    }
    memmem::find(text, WORKOUT_END).map(|at| at + WORKOUT_END.len())
}

/// What the record measures whose attributes begin here, where it is one of those that are asked for.
#[inline]
fn sort(rest: &[u8]) -> Option<Sort> {
    if let Some(name) = rest.strip_prefix(USUAL_START) {
        return if name.starts_with(b"HeartRate\"") {
            Some(Sort::HeartRate)
        } else {
            name.starts_with(b"DistanceWalkingRunning\"").then_some(Sort::Distance)
        };
    }
    if rest.starts_with(b" type=\"HKCategory") || !rest.first()?.is_ascii_whitespace() {
        return None;
    }
    match Attributes::new(rest).find(|(name, _)| *name == b"type")?.1 {
        HEART_RATE => Some(Sort::HeartRate),
        DISTANCE => Some(Sort::Distance),
        _ => None,
    }
}

/// Reads records one after the other; neighbours share day and source, which are remembered.
#[derive(Default)]
struct RecordReader<'a> {
    clock: Clock,
    last: Option<Last<'a>>,
}

/// The source of the record before.
struct Last<'a> {
    name: &'a [u8],
    named_watch: bool,
    watch: bool,
    number: u16,
}

impl<'a> RecordReader<'a> {
    #[inline]
    fn read(&mut self, rest: &'a [u8], sort: Sort, sources: &mut Sources) -> Option<Sample> {
        let [mut name, mut device, mut unit, mut start, mut end, mut value] = [&[][..]; 6];
        let mut attributes = Attributes::new(rest);
        for (key, found) in attributes.by_ref() {
            match key {
                b"sourceName" => name = found,
                b"device" => device = found,
                b"unit" => unit = found,
                b"startDate" => start = found,
                b"endDate" => end = found,
                b"value" => value = found,
                _ => (),
            }
        }
        if attributes.end() == End::Broken {
            return None;
        }
        let factor = match sort {
            Sort::HeartRate if unit.is_empty() => 1.0,
            Sort::HeartRate => units::beats_a_minute(unit)?,
            Sort::Distance => units::metres(unit)?,
        };
        let value = units::number(value)?;
        let from = self.clock.seconds(start)?;
        let to = if start == end { from } else { self.clock.seconds(end)? };
        Sample::new(from, to, self.source(name, device, sources), value * factor)
    }

    #[inline]
    fn source(&mut self, name: &'a [u8], device: &[u8], sources: &mut Sources) -> u16 {
        let last = self.last.as_ref().filter(|last| last.name == name);
        let named_watch = last.map_or_else(|| is_watch(name), |last| last.named_watch);
        let watch = named_watch || is_watch(device);
        if let Some(last) = last.filter(|last| last.watch == watch) {
            return last.number;
        }
        let number = sources.number(Source { name: name.to_vec(), watch });
        self.last = Some(Last { name, named_watch, watch, number });
        number
    }
}

/// Whether the name of a source or a device is that of an Apple Watch.
pub fn is_watch(name: &[u8]) -> bool {
    memmem::find(name, b"Watch").is_some()
}

#[cfg(test)]
mod tests {
    use super::scan;
    use crate::read::apple::samples::Sample;

    const DATES: &str = "startDate=\"2024-01-01 01:00:00 +0100\" endDate=\"2024-01-01 01:01:00 +0100\"";
    const START: u32 = 1_704_067_200;

    fn heart_rates(text: &str) -> Vec<(u32, u16, f32)> {
        scan(text.as_bytes()).heart_rates.iter().map(|s: &Sample| (s.start - START, s.span, s.value)).collect()
    }

    #[test]
    fn a_heart_rate_is_read_whatever_the_order_of_its_attributes() {
        let usual =
            format!("<Record type=\"HKQuantityTypeIdentifierHeartRate\" unit=\"count/min\" {DATES} value=\"60\"/>");
        let turned = format!("<Record\n  value='60' {DATES} type=\"HKQuantityTypeIdentifierHeartRate\"></Record>");
        let hertz = usual.replace("count/min", "count/s").replace("\"60\"", "\"1\"");
        for text in [usual, turned, hertz] {
            assert_eq!(heart_rates(&text), [(0, 60, 60.0)], "{text}");
        }
    }

    #[test]
    fn other_records_and_elements_of_a_similar_name_are_passed_over() {
        let other = |name: &str| format!("<{name} type=\"HKQuantityTypeIdentifierHeartRate\" {DATES} value=\"60\"/>");
        assert_eq!(heart_rates(&other("RecordGroup")), []);
        assert_eq!(heart_rates(&other("Record").replace("HeartRate", "HeartRateVariabilitySDNN")), []);
        assert_eq!(heart_rates(&other("Record").replace("HKQuantityTypeIdentifierHeartRate", "HKCategoryTypeX")), []);
        assert_eq!(heart_rates(&other("Record")).len(), 1);
        assert_eq!(scan(b"<WorkoutEvent a=\"1\"/><WorkoutStatistics/><Workout").workouts, []);
    }

    #[test]
    fn distances_of_every_unit_are_metres() {
        for (value, unit) in [("0.1", "km"), ("100", "m"), ("0.0621371192237334", "mi"), ("328.083989501312", "ft")] {
            let text = format!(
                "<Record type=\"HKQuantityTypeIdentifierDistanceWalkingRunning\" unit=\"{unit}\" {DATES} value=\"{value}\"/>"
            );
            let piece = scan(text.as_bytes());
            assert!((piece.distances[0].value - 100.0).abs() < 1e-4, "{unit}");
            assert!(piece.heart_rates.is_empty());
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_is_counted_with_its_place() {
        let good =
            format!("<Record type=\"HKQuantityTypeIdentifierHeartRate\" {DATES} unit=\"count/min\" value=\"60\"/>");
        for (from, to) in [
            ("\"60\"", "\"sixty\""),
            ("count/min", "furlongs"),
            ("endDate", "end"),
            ("01:01:00", "00:59:59"),
            ("2024-01-01 01:00", "1924-01-01 01:00"),
            ("/>", ""),
        ] {
            let text = format!("  {}", good.replace(from, to));
            let piece = scan(text.as_bytes());
            assert_eq!((piece.unreadable, piece.first_unreadable, piece.heart_rates.len()), (1, Some(2), 0), "{text}");
        }
    }

    #[test]
    fn a_device_makes_a_source_a_watch_and_nothing_else_of_it() {
        let record = |name: &str, device: &str| {
            format!(
                "<Record type=\"HKQuantityTypeIdentifierHeartRate\" sourceName=\"{name}\" device=\"{device}\" {DATES} value=\"60\"/>"
            )
        };
        let rows =
            [("Bob", "x"), ("Bob", "name:Apple Watch"), ("Bob", ""), ("My Watch", ""), ("My Watch", "y"), ("Bob", "")];
        let text: String = rows.iter().map(|(name, device)| record(name, device)).collect();
        let piece = scan(text.as_bytes());
        assert_eq!(piece.heart_rates.iter().map(|sample| sample.source).collect::<Vec<_>>(), [0, 1, 0, 2, 2, 0]);
        assert_eq!(piece.sources.all().iter().map(|source| source.watch).collect::<Vec<_>>(), [false, true, true]);
    }

    #[test]
    fn workouts_are_found_with_their_ends_and_one_without_end_is_told() {
        let text = "<Workout a=\"/>\"/> <Workout b=\"1\"><WorkoutEvent/></Workout><Workout\tc=\"\"><Workout ><x/>";
        let workouts = scan(text.as_bytes()).workouts;
        assert_eq!(&text[workouts[0].0..workouts[0].1.unwrap()], "<Workout a=\"/>\"/>");
        assert_eq!(&text[workouts[1].0..workouts[1].1.unwrap()], "<Workout b=\"1\"><WorkoutEvent/></Workout>");
        assert_eq!(workouts[2..].iter().map(|(_, end)| *end).collect::<Vec<_>>(), [None, None]);
    }
}
