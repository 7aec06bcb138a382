//! The three charts of a workout: heart rate, speed, altitude with its grade. Unaware of how they are drawn.

use crate::kinds::inspect::panel::{Band, Layer, Mark, Note, Panel, Shade, Tone};
use crate::kinds::inspect::traces::{Agreement, GRADE_WINDOW, SPEED_WINDOW, Traces};
use crate::kinds::inspect::words::{capital, clock, count, decimal, plural};
use crate::scale::Point;

/// Something found in a workout, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Remark {
    /// The sort of finding, in few words.
    pub name: String,
    /// From and to in minutes since the start.
    pub minutes: [f64; 2],
    /// What exactly was found.
    pub detail: String,
    /// The chart that it is shaded in.
    pub about: About,
    /// How it is shaded; a gap is shaded in every chart.
    pub shade: Shade,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// Heart rate.
    Heart,
    /// Speed or positions.
    Speed,
}

/// A chart, or why there is none.
#[derive(Clone, Debug)]
pub enum Chart {
    /// Panels one below the other.
    Drawn(Vec<Panel>),
    /// A sentence in its place.
    Missing(String),
}

/// The charts of a workout with their names, from top to bottom.
pub fn charts(traces: &Traces, remarks: &[Remark]) -> [(&'static str, Chart); 3] {
    [
        ("Heart rate", heart(traces, remarks)),
        ("Speed", speed(traces, remarks)),
        ("Altitude and grade", altitude(traces, remarks)),
    ]
}

fn heart(traces: &Traces, remarks: &[Remark]) -> Chart {
    if traces.heart.is_empty() {
        return Chart::Missing("There is no heart rate in this workout.".to_owned());
    }
    let lines = traces.unbroken(&traces.heart);
    let instants = traces.instants.len();
    let mut layers = vec![layer(Tone::Heart, Mark::Line, lines, "")];
    if !traces.spans.is_empty() {
        let spans = traces.spans.iter().map(|span| span.to_vec()).collect();
        let legend = plural(traces.spans.len(), "average over a time", "averages over a time");
        layers.push(layer(Tone::Heart, Mark::Strokes, spans, &legend));
    }
    if instants > 0 {
        layers.push(layer(
            Tone::Heart,
            Mark::Dots,
            vec![traces.instants.clone()],
            &plural(instants, "sample", "samples"),
        ));
    }
    let mean = mean(&traces.heart);
    let samples = plural(traces.heart.len(), "sample", "samples");
    let description = format!("{samples} {}.", spread(&traces.heart, 0, "BPM"));
    let notes = vec![Note::Level(mean, format!("mean {}", decimal(mean, 0)))];
    let panel = Panel { name: "Heart rate".to_owned(), unit: "BPM", layers, notes, height: 230.0, ..Panel::default() };
    Chart::Drawn(vec![finished(panel, description, traces, remarks, Some(About::Heart))])
}

fn speed(traces: &Traces, remarks: &[Remark]) -> Chart {
    let (has_positions, has_device) = (!traces.positions.is_empty(), !traces.device.is_empty());
    let mut layers = Vec::new();
    let mut sentences = Vec::new();
    if has_positions {
        let alone = if has_device { "" } else { "; the device recorded none" };
        let legend = format!("from positions ({SPEED_WINDOW} s window){alone}");
        layers.push(layer(Tone::Positions, Mark::Line, traces.unbroken(&traces.positions), &legend));
        sentences.push(format!("From positions: {}{alone}.", spread(&traces.positions, 2, "m/s")));
    }
    if has_device {
        let alone = if has_positions { "" } else { "; no positions to compare it with" };
        let legend = traces.agreement.map_or_else(|| format!("device{alone}"), |agreement| agrees(&agreement));
        // Alone it needs no other line to be told from.
        let mark = if has_positions { Mark::Dashes } else { Mark::Line };
        layers.push(layer(Tone::Device, mark, traces.unbroken(&traces.device), &legend));
        sentences.push(format!("By the device: {}{alone}.", spread(&traces.device, 2, "m/s")));
    }
    if layers.is_empty() {
        return Chart::Missing("There is no speed in this workout, and no positions to derive one from.".to_owned());
    }
    let notes = vec![Note::Pace];
    let panel = Panel { name: "Speed".to_owned(), unit: "m/s", layers, notes, height: 170.0, ..Panel::default() };
    Chart::Drawn(vec![finished(panel, sentences.join(" "), traces, remarks, Some(About::Speed))])
}

fn agrees(agreement: &Agreement) -> String {
    let sign = if agreement.difference >= 0.005 { "+" } else { "" };
    let r = agreement.r.map_or_else(|| "no r".to_owned(), |r| format!("r {}", decimal(r, 2)));
    format!("device: {r}, median difference {sign}{} m/s", decimal(agreement.difference, 2))
}

fn altitude(traces: &Traces, remarks: &[Remark]) -> Chart {
    if traces.altitude.is_empty() {
        return Chart::Missing("There is no altitude in this workout, and so no grade.".to_owned());
    }
    let name = "Altitude".to_owned();
    let layers = vec![layer(Tone::Altitude, Mark::Area, traces.unbroken(&traces.altitude), "")];
    let description = format!("{}.", capital(&spread(&traces.altitude, 0, "m")));
    let panel = Panel { name, unit: "m", layers, height: 110.0, ..Panel::default() };
    let mut panels = vec![finished(panel, description, traces, remarks, None)];
    let legend = format!("slope over {GRADE_WINDOW} s");
    let layers = vec![layer(Tone::Grade, Mark::Area, traces.unbroken(&traces.grade), &legend)];
    if !traces.grade.is_empty() {
        let description = format!("{}.", capital(&spread(&traces.grade, 1, "per cent")));
        let panel = Panel { name: "Grade".to_owned(), unit: "%", layers, height: 80.0, ..Panel::default() };
        panels.push(finished(panel, description, traces, remarks, None));
    }
    Chart::Drawn(panels)
}

fn layer(tone: Tone, mark: Mark, lines: Vec<Vec<Point>>, legend: &str) -> Layer {
    Layer { tone, mark, lines, legend: legend.to_owned() }
}

/// Adds what is shaded, and says it in the description.
fn finished(panel: Panel, seen: String, traces: &Traces, remarks: &[Remark], about: Option<About>) -> Panel {
    let pause = |minutes: &[f64; 2]| band(*minutes, Shade::Pause, String::new(), String::new());
    let mut bands: Vec<Band> = traces.pauses.iter().map(pause).collect();
    let mut sentences = vec![format!("{} over {}.", panel.name, clock(60.0 * traces.end)), seen];
    if !bands.is_empty() {
        sentences.push(format!("{}.", plural(bands.len(), "pause", "pauses")));
    }
    for (place, remark) in remarks.iter().enumerate() {
        let number = count(place + 1);
        if Some(remark.about) == about {
            sentences.push(format!("Finding {number}, {}: {}.", span(remark.minutes), remark.name));
            bands.push(band(remark.minutes, remark.shade, format!("{number} {}", remark.name), number));
        } else if remark.shade.is_gap() {
            bands.push(band(remark.minutes, remark.shade, String::new(), String::new()));
        }
    }
    Panel { bands, description: sentences.join(" "), ..panel }
}

fn band(minutes: [f64; 2], shade: Shade, label: String, short: String) -> Band {
    Band { minutes, shade, label, short }
}

/// `12:05–13:10`, or one time where the two are the same.
pub fn span(minutes: [f64; 2]) -> String {
    let [from, to] = minutes.map(|minute| clock(60.0 * minute));
    if from == to { from } else { format!("{from}–{to}") }
}

fn mean(points: &[Point]) -> f64 {
    points.iter().map(|point| point[1]).sum::<f64>() / points.len() as f64
}

/// `from 92 to 176 BPM, 150 on average`.
fn spread(points: &[Point], decimals: usize, unit: &str) -> String {
    let least = points.iter().map(|point| point[1]).fold(f64::INFINITY, f64::min);
    let most = points.iter().map(|point| point[1]).fold(f64::NEG_INFINITY, f64::max);
    let [least, most, mean] = [least, most, mean(points)].map(|value| decimal(value, decimals));
    format!("from {least} to {most} {unit}, {mean} on average")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workouts::Workout;

    fn drawn(chart: &Chart) -> &[Panel] {
        match chart {
            Chart::Drawn(panels) => panels,
            Chart::Missing(why) => panic!("{why}"),
        }
    }

    fn run() -> Workout {
        Workout {
            time: Some((0..600).map(|i| 1.6e9 + f64::from(i)).collect()),
            heart_rate: Some((0..600).map(|i| 120.0 + (i % 60) as f32).collect()),
            speed: Some((0..600).map(|i| 3.0 + (i % 7) as f32 / 10.0).collect()),
            altitude: Some(vec![100.0; 600]),
            ..Workout::default()
        }
    }

    #[test]
    fn a_series_that_is_missing_is_a_sentence_and_no_chart() {
        let nothing = Workout { time: run().time, ..Workout::default() };
        for (name, chart) in charts(&Traces::of(&nothing).unwrap(), &[]) {
            let Chart::Missing(why) = chart else { panic!("{name} was drawn") };
            assert!(why.starts_with("There is no "), "{why}");
        }
        let still = Workout { speed: None, ..run() };
        let [(_, heart), (_, speed), (_, altitude)] = charts(&Traces::of(&still).unwrap(), &[]);
        assert!(matches!(speed, Chart::Missing(_)));
        assert_eq!((drawn(&heart).len(), drawn(&altitude).len()), (1, 1), "without speed there is no grade");
    }

    #[test]
    fn findings_are_shaded_in_the_chart_that_they_are_about_under_their_number() {
        let remark = |about, minutes, shade| {
            let (name, detail) = ("odd".to_owned(), String::new());
            Remark { name, minutes, detail, about, shade }
        };
        let remarks = [
            remark(About::Heart, [1.0, 2.0], Shade::Finding),
            remark(About::Heart, [2.0, 2.5], Shade::Gap),
            remark(About::Speed, [3.0, 3.5], Shade::Finding),
        ];
        let [(_, heart), (_, speed), _] = charts(&Traces::of(&run()).unwrap(), &remarks);
        let bands: Vec<_> = drawn(&heart)[0].bands.iter().map(|band| (band.shade, band.label.as_str())).collect();
        assert_eq!(bands, [(Shade::Finding, "1 odd"), (Shade::Gap, "2 odd")]);
        let bands: Vec<_> = drawn(&speed)[0].bands.iter().map(|band| (band.shade, band.label.as_str())).collect();
        assert_eq!(bands, [(Shade::Gap, ""), (Shade::Finding, "3 odd")], "a gap is shaded everywhere, named once");
        assert_eq!(
            drawn(&speed)[0].description,
            "Speed over 9:59. By the device: from 3.00 to 3.60 m/s, 3.30 on average; no positions to compare it \
             with. Finding 3, 3:00–3:30: odd."
        );
    }

    #[test]
    fn averages_are_strokes_and_instants_dots() {
        let mixed = Workout {
            heart_rate: Some(vec![120.0, 130.0, 140.0]),
            heart_rate_time: Some(vec![1.6e9 + 30.0, 1.6e9 + 100.0, 1.6e9 + 200.0]),
            heart_rate_span: Some(vec![60.0, 0.0, 60.0]),
            ..run()
        };
        let [(_, heart), ..] = charts(&Traces::of(&mixed).unwrap(), &[]);
        let layers = &drawn(&heart)[0].layers;
        let named: Vec<(Mark, &str)> = layers.iter().map(|layer| (layer.mark, layer.legend.as_str())).collect();
        let expected = [(Mark::Line, ""), (Mark::Strokes, "2 averages over a time"), (Mark::Dots, "1 sample")];
        assert_eq!(named, expected);
        assert_eq!(layers[2].lines, [[[100.0 / 60.0, 130.0]]]);
    }
}
