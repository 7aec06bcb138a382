//! The text of `export.xml`: its head, records, workouts and end. Unaware of how the days went and of archives.

use std::fmt::{self, Display, Write as _};
use std::ops::Range;

use crate::simulate::apple::clock::{Clock, ZONE, year_of};
use crate::simulate::apple::document::{DOCUMENT_TYPE, XML};
use crate::simulate::apple::plan::Activity;
use crate::simulate::apple::view::Units;

/// Who recorded something; every name says that nobody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The watch.
    Watch,
    /// The phone.
    Phone,
    /// An app that records runs by itself.
    App,
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Watch => "synthetic: Apple Watch",
            Self::Phone => "synthetic: iPhone",
            Self::App => "synthetic: Run App",
        }
    }
}

/// What a record measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// BPM.
    HeartRate,
    /// Metres on foot.
    Distance,
    /// Metres on a bicycle.
    Ride,
    /// Steps.
    Steps,
    /// kcal.
    Energy,
}

impl Quantity {
    const fn word(self) -> &'static str {
        match self {
            Self::HeartRate => "HKQuantityTypeIdentifierHeartRate",
            Self::Distance => "HKQuantityTypeIdentifierDistanceWalkingRunning",
            Self::Ride => "HKQuantityTypeIdentifierDistanceCycling",
            Self::Steps => "HKQuantityTypeIdentifierStepCount",
            Self::Energy => "HKQuantityTypeIdentifierActiveEnergyBurned",
        }
    }

    const fn unit(self, units: Units) -> &'static str {
        match (self, units) {
            (Self::HeartRate, _) => "count/min",
            (Self::Steps, _) => "count",
            (Self::Distance | Self::Ride, Units::Metric) => "km",
            (Self::Distance | Self::Ride, Units::Imperial) => "mi",
            (Self::Energy, Units::Metric) => "kcal",
            (Self::Energy, Units::Imperial) => "Cal",
        }
    }

    fn convert(self, value: f64, units: Units) -> f64 {
        match (self, units) {
            (Self::Distance | Self::Ride, Units::Metric) => value / 1000.0,
            (Self::Distance | Self::Ride, Units::Imperial) => value / METRES_OF_A_MILE,
            _ => value,
        }
    }
}

const METRES_OF_A_MILE: f64 = 1609.344;
const METRES_OF_A_FOOT: f64 = 0.3048;

/// One measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record {
    /// What it measures.
    pub quantity: Quantity,
    /// Who measured it.
    pub source: Source,
    /// First and last unix second.
    pub time: (i64, i64),
    /// The value, in the unit that the quantity names.
    pub value: f64,
    /// Whether the wearer moved, as 1 (no) or 2 (yes), where the record says so.
    pub motion: Option<u8>,
}

/// A workout as the export lists it.
pub struct Session {
    /// The sport.
    pub activity: Activity,
    /// Who recorded it.
    pub source: Source,
    /// First and last unix second.
    pub time: (i64, i64),
    /// Seconds without pauses.
    pub active: usize,
    /// Unix seconds of pauses.
    pub pauses: Vec<Range<i64>>,
    /// Whether it took place indoors.
    pub indoor: bool,
    /// Metres.
    pub metres: f64,
    /// kcal.
    pub energy: f64,
    /// Metres climbed, where the device has a barometer.
    pub climb: Option<f64>,
    /// Mean, lowest and highest heart rate, BPM, where there is any.
    pub heart_rate: Option<(f64, f64, f64)>,
    /// Air temperature in degrees Celsius and humidity in percent.
    pub weather: (f64, f64),
    /// Name of the route's file and its first and last unix second.
    pub route: Option<(String, (i64, i64))>,
}

/// The year since which totals are elements of their own instead of attributes.
const STATISTICS_SINCE: i16 = 2022;

/// Writes the parts of an export with one clock and one set of units.
pub struct Writer<'a> {
    /// How dates are written.
    pub clock: &'a Clock,
    /// Which units are used.
    pub units: Units,
}

