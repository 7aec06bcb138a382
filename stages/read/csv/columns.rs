//! Which column of a CSV file holds what: by a map, or else by common names. Unaware of rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::read::instant;

/// Names of the columns of CSV files; where one is left out, common names are looked for, such as `time`, `t_s`,
/// `timestamp`, `hr_bpm`, `heart_rate`, `speed_mps`, `alt_m`, `dist_m`, `lat`, `lon`, whatever their case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The column of times: seconds since the start, `h:mm:ss` since the start, unix seconds or milliseconds, or ISO
    /// 8601 texts (UTC where they give no offset).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The column of heart rates in BPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heart_rate: Option<String>,
    /// The column of speeds, in the unit of `speed_unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// The unit of speed: `m/s`, `km/h` or `min/km` (`5:30` or `5.5`). Left out: as the column's name says
    /// (`speed_kmh`, `pace`), else `m/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_unit: Option<SpeedUnit>,
    /// The column of altitudes in metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altitude: Option<String>,
    /// The column of distances since the start in metres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<String>,
    /// The column of latitudes in degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<String>,
    /// The column of longitudes in degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<String>,
    /// The start as an ISO 8601 text, where times count from it; left out, it is read from the file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
}

/// A unit of speed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SpeedUnit {
    /// Metres per second.
    #[default]
    #[serde(rename = "m/s")]
    MetresPerSecond,
    /// Kilometres per hour.
    #[serde(rename = "km/h")]
    KilometresPerHour,
    /// Minutes per kilometre.
    #[serde(rename = "min/km")]
    MinutesPerKilometre,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// When it was.
    Time,
    /// BPM.
    HeartRate,
    /// In one of the units.
    Speed,
    /// Metres.
    Altitude,
    /// Metres since the start.
    Distance,
    /// Degrees.
    Latitude,
    /// Degrees.
    Longitude,
}

/// Where the fields stand in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Places {
    at: [Option<usize>; Field::ALL.len()],
    /// The unit of speed.
    pub unit: SpeedUnit,
}

impl SpeedUnit {
    /// A speed of this unit in m/s; NaN where a pace is zero.
    pub fn to_si(self, value: f64) -> f64 {
        match self {
            Self::MetresPerSecond => value,
            Self::KilometresPerHour => value / 3.6,
            Self::MinutesPerKilometre if value > 0.0 => 1000.0 / (60.0 * value),
            Self::MinutesPerKilometre => f64::NAN,
        }
    }

    /// The unit that a column's name shows.
    fn shown(name: &str) -> Self {
        let shows = |words: &[&str]| words.iter().any(|word| name.contains(word));
        match name {
            _ if shows(&["kmh", "km_h", "kph"]) => Self::KilometresPerHour,
            _ if shows(&["pace", "min_km", "min_per_km"]) => Self::MinutesPerKilometre,
            _ => Self::MetresPerSecond,
        }
    }
}

impl Field {
    /// Every field.
    pub const ALL: [Self; 7] =
        [Self::Time, Self::HeartRate, Self::Speed, Self::Altitude, Self::Distance, Self::Latitude, Self::Longitude];

    /// The name in the map.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::HeartRate => "heart_rate",
            Self::Speed => "speed",
            Self::Altitude => "altitude",
            Self::Distance => "distance",
            Self::Latitude => "latitude",
            Self::Longitude => "longitude",
        }
    }

    /// Names that columns of it have, the better first, as [`simple`] writes them.
    const fn spellings(self) -> &'static [&'static str] {
        match self {
            Self::Time => &[
                "t_s",
                "time_s",
                "time",
                "timestamp",
                "t",
                "seconds",
                "secs",
                "elapsed_s",
                "elapsed",
                "elapsed_time",
                "elapsed_seconds",
                "elapsed_time_s",
                "time_seconds",
                "datetime",
                "date_time",
                "time_utc",
                "utc",
                "unix_time",
            ],
            Self::HeartRate => &[
                "hr_bpm",
                "hr",
                "heart_rate",
                "heart_rate_bpm",
                "heartrate",
                "heartrate_bpm",
                "bpm",
                "pulse",
                "pulse_bpm",
            ],
            Self::Speed => &[
                "speed_mps",
                "speed_m_s",
                "speed_ms",
                "speed",
                "enhanced_speed",
                "velocity",
                "velocity_mps",
                "speed_kmh",
                "speed_km_h",
                "speed_kph",
                "pace",
                "pace_min_km",
                "pace_min_per_km",
            ],
            Self::Altitude => &[
                "alt_m",
                "altitude_m",
                "altitude",
                "enhanced_altitude",
                "alt",
                "elevation_m",
                "elevation",
                "ele_m",
                "ele",
            ],
            Self::Distance => &["dist_m", "distance_m", "distance", "dist", "distance_meters", "distances_m"],
            Self::Latitude => &["lat", "latitude", "lat_deg", "latitude_deg", "position_lat"],
            Self::Longitude => &["lon", "lng", "long", "longitude", "lon_deg", "longitude_deg", "position_long"],
        }
    }

    /// Whether a column of this name holds it.
    pub fn is_called(self, name: &str) -> bool {
        self.spellings().contains(&simple(name).as_str())
    }
}

