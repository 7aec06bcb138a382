//! What an Apple Health export shall hold: parameters, and what is wrong with them. Unaware of how it is made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::simulate::apple::clock::offset;
use crate::stage::ParameterFault;

/// One runner's years as a phone exports them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppleView {
    /// Number of runs, each recorded by the watch.
    pub runs: u64,
    /// Calendar year that the history begins with.
    pub first_year: i16,
    /// Calendar years that it covers.
    pub years: u16,
    /// Heart rates a minute during workouts in the first and in the last year; in between they grow by one factor
    /// from year to year. What is sparser than 7 a minute is condensed: each value is the average over a span.
    pub density: [f64; 2],
    /// Share of workouts that are walks or rides.
    pub other_workouts: f64,
    /// Share of runs that a second app recorded too, a few seconds off and with fewer heart rates.
    pub duplicates: f64,
    /// Share of runs with pauses.
    pub pauses: f64,
    /// Share of runs indoors, without a route.
    pub indoor: f64,
    /// Share of runs in which the optical sensor counts steps for minutes, 165 to 185 a minute.
    pub cadence_lock: f64,
    /// Units of distances, energies and heights.
    pub units: Units,
    /// Share of days with heart rates outside workouts, some 64 a day.
    pub resting_days: f64,
    /// Offset from UTC that all dates of `export.xml` are written with, whatever the season, as `+0100`.
    pub offset_at_export: String,
}

/// Units of an export, which follow the phone's region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Units {
    /// km, kcal, cm, degC.
    #[default]
    Metric,
    /// mi, Cal, ft, degF.
    Imperial,
}

impl Default for AppleView {
    fn default() -> Self {
        Self {
            runs: 285,
            first_year: 2019,
            years: 7,
            density: [0.7, 12.0],
            other_workouts: 0.15,
            duplicates: 0.06,
            pauses: 0.2,
            indoor: 0.05,
            cadence_lock: 0.03,
            units: Units::Metric,
            resting_days: 1.0,
            offset_at_export: "+0100".to_owned(),
        }
    }
}

/// Workouts on a day at most, on average: each has a day of its own, and the runner rests at times.
const MOST_A_DAY: f64 = 0.8;
/// Bytes of text, before it is compressed, that an export may have.
const MOST_BYTES: f64 = 8e9;
/// Usual length of a workout in minutes, and bytes of a point of a route and of a record.
const USUAL: (f64, f64, f64) = (66.0, 200.0, 430.0);

impl AppleView {
    /// Workouts of all sports.
    pub fn workouts(&self) -> u64 {
        (self.runs as f64 / (1.0 - self.other_workouts)).round() as u64
    }

    /// Heart rates a minute in a calendar year.
    pub fn density_in(&self, year: i16) -> f64 {
        let [first, last] = self.density;
        let steps = f64::from(self.years.max(2) - 1);
        first * (last / first).powf(f64::from(year - self.first_year) / steps)
    }

    /// What cannot be, each fault with its path below `apple`.
    pub fn faults(&self) -> Vec<ParameterFault> {
        let mut faults = self.faults_of_each();
        if faults.is_empty() {
            faults.extend(self.faults_of_size());
        }
        faults
    }

    fn faults_of_each(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        let mut demand = |holds: bool, name: &str, message: &str| {
            if !holds {
                faults.push(ParameterFault::new(format!("apple.{name}"), message));
            }
        };
        demand((1..=20_000).contains(&self.runs), "runs", "must lie between 1 and 20000");
        demand((1971..=2150).contains(&self.first_year), "first_year", "must lie between 1971 and 2150");
        demand((1..=40).contains(&self.years), "years", "must lie between 1 and 40");
        let possible = self.density.iter().all(|density| (0.1..=60.0).contains(density));
        demand(possible, "density", "must hold two numbers from 0.1 to 60 a minute");
        demand(
            !possible || self.density[0] <= self.density[1],
            "density",
            "must not fall from the first to the last year",
        );
        demand((0.0..=0.9).contains(&self.other_workouts), "other_workouts", "must lie between 0 and 0.9");
        let shares = [
            ("duplicates", self.duplicates),
            ("pauses", self.pauses),
            ("indoor", self.indoor),
            ("cadence_lock", self.cadence_lock),
            ("resting_days", self.resting_days),
        ];
        for (name, share) in shares {
            demand((0.0..=1.0).contains(&share), name, "must lie between 0 and 1");
        }
        let known = offset(&self.offset_at_export).is_some();
        demand(known, "offset_at_export", "must be an offset such as `+0100`, at most 14 hours");
        faults
    }