impl Writer<'_> {
    /// All before the records.
    pub fn push_head(&self, text: &mut String, exported: i64, gender: &str) {
        let locale = match self.units {
            Units::Metric => "en_FR",
            Units::Imperial => "en_US",
        };
        let sex = if gender == "female" { "Female" } else { "Male" };
        push(text, format_args!("{XML}{DOCUMENT_TYPE}<HealthData locale=\"{locale}\">\n"));
        push(text, format_args!(" <ExportDate value=\"{}\"/>\n", self.clock.date(exported)));
        push(text, format_args!(" <Me HKCharacteristicTypeIdentifierDateOfBirth=\"\" "));
        push(text, format_args!("HKCharacteristicTypeIdentifierBiologicalSex=\"HKBiologicalSex{sex}\" "));
        text.push_str("HKCharacteristicTypeIdentifierBloodType=\"HKBloodTypeNotSet\" ");
        text.push_str("HKCharacteristicTypeIdentifierFitzpatrickSkinType=\"HKFitzpatrickSkinTypeNotSet\" ");
        text.push_str("HKCharacteristicTypeIdentifierCardioFitnessMedicationsUse=\"None\"/>\n");
    }

    /// All after the workouts.
    pub fn push_end(&self, text: &mut String) {
        text.push_str("</HealthData>\n");
    }

    /// A record.
    pub fn push_record(&self, text: &mut String, record: &Record) {
        let Record { quantity, source, time: (start, end), .. } = *record;
        push(text, format_args!(" <Record type=\"{}\"", quantity.word()));
        self.push_source(text, source, start);
        let value = quantity.convert(record.value, self.units);
        push(text, format_args!(" unit=\"{}\"", quantity.unit(self.units)));
        self.push_times(text, (start, end), end + 3);
        let value = Value(value, if matches!(quantity, Quantity::Distance | Quantity::Ride) { 6 } else { 3 });
        push(text, format_args!(" value=\"{value}\""));
        let Some(motion) = record.motion else { return text.push_str("/>\n") };
        push(
            text,
            format_args!(">\n  <MetadataEntry key=\"HKMetadataKeyHeartRateMotionContext\" value=\"{motion}\"/>\n"),
        );
        text.push_str(" </Record>\n");
    }

    /// A workout with all that belongs to it.
    pub fn push_workout(&self, text: &mut String, session: &Session) {
        let word = match session.activity {
            Activity::Running => "Running",
            Activity::Walking => "Walking",
            Activity::Cycling => "Cycling",
        };
        let by_statistics = year_of(session.time.0) >= STATISTICS_SINCE;
        push(text, format_args!(" <Workout workoutActivityType=\"HKWorkoutActivityType{word}\""));
        push(text, format_args!(" duration=\"{:.8}\" durationUnit=\"min\"", session.active as f64 / 60.0));
        if !by_statistics {
            self.push_totals(text, session);
        }
        self.push_source(text, session.source, session.time.0);
        self.push_times(text, session.time, session.time.1 + 2);
        text.push_str(">\n");
        self.push_metadata(text, session, "  ");
        self.push_events(text, session, "  ");
        if by_statistics {
            self.push_activity(text, session);
            self.push_statistics(text, session, "  ");
        }
        self.push_route(text, session);
        text.push_str(" </Workout>\n");
    }

    /// Totals as attributes.
    fn push_totals(&self, text: &mut String, session: &Session) {
        let totals =
            [("Distance", session.distance(), session.metres), ("EnergyBurned", Quantity::Energy, session.energy)];
        for (name, quantity, value) in totals {
            let value = Value(quantity.convert(value, self.units), 6);
            let unit = quantity.unit(self.units);
            push(text, format_args!(" total{name}=\"{value}\" total{name}Unit=\"{unit}\""));
        }
    }

    /// Totals as elements.
    fn push_statistics(&self, text: &mut String, session: &Session, indent: &str) {
        let mut element = |quantity: Quantity, figures: std::fmt::Arguments<'_>| {
            push(text, format_args!("{indent}<WorkoutStatistics type=\"{}\"", quantity.word()));
            self.push_span(text, session.time);
            push(text, format_args!(" {figures} unit=\"{}\"/>\n", quantity.unit(self.units)));
        };
        for (quantity, value) in [(session.distance(), session.metres), (Quantity::Energy, session.energy)] {
            element(quantity, format_args!("sum=\"{}\"", Value(quantity.convert(value, self.units), 6)));
        }
        if let Some((mean, least, most)) = session.heart_rate {
            let figures = (Value(mean, 3), Value(least, 3), Value(most, 3));
            let (mean, least, most) = &figures;
            element(Quantity::HeartRate, format_args!("average=\"{mean}\" minimum=\"{least}\" maximum=\"{most}\""));
        }
    }

    /// The part of a workout that newer systems repeat everything in.
    fn push_activity(&self, text: &mut String, session: &Session) {
        let (start, end) = session.time;
        push(text, format_args!("  <WorkoutActivity uuid=\"{}\"", Uuid(start, session.source)));
        self.push_span(text, (start, end));
        push(text, format_args!(" duration=\"{:.8}\" durationUnit=\"min\">\n", session.active as f64 / 60.0));
        self.push_events(text, session, "   ");
        self.push_statistics(text, session, "   ");
        self.push_metadata(text, session, "   ");
        text.push_str("  </WorkoutActivity>\n");
    }

    fn push_metadata(&self, text: &mut String, session: &Session, indent: &str) {
        let mut entry = |key: &str, value: &dyn Display| {
            push(text, format_args!("{indent}<MetadataEntry key=\"{key}\" value=\"{value}\"/>\n"));
        };
        entry("HKIndoorWorkout", &u8::from(session.indoor));
        entry("HKTimeZone", &ZONE);
        let (degrees, humidity) = session.weather;
        if !session.indoor {
            match self.units {
                Units::Metric => entry("HKWeatherTemperature", &format_args!("{} degC", degrees.round() as i64)),
                Units::Imperial => {
                    entry("HKWeatherTemperature", &format_args!("{} degF", (degrees * 1.8 + 32.0).round() as i64));
                }
            }
            // As the systems write it: a hundredfold percentage.
            entry("HKWeatherHumidity", &format_args!("{:.0} %", humidity.round() * 100.0));
        }
        if let Some(climb) = session.climb.filter(|_| !session.indoor) {
            match self.units {
                Units::Metric => entry("HKElevationAscended", &format_args!("{:.0} cm", climb * 100.0)),
                Units::Imperial => entry("HKElevationAscended", &format_args!("{:.2} ft", climb / METRES_OF_A_FOOT)),
            }
        }
        let hours = session.active as f64 / 3600.0;
        entry("HKAverageMETs", &format_args!("{:.4} kcal/hr·kg", session.energy / hours / 62.0));
    }

    fn push_events(&self, text: &mut String, session: &Session, indent: &str) {
        for pause in &session.pauses {
            for (word, second) in [("Pause", pause.start), ("Resume", pause.end)] {
                push(text, format_args!("{indent}<WorkoutEvent type=\"HKWorkoutEventType{word}\""));
                push(text, format_args!(" date=\"{}\"/>\n", self.clock.date(second)));
            }
        }
    }

    fn push_route(&self, text: &mut String, session: &Session) {
        let Some((name, time)) = &session.route else { return };
        text.push_str("  <WorkoutRoute");
        self.push_source(text, session.source, time.0);
        self.push_times(text, *time, time.1 + 20);
        text.push_str(">\n   <MetadataEntry key=\"HKMetadataKeySyncVersion\" value=\"2\"/>\n");
        push(text, format_args!("   <FileReference path=\"/workout-routes/{name}\"/>\n  </WorkoutRoute>\n"));
    }

    fn push_source(&self, text: &mut String, source: Source, second: i64) {
        // A new system every year, and no device where an app says none.
        let version = i32::from(year_of(second)) - 2014;
        push(text, format_args!(" sourceName=\"{}\" sourceVersion=\"{version}.2\"", source.name()));
        if source == Source::Watch {
            text.push_str(" device=\"&lt;&lt;HKDevice: 0x600003a5c0f0&gt;, name:Apple Watch, ");
            push(
                text,
                format_args!("manufacturer:Apple Inc., model:Watch, hardware:Watch6,2, software:{version}.2&gt;\""),
            );
        }
    }

    fn push_times(&self, text: &mut String, time: (i64, i64), created: i64) {
        push(text, format_args!(" creationDate=\"{}\"", self.clock.date(created)));
        self.push_span(text, time);
    }

    fn push_span(&self, text: &mut String, (start, end): (i64, i64)) {
        push(text, format_args!(" startDate=\"{}\" endDate=\"{}\"", self.clock.date(start), self.clock.date(end)));
    }
}

impl Session {
    const fn distance(&self) -> Quantity {
        if matches!(self.activity, Activity::Cycling) { Quantity::Ride } else { Quantity::Distance }
    }
}

/// A number with at most so many decimals, none of them a trailing zero.
struct Value(f64, usize);

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.*}", self.1, self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A number as long as those that systems give, made of a second and a source.
struct Uuid(i64, Source);

impl Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}-0000-4000-8000-{:012X}", self.0, self.1 as u64)
    }
}

fn push(text: &mut String, words: fmt::Arguments<'_>) {
    text.write_fmt(words).expect("writing to a string cannot fail");
}
