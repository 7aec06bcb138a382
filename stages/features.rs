//! What a model may know of each moment of a run, by name: parsed from a pipeline, computed on the recording's
//! own timestamps. Unaware of grids and models; knows heart rate only to refuse it.
//!
//! Smoothing and slopes are computed at the samples and only then read off at other times, so that a lag is a
//! time and never a number of steps.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::physiology;
use crate::stage::ParameterFault;
use crate::suggest::did_you_mean;
use crate::track::{Gender, Places, Track};

/// A series that the recording gives at every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `speed`, m/s.
    Speed,
    /// `altitude`, metres above sea level as recorded.
    Altitude,
    /// `altitude_gain`, metres above the start.
    AltitudeGain,
    /// `grade`, rise over run.
    Grade,
    /// `power`, metabolic demand of speed and grade, W/kg.
    Power,
}

/// An input of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feature {
    /// A signal as it is.
    Signal(Signal),
    /// `ema(signal, seconds)`: its exponential moving average with this time constant.
    Ema(Signal, f64),
    /// `elapsed`, seconds since the start.
    Elapsed,
    /// `elapsed^2`, seconds squared.
    ElapsedSquared,
    /// `decay(seconds)`: exp(−t / seconds), which tells the start from the rest.
    Decay(f64),
    /// `gender_male`: 1 for a man, else 0.
    GenderMale,
    /// `gender_female`: 1 for a woman, else 0.
    GenderFemale,
}

/// Words for the target, whatever is made of it.
const TARGETS: [&str; 7] = ["heart_rate", "heartrate", "heart", "hr", "bpm", "pulse", "target"];

/// What a pipeline may write, one example of each form.
const EXAMPLES: [&str; 11] = [
    "speed",
    "altitude",
    "altitude_gain",
    "grade",
    "power",
    "ema(power, 60)",
    "elapsed",
    "elapsed^2",
    "decay(60)",
    "gender_male",
    "gender_female",
];

impl Signal {
    const ALL: [Self; 5] = [Self::Speed, Self::Altitude, Self::AltitudeGain, Self::Grade, Self::Power];

    /// The name used in pipelines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Altitude => "altitude",
            Self::AltitudeGain => "altitude_gain",
            Self::Grade => "grade",
            Self::Power => "power",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == text)
    }
}

impl fmt::Display for Feature {
    /// The canonical text, which parses to the same feature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => f.write_str(signal.name()),
            Self::Ema(signal, tau) => write!(f, "ema({}, {tau})", signal.name()),
            Self::Elapsed => f.write_str("elapsed"),
            Self::ElapsedSquared => f.write_str("elapsed^2"),
            Self::Decay(tau) => write!(f, "decay({tau})"),
            Self::GenderMale => f.write_str("gender_male"),
            Self::GenderFemale => f.write_str("gender_female"),
        }
    }
}

impl FromStr for Feature {
    type Err = String;

    /// Parses a feature; the error says what is wrong and what would be right.
    fn from_str(text: &str) -> Result<Self, String> {
        let word = |c: char| !c.is_alphanumeric() && c != '_';
        if text.split(word).any(|word| TARGETS.contains(&word.to_lowercase().as_str())) {
            return Err(format!("`{text}`: heart rate is the target and can never be an input"));
        }
        match call(text.trim()) {
            Some(("ema", arguments)) => parse_ema(text, &arguments),
            Some(("decay", arguments)) => match arguments[..] {
                [tau] => Ok(Self::Decay(seconds(text, tau)?)),
                _ => Err(format!("`{text}`: decay takes one time constant, as in `decay(60)`")),
            },
            Some((head, _)) => Err(unknown(text, head)),
            None => parse_name(text.trim()).ok_or_else(|| unknown(text, text)),
        }
    }
}

/// Takes `head(a, b)` apart.
fn call(text: &str) -> Option<(&str, Vec<&str>)> {
    let (head, rest) = text.split_once('(')?;
    let arguments = rest.strip_suffix(')')?;
    Some((head.trim(), arguments.split(',').map(str::trim).collect()))
}

fn parse_name(name: &str) -> Option<Feature> {
    let fixed = [Feature::Elapsed, Feature::ElapsedSquared, Feature::GenderMale, Feature::GenderFemale];
    let signal = Signal::parse(name).map(Feature::Signal);
    signal.or_else(|| fixed.into_iter().find(|feature| feature.to_string() == name))
}

fn parse_ema(text: &str, arguments: &[&str]) -> Result<Feature, String> {
    let [signal, tau] = arguments else {
        return Err(format!("`{text}`: ema takes a signal and a time constant, as in `ema(power, 60)`"));
    };
    let names = || Signal::ALL.map(Signal::name);
    let known = Signal::parse(signal).ok_or_else(|| {
        let guess = did_you_mean(signal, names());
        format!("`{text}`: `{signal}` is no signal; there are `{}`{guess}", names().join("`, `"))
    })?;
    Ok(Feature::Ema(known, seconds(text, tau)?))
}

