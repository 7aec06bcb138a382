//! Charts as SVG: panels over one axis of minutes, each with lines, samples, shaded stretches and a legend.
//! Unaware of workouts.
//!
//! A chart is drawn twice: wide, and narrow for a phone, where text of the wide one would be too small to read. The
//! style sheet shows one of them. Nothing is referred to by `url(#…)`, so that hiding one cannot blank the other.

use std::fmt::Write as _;

use crate::kinds::inspect::labels::{self, LETTER, Label};
use crate::kinds::inspect::panel::{Band, Layer, Layout, Mark, Note, Panel, Shade, Tone};
use crate::kinds::inspect::scale::{self, Point, Scale};
use crate::kinds::inspect::words;

/// Size of the letters of titles.
const TITLE: f64 = 14.0;

/// Size of the letters of legends.
const LEGEND: f64 = 12.0;

/// Height of a line of the legend.
const ROW: f64 = 18.0;

/// Room around the charts of a picture.
const MARGIN: f64 = 16.0;

/// Panels one below the other as one SVG element; `id` is that of no other element of the page.
pub fn svg(panels: &[Panel], end: f64, layout: Layout, id: &str) -> String {
    let (body, height) = stacked(panels, end, layout, 0.0);
    let names: Vec<&str> = panels.iter().map(|panel| panel.name.as_str()).collect();
    let head = format!(
        "<svg class=\"chart {}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">",
        layout.class(),
        layout.width(),
        px(height),
    );
    format!("{head}{}\n{body}</svg>\n", told(&names.join(" and "), panels, id))
}

/// Panels one below the other as an SVG file, under some lines of text of which the first is its title.
pub fn alone(panels: &[Panel], end: f64, lines: &[String], style: &str) -> String {
    let first = 18.0;
    let mut text = String::new();
    for (place, line) in lines.iter().enumerate() {
        let class = if place == 0 { "name" } else { "legend" };
        let y = px(first + ROW * place as f64);
        push(&mut text, format_args!("<text class=\"{class}\" x=\"0\" y=\"{y}\">{}</text>", words::escape(line)));
    }
    let (body, bottom) = stacked(panels, end, Layout::Wide, first + ROW * lines.len() as f64);
    let [width, height] = [Layout::Wide.width() + 2.0 * MARGIN, bottom + 2.0 * MARGIN].map(px);
    let title = lines.first().map_or("", String::as_str);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"p-t p-d\">{}\n<style>\n{style}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <g transform=\"translate({MARGIN},{MARGIN})\">\n{text}{body}</g>\n</svg>\n",
        told(title, panels, "p"),
    )
}

/// Title and description for those who cannot see.
fn told(title: &str, panels: &[Panel], id: &str) -> String {
    let descriptions: Vec<&str> = panels.iter().map(|panel| panel.description.as_str()).collect();
    let (title, described) = (words::escape(title), words::escape(&descriptions.join(" ")));
    format!("<title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{described}</desc>")
}

/// Draws panels one below the other, then what the axis means, and gives their bottom.
fn stacked(panels: &[Panel], end: f64, layout: Layout, top: f64) -> (String, f64) {
    let mut body = String::new();
    let mut y = top;
    for panel in panels {
        y = draw(&mut body, panel, end, layout, y) + 6.0;
    }
    let [left, right] = layout.plot();
    let (middle, foot) = (px((left + right) / 2.0), px(y + 6.0));
    if !panels.is_empty() {
        let text = "minutes since the start";
        push(
            &mut body,
            format_args!("<text class=\"tick\" x=\"{middle}\" y=\"{foot}\" text-anchor=\"middle\">{text}</text>"),
        );
    }
    (body, y + 12.0)
}

