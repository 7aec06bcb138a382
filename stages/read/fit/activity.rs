//! What the messages of one FIT file tell, gathered and parted into sessions. Unaware of bytes.

use rustyfit::profile::mesgdef::{
    Activity as ActivityMessage, DeviceInfo, Event as EventMessage, FileId, Record, Session as SessionMessage,
    Sport as SportMessage, UserProfile,
};
use rustyfit::profile::typedef::{
    DeviceIndex, Event, EventType, File, GarminProduct, Gender, Manufacturer, MesgNum, Sport, SubSport,
};
use rustyfit::proto::Message;

use crate::read::fit::values::{SEMICIRCLE, bytes, choice, moment, number, text};
use crate::read::samples::{self, Recording, Sample};
use crate::read::sport;
use crate::workouts::{Origin, Workout};

/// Seconds to which the offset of a time zone is rounded, and the furthest that one lies from UTC.
const ZONE_STEP_S: f64 = 900.0;
const ZONE_MOST_S: f64 = 14.0 * 3600.0;

/// The messages of one file, as far as they matter.
#[derive(Debug, Default)]
pub struct Activity {
    /// What sort of file it is.
    pub kind: Option<File>,
    samples: Vec<Sample>,
    sessions: Vec<Session>,
    /// From the message `sport`, where no session tells.
    sport: Option<Sport>,
    sub_sport: Option<SubSport>,
    manufacturer: Option<Manufacturer>,
    product: Option<u16>,
    product_name: Option<String>,
    gender: Option<&'static str>,
    time_zone: Option<String>,
    pauses: Vec<[f64; 2]>,
    /// Since when the timer stands.
    stopped: Option<f64>,
    covered: Covered,
}

/// One session: the time of one sport.
#[derive(Clone, Copy, Debug, Default)]
struct Session {
    start: Option<f64>,
    sport: Option<Sport>,
    sub_sport: Option<SubSport>,
}

/// The distance that comes as 12 bits in sixteenths of a metre, which begin again at 256 m.
#[derive(Debug, Default)]
struct Covered {
    last: Option<u16>,
    sixteenths: u64,
}

impl Activity {
    /// Takes what a message tells.
    pub fn take(&mut self, message: &Message) {
        match message.num {
            MesgNum::RECORD => self.record(message),
            MesgNum::EVENT => self.event(message),
            MesgNum::SESSION => self.sessions.push(Session {
                start: moment(message, SessionMessage::START_TIME),
                sport: choice(message, SessionMessage::SPORT).map(|sport| Sport(sport as u8)),
                sub_sport: choice(message, SessionMessage::SUB_SPORT).map(|sport| SubSport(sport as u8)),
            }),
            MesgNum::SPORT => {
                self.sport = choice(message, SportMessage::SPORT).map(|sport| Sport(sport as u8));
                self.sub_sport = choice(message, SportMessage::SUB_SPORT).map(|sport| SubSport(sport as u8));
            }
            MesgNum::FILE_ID => {
                self.kind = choice(message, FileId::TYPE).map(|kind| File(kind as u8));
                self.device(message, [FileId::MANUFACTURER, FileId::PRODUCT, FileId::PRODUCT_NAME]);
            }
            MesgNum::DEVICE_INFO
                if choice(message, DeviceInfo::DEVICE_INDEX) == Some(DeviceIndex::CREATOR.0.into()) =>
            {
                self.device(message, [DeviceInfo::MANUFACTURER, DeviceInfo::PRODUCT, DeviceInfo::PRODUCT_NAME]);
            }
            MesgNum::USER_PROFILE => {
                self.gender = choice(message, UserProfile::GENDER).and_then(|gender| match Gender(gender as u8) {
                    Gender::FEMALE => Some("female"),
                    Gender::MALE => Some("male"),
                    _ => None,
                });
            }
            MesgNum::ACTIVITY => {
                let local = number(message, ActivityMessage::LOCAL_TIMESTAMP);
                let utc = number(message, ActivityMessage::TIMESTAMP);
                self.time_zone = local.zip(utc).and_then(|(local, utc)| offset(local - utc));
            }
            _ => {}
        }
    }

    /// The workouts: samples parted by the beginnings of sessions.
    pub fn recordings(mut self) -> Vec<Recording> {
        samples::into_order(&mut self.sessions, |session| session.start.unwrap_or_default());
        if self.sessions.is_empty() {
            self.sessions.push(Session { start: None, sport: self.sport, sub_sport: self.sub_sport });
        }
        let mut parts: Vec<Vec<Sample>> = self.sessions.iter().map(|_| Vec::new()).collect();
        for sample in std::mem::take(&mut self.samples) {
            let begun = self.sessions.partition_point(|one| one.start.unwrap_or_default() <= sample.time);
            parts[begun.saturating_sub(1)].push(sample);
        }
        let recording = |(session, samples): (&Session, Vec<Sample>)| Recording {
            about: self.about(session),
            samples,
            pauses: self.pauses.clone(),
        };
        self.sessions.iter().zip(parts).map(recording).collect()
    }

    fn about(&self, session: &Session) -> Workout {
        let sport = session.sport.or(self.sport).map(|sport| sport.to_string()).unwrap_or_default();
        let indoor = session.sub_sport.or(self.sub_sport).is_some_and(is_indoor);
        Workout {
            source: "fit".into(),
            sport: sport::normal(&sport),
            gender: self.gender.map(str::to_owned),
            device: self.device_name(),
            time_zone: self.time_zone.clone(),
            indoor: indoor.then_some(true),
            altitude_source: Origin::Recorded,
            ..Workout::default()
        }
    }

