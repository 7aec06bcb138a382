//! One workout as it stands on the page: facts, findings and charts, in words for people. Unaware of HTML.

use crate::kinds::inspect::chosen::Why;
use crate::kinds::inspect::figures::Figures;
use crate::kinds::inspect::panel::Shade;
use crate::kinds::inspect::panels::{self, About, Chart, Remark};
use crate::kinds::inspect::traces::Traces;
use crate::kinds::inspect::words::{self, clock, decimal};
use crate::quality::{Finding, FindingKind, Quality, finding};
use crate::workouts::{Origin, Workout};

/// All that is shown of a workout.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// The source's number.
    pub id: i64,
    /// Why it is shown.
    pub why: Why,
    /// Whether a simulator made it.
    pub synthetic: bool,
    /// The sport in the source's word.
    pub sport: String,
    /// The source's format.
    pub source: String,
    /// What recorded it.
    pub device: Option<String>,
    /// The start in unix seconds.
    pub start: Option<f64>,
    /// The start in words, in its own zone.
    pub when: String,
    /// What is known of the recording.
    pub quality: Quality,
    /// The quality score.
    pub score: f64,
    /// Figures of the whole workout.
    pub figures: Figures,
    /// Facts by name, in the order they are read.
    pub facts: Vec<(&'static str, String)>,
    /// What was found, in order of time.
    pub remarks: Vec<Remark>,
    /// Charts by name; none where no sample has a time.
    pub charts: Vec<(&'static str, Chart)>,
    /// The last minute of every chart.
    pub end: f64,
}

impl Sheet {
    /// Puts together what is shown.
    pub fn of(why: Why, workout: &Workout) -> Self {
        let quality = Quality::of(workout);
        let traces = Traces::of(workout);
        let figures = traces.as_ref().map(Figures::of).unwrap_or_default();
        let start = traces.as_ref().map(|traces| traces.start);
        let shift = start.zip(quality.start).map_or(0.0, |(start, counted)| counted - start);
        let remarks: Vec<Remark> = quality.findings.iter().map(|finding| remark(finding, shift)).collect();
        let charts = traces.as_ref().map(|traces| panels::charts(traces, &remarks).to_vec()).unwrap_or_default();
        Self {
            id: workout.id,
            why,
            synthetic: workout.synthetic,
            sport: workout.sport.clone(),
            source: workout.source.clone(),
            device: workout.device.clone(),
            start,
            when: when(start, workout.time_zone.as_deref()),
            score: quality.score(),
            figures,
            facts: facts(workout, &quality, &figures, traces.as_ref()),
            remarks,
            charts,
            end: traces.map_or(0.0, |traces| traces.end),
            quality,
        }
    }

    /// All findings in one line.
    pub fn findings(&self) -> String {
        let words = finding::words(&self.quality.findings);
        if words.is_empty() { "no finding".to_owned() } else { words }
    }
}

fn when(start: Option<f64>, zone: Option<&str>) -> String {
    let moment = start.and_then(|start| words::moment(start, zone));
    moment.map_or_else(|| "no time known".to_owned(), |moment| words::date_and_time(&moment))
}

/// A finding as it is shown; `shift` are the seconds from the charts' start to that which findings count from.
fn remark(finding: &Finding, shift: f64) -> Remark {
    Remark {
        name: finding.kind.words().to_owned(),
        minutes: [finding.from, finding.to].map(|time| (time + shift) / 60.0),
        detail: finding.detail.clone(),
        about: match finding.kind {
            FindingKind::PositionGap | FindingKind::PositionJump => About::Speed,
            _ => About::Heart,
        },
        shade: match finding.kind {
            FindingKind::Gap => Shade::Gap,
            FindingKind::PositionGap => Shade::PositionGap,
            _ => Shade::Finding,
        },
    }
}

fn facts(
    workout: &Workout,
    quality: &Quality,
    figures: &Figures,
    traces: Option<&Traces>,
) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Number", workout.id.to_string())];
    facts.push(("Start", start(traces, workout.time_zone.as_deref())));
    let unknown = || "not said".to_owned();
    facts.push(("Source", if workout.source.is_empty() { unknown() } else { workout.source.clone() }));
    facts.push(("Device", workout.device.clone().unwrap_or_else(unknown)));
    let place = match workout.indoor {
        Some(true) => ", indoors",
        Some(false) => ", outdoors",
        None => "",
    };
    facts.push(("Sport", format!("{}{place}", workout.sport)));
    let or_none = |figure: Option<String>| figure.unwrap_or_else(|| "–".to_owned());
    let times = [quality.duration_s, quality.moving_s].map(|seconds| or_none(seconds.map(clock)));
    facts.push(("Duration / moving time", times.join(" / ")));
    facts.push(("Distance", or_none(figures.distance.map(|metres| format!("{} km", decimal(metres / 1000.0, 2))))));
    let beats = |rate: Option<f64>| or_none(rate.map(|rate| decimal(rate, 0)));
    let heart = format!("{} / {} BPM", beats(figures.heart_mean), beats(figures.heart_max));
    facts.push(("Heart rate, mean / max", heart));
    facts.push(("Heart rate samples", or_none(density(quality))));
    facts.push(("Speed", origin(workout.speed_source, workout.speed.is_some())));
    facts.push(("Altitude", origin(workout.altitude_source, workout.altitude.is_some())));
    if let Some(strays) = traces.map(|traces| traces.strays).filter(|strays| *strays > 0) {
        let strays = words::plural(strays, "sample", "samples");
        facts.push(("Not drawn", format!("{strays} a day or more away from the others")));
    }
    facts
}