/// Draws one panel below `top` and gives its bottom.
fn draw(body: &mut String, panel: &Panel, end: f64, layout: Layout, top: f64) -> f64 {
    let [left, right] = layout.plot();
    let across = Scale::new([0.0, end.max(1e-9)], [left, right]);
    let values: Vec<f64> = panel.layers.iter().flat_map(|layer| layer.lines.iter().flatten()).map(|p| p[1]).collect();
    let about = (panel.height / 34.0).round().max(2.0) as usize;
    let range = scale::widened(scale::bulk(&values).unwrap_or([0.0, 1.0]), about);
    let entries = legend(panel, &values, range);
    let head = draw_head(body, panel, &entries, layout, top);
    let (labels, lanes) = labels::placed(&panel.bands, across, [left, right]);
    let plot_top = head + labels::LANE * lanes as f64 + 4.0;
    let bottom = plot_top + panel.height;
    let up = Scale::new(range, [bottom, plot_top]);
    let plot = Plot { across, up, layout, ends: [plot_top, bottom] };
    panel.bands.iter().for_each(|band| plot.band(body, band));
    plot.grid(body, about, panel.notes.contains(&Note::Pace));
    panel.layers.iter().for_each(|layer| plot.layer(body, layer));
    panel.notes.iter().for_each(|note| plot.note(body, note));
    labels.iter().for_each(|label| draw_label(body, label, plot_top));
    bottom + 18.0
}

/// An entry of the legend: a sample of what it names, and the name.
struct Entry {
    sample: Sample,
    name: String,
}

/// What a legend shows before a name.
enum Sample {
    Series(Tone, Mark),
    Shade(Shade),
    Above(Tone),
}

impl Entry {
    fn width(&self) -> f64 {
        34.0 + LETTER * LEGEND * self.name.chars().count() as f64 + 8.0
    }
}

/// The legend: series, values off the scale, kinds of shading.
fn legend(panel: &Panel, values: &[f64], [low, high]: [f64; 2]) -> Vec<Entry> {
    let named = panel.layers.iter().filter(|layer| !layer.legend.is_empty());
    let series =
        named.map(|layer| Entry { sample: Sample::Series(layer.tone, layer.mark), name: layer.legend.clone() });
    let mut entries: Vec<Entry> = series.collect();
    let off = values.iter().filter(|value| **value < low || **value > high).count();
    if let Some(layer) = panel.layers.first().filter(|_| off > 0) {
        let least = values.iter().copied().fold(low, f64::min);
        let most = values.iter().copied().fold(high, f64::max);
        let ends = [(least < low, least), (most > high, most)].into_iter().filter(|(beyond, _)| *beyond);
        let ends: Vec<String> =
            ends.map(|(_, value)| words::decimal(value, usize::from(value.abs() < 100.0))).collect();
        let name = format!("{} off the scale: {}", words::count(off), ends.join(" and "));
        entries.push(Entry { sample: Sample::Above(layer.tone), name });
    }
    for (shade, one, many) in [
        (Shade::Pause, "pause", "pauses"),
        (Shade::Gap, "gap in heart rate", "gaps in heart rate"),
        (Shade::Finding, "finding", "findings"),
    ] {
        let n = panel.bands.iter().filter(|band| band.shade == shade).count();
        if n > 0 {
            entries.push(Entry { sample: Sample::Shade(shade), name: words::plural(n, one, many) });
        }
    }
    entries
}

/// Writes title and legend below `top` and gives where they end.
fn draw_head(body: &mut String, panel: &Panel, entries: &[Entry], layout: Layout, top: f64) -> f64 {
    let mut y = top + TITLE + 2.0;
    let title = format!("{} ({})", panel.name, panel.unit);
    push(
        body,
        format_args!(
            "<text class=\"name\" x=\"0\" y=\"{}\">{}<tspan class=\"unit\"> {}</tspan></text>",
            px(y),
            words::escape(&panel.name),
            words::escape(panel.unit)
        ),
    );
    let mut x = 0.62 * TITLE * title.chars().count() as f64 + 14.0;
    for entry in entries {
        if x + entry.width() > layout.width() && x > 0.0 {
            x = 0.0;
            y += ROW;
        }
        draw_sample(body, &entry.sample, x, y - 4.0);
        let name = words::escape(&entry.name);
        push(body, format_args!("<text class=\"legend\" x=\"{}\" y=\"{}\">{name}</text>", px(x + 30.0), px(y)));
        x += entry.width();
    }
    y + 6.0
}