impl Places {
    /// The number of a field's column, from 0.
    pub fn of(&self, field: Field) -> Option<usize> {
        self.at[field as usize]
    }

    /// Whether a field has a column.
    pub fn has(&self, field: Field) -> bool {
        self.of(field).is_some()
    }
}

impl Columns {
    /// What is wrong with the map as such: the parameter and what would be right.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let start = self.start.as_ref()?;
        let odd = instant::iso(start).is_none();
        odd.then(|| ("start", "must be a date and time as in `2021-03-25T10:40:55Z`".to_owned()))
    }

    /// The start that the map gives, in unix seconds.
    pub fn start_seconds(&self) -> Option<f64> {
        self.start.as_deref().and_then(instant::iso)
    }

    /// Finds the fields in a header.
    ///
    /// Fails where the time is missing, or a column that the map names, with what is there and what to write.
    pub fn places<T: AsRef<str>>(&self, header: &[T]) -> Result<Places, String> {
        let mut at = [None; Field::ALL.len()];
        for field in Field::ALL {
            at[field as usize] = self.place(field, header)?;
        }
        if at[Field::Time as usize].is_none() {
            return Err(self.advice(Field::Time, header));
        }
        let speed = at[Field::Speed as usize].map(|at| simple(header[at].as_ref())).unwrap_or_default();
        Ok(Places { at, unit: self.speed_unit.unwrap_or_else(|| SpeedUnit::shown(&speed)) })
    }

    /// What to write where a field's column is not known.
    pub fn advice<T: AsRef<str>>(&self, field: Field, header: &[T]) -> String {
        let name = field.name();
        let example = header.first().map_or("…", |cell| cell.as_ref().trim());
        let there = list(header);
        format!(
            "no column is known to hold the {name}; there are {there}: name it in the map, as in `{name} = \"{example}\"`"
        )
    }

    fn place<T: AsRef<str>>(&self, field: Field, header: &[T]) -> Result<Option<usize>, String> {
        let position = |name: &str| header.iter().position(|cell| simple(cell.as_ref()) == simple(name));
        let Some(name) = self.named(field) else {
            return Ok(field.spellings().iter().find_map(|name| position(name)));
        };
        let exact = header.iter().position(|cell| cell.as_ref().trim() == name.trim());
        let there = list(header);
        let absent = || format!("`{name}` is no column; there are {there}: correct `{}` in the map", field.name());
        exact.or_else(|| position(name)).map(Some).ok_or_else(absent)
    }

    fn named(&self, field: Field) -> Option<&str> {
        let name = match field {
            Field::Time => &self.time,
            Field::HeartRate => &self.heart_rate,
            Field::Speed => &self.speed,
            Field::Altitude => &self.altitude,
            Field::Distance => &self.distance,
            Field::Latitude => &self.latitude,
            Field::Longitude => &self.longitude,
        };
        name.as_deref()
    }
}

/// Columns that are listed in words, at most.
const LISTED: usize = 30;

fn list<T: AsRef<str>>(header: &[T]) -> String {
    let short = |cell: &T| format!("`{}`", cell.as_ref().trim().chars().take(40).collect::<String>());
    let names: Vec<String> = header.iter().take(LISTED).map(short).collect();
    let more = if header.len() > LISTED { format!(" and {} more", header.len() - LISTED) } else { String::new() };
    names.join(", ") + &more
}

/// A name in lower case, with one `_` for whatever is neither letter nor digit, none at the ends.
fn simple(name: &str) -> String {
    let words: Vec<String> =
        name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_found_whatever_their_case_and_the_better_wins() {
        let header = ["Heart Rate (bpm)", "TIME", "t_s", "Elevation", "lng", "Lat", "Pace"];
        let places = Columns::default().places(&header).unwrap();
        assert_eq!(places.at, [Some(2), Some(0), Some(6), Some(3), None, Some(5), Some(4)]);
        assert_eq!(places.unit, SpeedUnit::MinutesPerKilometre);
        assert!(Field::HeartRate.is_called("HR") && !Field::HeartRate.is_called("hrv"));
    }

    #[test]
    fn a_map_names_columns_and_an_odd_start_is_a_fault() {
        let map: Columns = serde_json::from_str(r#"{"time":"clock","heart_rate":"Puls","start":"noon"}"#).unwrap();
        let places = map.places(&["time", "clock", "puls"]).unwrap();
        assert_eq!((places.of(Field::Time), places.of(Field::HeartRate)), (Some(1), Some(2)));
        assert_eq!(map.fault().unwrap().0, "start");
        assert!(serde_json::from_str::<Columns>(r#"{"times":"t"}"#).is_err());
        assert_eq!(Columns::default().fault(), None);
    }

    #[test]
    fn a_pace_of_nothing_is_no_speed() {
        assert_eq!(SpeedUnit::KilometresPerHour.to_si(9.0), 2.5);
        assert!(SpeedUnit::MinutesPerKilometre.to_si(0.0).is_nan());
    }
}