fn seconds(text: &str, tau: &str) -> Result<f64, String> {
    let tau: Option<f64> = tau.parse().ok().filter(|tau: &f64| tau.is_finite() && *tau > 0.0);
    tau.ok_or_else(|| format!("`{text}`: the time constant must be a number of seconds above 0"))
}

fn unknown(text: &str, head: &str) -> String {
    let guess = did_you_mean(head, EXAMPLES);
    format!("`{text}` is no feature; there are `{}`{guess}", EXAMPLES.join("`, `"))
}

/// Parses a list of features; every fault is found, each with its place in the list.
pub fn parse_all(path: &str, texts: &[String]) -> Result<Vec<Feature>, Vec<ParameterFault>> {
    let (mut features, mut faults) = (Vec::new(), Vec::new());
    for (i, text) in texts.iter().enumerate() {
        let place = format!("{path}[{i}]");
        match text.parse::<Feature>() {
            Ok(feature) if features.contains(&feature) => {
                faults.push(ParameterFault::new(place, format!("`{feature}` is there already")));
            }
            Ok(feature) => features.push(feature),
            Err(message) => faults.push(ParameterFault::new(place, message)),
        }
    }
    if texts.is_empty() {
        faults.push(ParameterFault::new(path, format!("is empty; there are `{}`", EXAMPLES.join("`, `"))));
    }
    if faults.is_empty() { Ok(features) } else { Err(faults) }
}

/// The signals of a track, each computed once, when it is first asked for.
pub struct Signals<'a> {
    track: &'a Track,
    window: f64,
    grade: OnceLock<Vec<f64>>,
    power: OnceLock<Vec<f64>>,
    averages: Vec<Averages>,
}

/// Averages of one signal that will be asked for.
struct Averages {
    signal: Signal,
    taus: Vec<f64>,
    series: OnceLock<Vec<Vec<f64>>>,
}

/// Averages that are computed at once.
const AT_ONCE: usize = 4;

impl<'a> Signals<'a> {
    /// Prepares a track; `window` is the time in seconds over which altitude is smoothed into a slope.
    pub fn new(track: &'a Track, window: f64) -> Self {
        Self { track, window, grade: OnceLock::new(), power: OnceLock::new(), averages: Vec::new() }
    }

    /// Tells which features will be asked for: averages of one signal are then computed together, which is faster.
    pub fn expecting<'f>(mut self, features: impl IntoIterator<Item = &'f Feature>) -> Self {
        for feature in features {
            let Feature::Ema(signal, tau) = *feature else { continue };
            match self.averages.iter_mut().find(|averages| averages.signal == signal) {
                Some(averages) => averages.taus.push(tau),
                None => self.averages.push(Averages { signal, taus: vec![tau], series: OnceLock::new() }),
            }
        }
        self
    }

    /// A signal at every sample; the error names the series that is missing.
    pub fn signal(&self, signal: Signal) -> Result<Cow<'_, [f64]>, &'static str> {
        Ok(match signal {
            Signal::Speed => Cow::Borrowed(self.speed()?),
            Signal::Altitude => Cow::Borrowed(self.altitude()?),
            Signal::Grade => Cow::Borrowed(self.grade()?),
            Signal::AltitudeGain => {
                let metres = self.altitude()?;
                metres.iter().map(|height| height - metres[0]).collect()
            }
            Signal::Power => Cow::Borrowed(self.power()?),
        })
    }

    fn speed(&self) -> Result<&[f64], &'static str> {
        self.track.speed.as_deref().ok_or("speed")
    }

    fn altitude(&self) -> Result<&[f64], &'static str> {
        self.track.altitude.as_deref().ok_or("altitude")
    }

    fn grade(&self) -> Result<&[f64], &'static str> {
        let (speed, altitude) = (self.speed()?, self.altitude()?);
        Ok(self.grade.get_or_init(|| physiology::grade(&self.track.elapsed, speed, altitude, self.window)))
    }

    fn power(&self) -> Result<&[f64], &'static str> {
        let (speed, grade) = (self.speed()?, self.grade()?);
        let power = || speed.iter().zip(grade).map(|(v, i)| physiology::power(*v, *i)).collect();
        Ok(self.power.get_or_init(power))
    }

    fn average(&self, signal: Signal, tau: f64) -> Result<Cow<'_, [f64]>, &'static str> {
        let (time, values) = (&self.track.elapsed, self.signal(signal)?);
        let expected = self.averages.iter().filter(|averages| averages.signal == signal);
        let expected = expected.filter_map(|averages| Some((averages, averages.taus.iter().position(|t| *t == tau)?)));
        let Some((averages, place)) = expected.into_iter().next() else {
            return Ok(Cow::Owned(physiology::ema(time, &values, tau)));
        };
        let series = averages.series.get_or_init(|| {
            let some = |taus: &[f64]| {
                let last = taus[taus.len() - 1];
                let padded = std::array::from_fn(|lane| taus.get(lane).copied().unwrap_or(last));
                physiology::ema_each::<AT_ONCE>(time, &values, padded)
            };
            averages.taus.chunks(AT_ONCE).flat_map(some).collect()
        });
        Ok(Cow::Borrowed(&series[place]))
    }

    /// Where given times in seconds since the start, which never fall, lie between the track's samples.
    pub fn places(&self, at: &[f64]) -> Places {
        Places::of(&self.track.elapsed, at)
    }

    /// A feature at the given times in seconds since the start, which never fall.
    pub fn sample(&self, feature: &Feature, at: &[f64]) -> Result<Vec<f64>, &'static str> {
        self.sample_at(feature, at, &self.places(at))
    }

    /// As [`Signals::sample`], where the places of the times are known already.
    pub fn sample_at(&self, feature: &Feature, at: &[f64], places: &Places) -> Result<Vec<f64>, &'static str> {
        let flag = |gender: Gender| f64::from(u8::from(self.track.gender == gender));
        Ok(match feature {
            Feature::Signal(signal) => places.read(&self.signal(*signal)?),
            Feature::Ema(signal, tau) => places.read(&self.average(*signal, *tau)?),
            Feature::GenderMale => vec![flag(Gender::Male); at.len()],
            Feature::GenderFemale => vec![flag(Gender::Female); at.len()],
            Feature::Elapsed | Feature::ElapsedSquared | Feature::Decay(_) => feature.of_time(at).unwrap_or_default(),
        })
    }
}