fn draw_sample(body: &mut String, sample: &Sample, x: f64, y: f64) {
    let (from, to, middle, y) = (px(x + 2.0), px(x + 25.0), px(x + 13.5), px(y));
    match sample {
        Sample::Series(tone, Mark::Dots) => {
            push(
                body,
                format_args!("<path class=\"dots {}\" stroke-width=\"5\" d=\"M{middle},{y}h0\"/>", tone.class()),
            );
        }
        Sample::Series(tone, mark) => {
            push(body, format_args!("<path class=\"{} {}\" d=\"M{from},{y}H{to}\"/>", mark_class(*mark), tone.class()));
        }
        Sample::Shade(shade) => {
            let top = px(y.parse::<f64>().unwrap_or_default() - 6.0);
            push(
                body,
                format_args!("<rect class=\"{}\" x=\"{from}\" y=\"{top}\" width=\"23\" height=\"12\"/>", shade.class()),
            );
        }
        Sample::Above(tone) => {
            push(body, format_args!("<path class=\"off {}\" d=\"M{middle},{y}m-5,4h10l-5,-9z\"/>", tone.class()));
        }
    }
}

const fn mark_class(mark: Mark) -> &'static str {
    match mark {
        Mark::Line | Mark::Area => "line",
        Mark::Dashes => "line dashes",
        Mark::Dots => "dots",
        Mark::Strokes => "strokes",
    }
}

/// Where a panel's values lie.
struct Plot {
    across: Scale,
    up: Scale,
    layout: Layout,
    /// Top and bottom.
    ends: [f64; 2],
}