    /// The maker and the product, in FIT's words.
    fn device_name(&self) -> Option<String> {
        let maker = self.manufacturer.map(|maker| maker.to_string());
        let garmin = self.product.filter(|_| self.manufacturer == Some(Manufacturer::GARMIN));
        let product = self.product_name.clone().or_else(|| garmin.map(|number| GarminProduct(number).to_string()));
        match (maker, product) {
            (Some(maker), Some(product)) => Some(format!("{maker} {product}")),
            (maker, product) => maker.or(product),
        }
    }

    fn device(&mut self, message: &Message, [manufacturer, product, name]: [u8; 3]) {
        self.manufacturer = choice(message, manufacturer).map(Manufacturer).or(self.manufacturer);
        self.product = choice(message, product).or(self.product);
        self.product_name = text(message, name).or(self.product_name.take());
    }

    fn record(&mut self, message: &Message) {
        let Some(time) = moment(message, Record::TIMESTAMP) else { return };
        let value = |field: u8, scale: f64, offset: f64| number(message, field).map(|value| value / scale - offset);
        let degrees = |field: u8| number(message, field).map_or(f64::NAN, |value| value * SEMICIRCLE);
        let either = |one: Option<f64>, other: Option<f64>| one.or(other).unwrap_or(f64::NAN);
        let [packed_speed, packed_distance] = match bytes(message, Record::COMPRESSED_SPEED_DISTANCE) {
            Some(packed) => self.covered.unpack(packed),
            None => [None; 2],
        };
        let speed = value(Record::ENHANCED_SPEED, 1000.0, 0.0).or(value(Record::SPEED, 1000.0, 0.0));
        let altitude = value(Record::ENHANCED_ALTITUDE, 5.0, 500.0);
        self.samples.push(Sample {
            heart_rate: number(message, Record::HEART_RATE).unwrap_or(f64::NAN),
            speed: either(speed, packed_speed),
            altitude: either(altitude, value(Record::ALTITUDE, 5.0, 500.0)),
            latitude: degrees(Record::POSITION_LAT),
            longitude: degrees(Record::POSITION_LONG),
            distance: either(value(Record::DISTANCE, 100.0, 0.0), packed_distance),
            ..Sample::at(time)
        });
    }

    /// The timer stops and starts; between, there is a pause.
    fn event(&mut self, message: &Message) {
        let Some(time) = moment(message, EventMessage::TIMESTAMP) else { return };
        if choice(message, EventMessage::EVENT) != Some(Event::TIMER.0.into()) {
            return;
        }
        match choice(message, EventMessage::EVENT_TYPE).map(|kind| EventType(kind as u8)) {
            Some(EventType::START) => self.pauses.extend(self.stopped.take().map(|stopped| [stopped, time])),
            Some(EventType::STOP | EventType::STOP_ALL | EventType::STOP_DISABLE | EventType::STOP_DISABLE_ALL) => {
                self.stopped = self.stopped.or(Some(time));
            }
            _ => {}
        }
    }
}

impl Covered {
    /// Speed in m/s and distance in metres since the start: twelve bits each, all set where there is none.
    fn unpack(&mut self, packed: &[u8]) -> [Option<f64>; 2] {
        let &[low, middle, high] = packed else { return [None; 2] };
        let [low, middle, high] = [low, middle, high].map(u16::from);
        let (speed, distance) = (low | (middle & 0x0f) << 8, middle >> 4 | high << 4);
        let speed = (speed != 0xfff).then(|| f64::from(speed) / 100.0);
        if distance == 0xfff {
            return [speed, None];
        }
        self.sixteenths += u64::from(distance.wrapping_sub(self.last.unwrap_or_default()) & 0xfff);
        self.last = Some(distance);
        [speed, Some(self.sixteenths as f64 / 16.0)]
    }
}

const fn is_indoor(sport: SubSport) -> bool {
    matches!(
        sport,
        SubSport::TREADMILL
            | SubSport::INDOOR_RUNNING
            | SubSport::INDOOR_WALKING
            | SubSport::INDOOR_CYCLING
            | SubSport::INDOOR_ROWING
            | SubSport::SPIN
            | SubSport::ELLIPTICAL
            | SubSport::STAIR_CLIMBING
            | SubSport::VIRTUAL_ACTIVITY
    )
}

/// The offset from UTC that local time has by so many seconds, such as `+02:00`; none where no zone has it.
fn offset(seconds: f64) -> Option<String> {
    let rounded = (seconds / ZONE_STEP_S).round() * ZONE_STEP_S;
    if (seconds - rounded).abs() > 60.0 || rounded.abs() > ZONE_MOST_S {
        return None;
    }
    let minutes = rounded as i64 / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    Some(format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_distance_goes_on_where_its_twelve_bits_begin_again() {
        let mut covered = Covered::default();
        let packed =
            |speed: u16, distance: u16| [speed as u8, (speed >> 8 | distance << 4) as u8, (distance >> 4) as u8];
        assert_eq!(covered.unpack(&packed(275, 4000)), [Some(2.75), Some(250.0)]);
        assert_eq!(covered.unpack(&packed(0xfff, 0)), [None, Some(256.0)]);
        assert_eq!(covered.unpack(&packed(0xfff, 0xfff)), [None, None]);
        assert_eq!(covered.unpack(&packed(100, 16)), [Some(1.0), Some(257.0)]);
        assert_eq!(covered.unpack(&[1, 2]), [None, None]);
    }

    #[test]
    fn an_offset_is_that_of_a_zone_or_none() {
        assert_eq!(offset(7200.0).as_deref(), Some("+02:00"));
        assert_eq!(offset(-12_601.0).as_deref(), Some("-03:30"));
        assert_eq!(offset(0.0).as_deref(), Some("+00:00"));
        assert_eq!((offset(400.0), offset(1e9)), (None, None));
    }
}