    fn faults_of_size(&self) -> Option<ParameterFault> {
        let (days, workouts) = (365.0 * f64::from(self.years), self.workouts() as f64);
        if workouts > MOST_A_DAY * days {
            let most = (MOST_A_DAY * days * (1.0 - self.other_workouts)) as u64;
            let message = format!("must be at most {most}: each workout has a day of its own, four days of five");
            return Some(ParameterFault::new("apple.runs", message));
        }
        let bytes = self.estimated_bytes();
        let message =
            || format!("would be some {:.0} GB of text, at most 8: ask for fewer runs or samples", bytes / 1e9);
        (bytes > MOST_BYTES).then(|| ParameterFault::new("apple", message()))
    }

    /// Bytes of text of all files, about.
    fn estimated_bytes(&self) -> f64 {
        let (minutes, point, record) = USUAL;
        let years = (0..self.years as i16).map(|year| self.density_in(self.first_year + year));
        let density = years.sum::<f64>() / f64::from(self.years);
        let resting = 365.0 * f64::from(self.years) * (70.0 * self.resting_days + 5.0) * record;
        self.workouts() as f64 * minutes * (60.0 * point + (density + 3.0) * record) + resting
    }
}

#[cfg(test)]
mod tests {
    use super::AppleView;

    fn paths(view: &AppleView) -> Vec<String> {
        view.faults().into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn defaults_hold_and_nonsense_is_told_part_by_part() {
        assert_eq!(paths(&AppleView::default()), Vec::<String>::new());
        let wrong = AppleView {
            runs: 0,
            first_year: 1800,
            years: 0,
            density: [f64::NAN, 12.0],
            other_workouts: 1.0,
            duplicates: -0.1,
            resting_days: f64::INFINITY,
            offset_at_export: "Paris".into(),
            ..AppleView::default()
        };
        let names = [
            "runs",
            "first_year",
            "years",
            "density",
            "other_workouts",
            "duplicates",
            "resting_days",
            "offset_at_export",
        ];
        assert_eq!(paths(&wrong), names.map(|name| format!("apple.{name}")));
        assert_eq!(paths(&AppleView { density: [12.0, 0.7], ..AppleView::default() }), ["apple.density"]);
    }

    #[test]
    fn what_would_not_fit_into_the_calendar_or_on_a_disk_is_refused() {
        let crowded = AppleView { runs: 300, years: 1, ..AppleView::default() };
        assert_eq!(
            crowded.faults()[0].message,
            "must be at most 248: each workout has a day of its own, four days of five"
        );
        let huge = AppleView { runs: 9000, years: 40, density: [60.0, 60.0], ..AppleView::default() };
        assert_eq!(paths(&huge), ["apple"]);
    }

    #[test]
    fn density_grows_by_one_factor_from_year_to_year() {
        let view = AppleView::default();
        let years: Vec<f64> = (2019..2026).map(|year| view.density_in(year)).collect();
        assert!((years[0] - 0.7).abs() < 1e-9 && (years[6] - 12.0).abs() < 1e-9, "{years:?}");
        let factors: Vec<f64> = years.windows(2).map(|pair| pair[1] / pair[0]).collect();
        assert!(factors.iter().all(|factor| (factor - factors[0]).abs() < 1e-9), "{factors:?}");
        assert_eq!(AppleView { years: 1, ..view }.density_in(2019), 0.7);
    }
}