impl Plot {
    fn band(&self, body: &mut String, band: &Band) {
        let [from, to] = band.minutes.map(|minute| self.across.at(minute));
        let width = (to - from).max(2.0);
        let [top, bottom] = self.ends;
        let (class, x, y) = (band.shade.class(), px(from), px(top));
        let (width, height) = (px(width), px(bottom - top));
        push(body, format_args!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"));
        if band.shade == Shade::Finding {
            push(body, format_args!("<rect class=\"edge\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"3\"/>"));
        }
    }

    fn grid(&self, body: &mut String, about: usize, with_pace: bool) {
        let ([left, right], [top, bottom]) = (self.layout.plot(), self.ends);
        let ticks = scale::ticks(self.up.range(), about);
        let decimals = scale::decimals(&ticks);
        let mut lines = String::new();
        let mut texts = String::new();
        for tick in &ticks {
            let y = self.up.at(*tick);
            write!(lines, "M{},{}H{}", px(left), px(y), px(right)).expect("a string takes it");
            let text = words::decimal(*tick, decimals);
            let y = px(y + 4.0);
            push(
                &mut texts,
                format_args!(
                    "<text class=\"tick\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">{text}</text>",
                    px(left - 6.0)
                ),
            );
            if let Some(pace) = words::pace(*tick).filter(|_| with_pace) {
                push(
                    &mut texts,
                    format_args!("<text class=\"tick\" x=\"{}\" y=\"{y}\">{pace}/km</text>", px(right + 6.0)),
                );
            }
        }
        for minute in scale::minute_ticks(self.across.range()[1], self.layout.minute_ticks()) {
            let x = px(self.across.at(minute));
            write!(lines, "M{x},{}V{}", px(top), px(bottom + 4.0)).expect("a string takes it");
            let text = words::decimal(minute, 0);
            push(
                &mut texts,
                format_args!(
                    "<text class=\"tick\" x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                    px(bottom + 16.0)
                ),
            );
        }
        push(body, format_args!("<path class=\"grid\" d=\"{lines}\"/>"));
        push(body, format_args!("<path class=\"axis\" d=\"M{},{}V{}H{}\"/>", px(left), px(top), px(bottom), px(right)));
        body.push_str(&texts);
    }

    fn layer(&self, body: &mut String, layer: &Layer) {
        let tone = layer.tone.class();
        match layer.mark {
            Mark::Dots => {
                let points = layer.lines.iter().flatten();
                let (path, n) = self.dots(points);
                let width = if n > 400 { 2.6 } else { 4.4 };
                push(body, format_args!("<path class=\"dots {tone}\" stroke-width=\"{width}\" d=\"{path}\"/>"));
            }
            Mark::Strokes => {
                let strokes = layer.lines.iter().filter_map(|line| Some((line.first()?, line.last()?)));
                let path: String =
                    strokes.map(|(from, to)| format!("M{}H{}", self.place(*from), px(self.across.at(to[0])))).collect();
                push(body, format_args!("<path class=\"strokes {tone}\" d=\"{path}\"/>"));
            }
            Mark::Line | Mark::Dashes | Mark::Area => {
                let lines = scale::thinned_all(&layer.lines, self.layout.vertices());
                if layer.mark == Mark::Area {
                    let areas: String = lines.iter().map(|line| self.area(line)).collect();
                    push(body, format_args!("<path class=\"area {tone}\" d=\"{areas}\"/>"));
                }
                let path: String = lines.iter().map(|line| self.line(line)).collect();
                push(body, format_args!("<path class=\"{} {tone}\" d=\"{path}\"/>", mark_class(layer.mark)));
            }
        }
        self.off(body, layer);
    }

    /// Triangles at the edge for values beyond it, one for each run of columns of pixels.
    fn off(&self, body: &mut String, layer: &Layer) {
        let [low, high] = self.up.range();
        let [top, bottom] = self.ends;
        let mut path = String::new();
        let mut before = [f64::NEG_INFINITY; 2];
        for point in layer.lines.iter().flatten() {
            let x = self.across.at(point[0]);
            let (edge, triangle) = match point[1] {
                value if value > high => (0, format!("M{},{}h8l-4,-7z", px(x - 4.0), px(top + 9.0))),
                value if value < low => (1, format!("M{},{}h8l-4,7z", px(x - 4.0), px(bottom - 9.0))),
                _ => continue,
            };
            if x - before[edge] >= 9.0 {
                path.push_str(&triangle);
                before[edge] = x;
            }
        }
        if !path.is_empty() {
            push(body, format_args!("<path class=\"off {}\" d=\"{path}\"/>", layer.tone.class()));
        }
    }

    fn note(&self, body: &mut String, note: &Note) {
        let Note::Level(value, text) = note else { return };
        let [left, right] = self.layout.plot();
        let y = self.up.at(*value);
        push(body, format_args!("<path class=\"level\" d=\"M{},{}H{}\"/>", px(left), px(y), px(right)));
        let text = words::escape(text);
        push(body, format_args!("<text class=\"tick\" x=\"{}\" y=\"{}\">{text}</text>", px(right + 4.0), px(y + 4.0)));
    }

    fn place(&self, point: Point) -> String {
        format!("{},{}", px(self.across.at(point[0])), px(self.up.at(point[1])))
    }

    /// A line; a single point is a dot, as the ends of lines are round.
    fn line(&self, line: &[Point]) -> String {
        match line {
            [] => String::new(),
            [only] => format!("M{}h0", self.place(*only)),
            [first, rest @ ..] => {
                let rest: Vec<String> = rest.iter().map(|point| self.place(*point)).collect();
                format!("M{}L{}", self.place(*first), rest.join(" "))
            }
        }
    }

    fn area(&self, line: &[Point]) -> String {
        let (Some(first), Some(last)) = (line.first(), line.last()) else { return String::new() };
        let ground = px(self.up.at(0.0));
        let [from, to] = [first, last].map(|point| px(self.across.at(point[0])));
        let points: Vec<String> = line.iter().map(|point| self.place(*point)).collect();
        format!("M{from},{ground}L{}L{to},{ground}z", points.join(" "))
    }

    /// Dots and their number, those that fall on one place drawn once.
    fn dots<'a>(&self, points: impl Iterator<Item = &'a Point>) -> (String, usize) {
        let mut path = String::new();
        let mut before = String::new();
        let mut n = 0;
        for point in points {
            let place = self.place(*point);
            if place != before {
                write!(path, "M{place}h0").expect("a string takes it");
                n += 1;
            }
            before = place;
        }
        (path, n)
    }
}

fn draw_label(body: &mut String, label: &Label, plot_top: f64) {
    let y = plot_top - 5.0 - labels::LANE * label.lane as f64;
    let text = words::escape(&label.text);
    push(body, format_args!("<text class=\"label\" x=\"{}\" y=\"{}\">{text}</text>", px(label.x), px(y)));
}

fn push(body: &mut String, element: std::fmt::Arguments<'_>) {
    body.write_fmt(element).expect("a string takes it");
    body.push('\n');
}

/// Pixels with a decimal where there is one.
fn px(value: f64) -> String {
    let tenths = (value * 10.0).round() as i64;
    match tenths % 10 {
        0 => (tenths / 10).to_string(),
        tenth => {
            let sign = if tenths < 0 { "-" } else { "" };
            format!("{sign}{}.{}", (tenths / 10).abs(), tenth.abs())
        }
    }
}