/// `12.0 / min, good`, and how many of them are averages.
fn density(quality: &Quality) -> Option<String> {
    let tier = quality.tier?.name();
    let averages = quality.average_share.filter(|share| *share > 0.0);
    let averages = averages.map_or_else(String::new, |share| format!("; {} % are averages", decimal(100.0 * share, 0)));
    Some(format!("{} / min, {tier}{averages}", decimal(quality.density?, 1)))
}

/// Local time with its zone, and UTC.
fn start(traces: Option<&Traces>, zone: Option<&str>) -> String {
    let unknown = || "no time known".to_owned();
    let Some(start) = traces.map(|traces| traces.start) else { return unknown() };
    let Some(utc) = words::moment(start, None) else { return unknown() };
    let Some((zone, place)) = zone.and_then(|zone| Some((zone, words::place(zone)?))) else {
        return format!("{}, zone not known", utc.strftime("%Y-%m-%d %H:%M:%S UTC"));
    };
    let local = utc.with_time_zone(place);
    let day = if local.date() == utc.date() { "" } else { "%Y-%m-%d " };
    let utc = utc.strftime(&format!("{day}%H:%M:%S UTC")).to_string();
    format!("{} in {zone} ({utc})", local.strftime("%Y-%m-%d %H:%M:%S"))
}

fn origin(origin: Origin, is_there: bool) -> String {
    let words = match origin {
        Origin::Recorded => "recorded by the device",
        Origin::Positions => "from positions",
        Origin::Distance => "from distance",
        Origin::Missing if is_there => "origin not said",
        Origin::Missing => "missing",
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_told_in_its_zone_and_in_utc() {
        let at = |start: f64, zone| {
            let traces = Traces { start, ..Traces::default() };
            super::start(Some(&traces), zone)
        };
        let paris = Some("Europe/Paris");
        assert_eq!(at(1_763_890_645.0, paris), "2025-11-23 10:37:25 in Europe/Paris (09:37:25 UTC)");
        let midnight = at(1_763_940_600.0, paris);
        assert_eq!(midnight, "2025-11-24 00:30:00 in Europe/Paris (2025-11-23 23:30:00 UTC)");
        assert_eq!(at(1_763_890_645.0, Some("Atlantis")), "2025-11-23 09:37:25 UTC, zone not known");
        assert_eq!(super::start(None, paris), "no time known");
    }

    #[test]
    fn findings_are_moved_to_where_the_charts_begin() {
        let detail = "no heart rate for 60 s".to_owned();
        let remark = remark(&Finding { kind: FindingKind::Gap, from: 120.0, to: 180.0, detail }, -60.0);
        assert_eq!((remark.minutes, remark.about, remark.shade), ([1.0, 2.0], About::Heart, Shade::Gap));
    }

    #[test]
    fn a_workout_of_nothing_still_has_a_sheet() {
        let sheet = Sheet::of(Why::Number, &Workout { id: 5, ..Workout::default() });
        assert_eq!((sheet.when.as_str(), sheet.charts.len(), sheet.score), ("no time known", 0, 0.0));
        assert!(sheet.facts.contains(&("Source", "not said".to_owned())), "{:?}", sheet.facts);
    }
}