impl Feature {
    /// The feature at times in seconds since the start, where it is one of time alone, alike for every workout.
    pub fn of_time(&self, at: &[f64]) -> Option<Vec<f64>> {
        match self {
            Self::Elapsed => Some(at.to_vec()),
            Self::ElapsedSquared => Some(at.iter().map(|t| t * t).collect()),
            Self::Decay(tau) => Some(at.iter().map(|t| (-t / tau).exp()).collect()),
            Self::Signal(_) | Self::Ema(..) | Self::GenderMale | Self::GenderFemale => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_feature_has_one_canonical_text() {
        for text in EXAMPLES {
            assert_eq!(text.parse::<Feature>().unwrap().to_string(), text);
        }
        assert_eq!(" ema( speed ,7.50 )".parse::<Feature>().unwrap().to_string(), "ema(speed, 7.5)");
    }

    #[test]
    fn heart_rate_is_refused_in_any_dress() {
        for text in ["heart_rate", "hr", "target", "ema(heart_rate, 60)", "HR", "lag(hr, 2)", "heart_rate^2"] {
            let error = text.parse::<Feature>().unwrap_err();
            assert!(error.ends_with("heart rate is the target and can never be an input"), "{error}");
        }
    }

    #[test]
    fn a_feature_that_does_not_exist_is_answered_with_the_nearest() {
        let error = |text: &str| text.parse::<Feature>().unwrap_err();
        assert!(error("spede").ends_with("did you mean `speed`?"), "{}", error("spede"));
        assert!(error("ema(powr, 60)").contains("did you mean `power`?"), "{}", error("ema(powr, 60)"));
        for text in ["ema(power)", "ema(power, 0)", "ema(power, -1)", "decay(nan)", "decay()", "gradient(3)", ""] {
            assert!(text.parse::<Feature>().is_err(), "{text}");
        }
    }

    #[test]
    fn all_faults_of_a_list_are_found_with_their_places() {
        let list = ["speed", "hr", "speed", "nope"].map(String::from);
        let faults = parse_all("features", &list).unwrap_err();
        let places: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(places, ["features[1]", "features[2]", "features[3]"]);
        assert!(parse_all("features", &[]).is_err());
    }

    #[test]
    fn features_are_computed_at_the_samples_and_read_off_in_time() {
        let track = Track {
            start: 0.0,
            elapsed: vec![0.0, 10.0, 40.0],
            heart_time: vec![0.0, 10.0, 40.0],
            heart_rate: vec![100.0; 3],
            speed: Some(vec![2.0, 4.0, 4.0]),
            altitude: Some(vec![50.0, 50.0, 50.0]),
            gender: Gender::Female,
        };
        let signals = Signals::new(&track, 30.0);
        let sample = |text: &str| signals.sample(&text.parse().unwrap(), &[0.0, 5.0, 40.0]).unwrap();
        assert_eq!(sample("speed"), [2.0, 3.0, 4.0]);
        assert_eq!(sample("power"), [7.2, 10.8, 14.4]);
        assert_eq!(sample("altitude_gain"), [0.0; 3]);
        assert_eq!(sample("elapsed^2"), [0.0, 25.0, 1600.0]);
        assert_eq!([sample("gender_male"), sample("gender_female")], [[0.0; 3], [1.0; 3]]);
        let at_10 = 4.0 - 2.0 * (-10.0f64 / 60.0).exp();
        let at_40 = 4.0 - 2.0 * (-40.0f64 / 60.0).exp();
        let ema = sample("ema(speed, 60)");
        for (found, expected) in ema.iter().zip([2.0, (2.0 + at_10) / 2.0, at_40]) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        let flat = Track { altitude: None, ..track.clone() };
        assert_eq!(Signals::new(&flat, 30.0).signal(Signal::Power).unwrap_err(), "altitude");
    }
}
