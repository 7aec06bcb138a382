//! Charts as SVG: panels over one axis of minutes, each with lines, samples, shaded stretches and a legend.
//! Unaware of workouts.
//!
//! A chart is drawn twice: wide, and narrow for a phone, where text of the wide one would be too small to read. The
//! style sheet shows one of them. Nothing is referred to by `url(#…)`, so that hiding one cannot blank the other.

use std::fmt::Write as _;

use crate::escape::escape;
use crate::kinds::inspect::labels::{self, Label};
use crate::kinds::inspect::legend::{self, ROW};
use crate::kinds::inspect::markup::{push, px};
use crate::kinds::inspect::panel::{Band, Layer, Layout, Mark, Note, Panel, Shade};
use crate::kinds::inspect::words;
use crate::scale::{self, Point, Scale};

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
        push(&mut text, format_args!("<text class=\"{class}\" x=\"0\" y=\"{y}\">{}</text>", escape(line)));
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
    let (title, described) = (escape(title), escape(&descriptions.join(" ")));
    format!("<title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{described}</desc>")
}

/// Draws panels one below the other, then what the axis means, and gives their bottom.
fn stacked(panels: &[Panel], end: f64, layout: Layout, top: f64) -> (String, f64) {
    let mut body = String::new();
    let (mut y, mut named) = (top, Vec::new());
    for panel in panels {
        y = draw(&mut body, panel, end, layout, y, &mut named) + 6.0;
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

/// Draws one panel below `top` and gives its bottom; `named` are the shades that legends above have named.
fn draw(body: &mut String, panel: &Panel, end: f64, layout: Layout, top: f64, named: &mut Vec<Shade>) -> f64 {
    let [left, right] = layout.plot();
    let across = Scale::new([0.0, end.max(1e-9)], [left, right]);
    let values: Vec<f64> = panel.layers.iter().flat_map(|layer| layer.lines.iter().flatten()).map(|p| p[1]).collect();
    let about = (panel.height / 34.0).round() as usize;
    let ticks = scale::axis(scale::bulk(&values).unwrap_or([0.0, 1.0]), about);
    let range = [ticks[0], ticks[ticks.len() - 1]];
    let head = legend::draw(body, panel, &legend::entries(panel, range, named), layout, top);
    let (labels, lanes) = labels::placed(&panel.bands, across, [left, right]);
    let plot_top = head + labels::LANE * lanes as f64 + 5.0;
    let bottom = plot_top + panel.height;
    let up = Scale::new(range, [bottom, plot_top]);
    let plot = Plot { across, up, layout, ends: [plot_top, bottom] };
    panel.bands.iter().for_each(|band| plot.band(body, band));
    plot.grid(body, &ticks, panel.notes.contains(&Note::Pace));
    panel.layers.iter().for_each(|layer| plot.layer(body, layer));
    panel.notes.iter().for_each(|note| plot.note(body, note));
    labels.iter().for_each(|label| draw_label(body, label, plot_top));
    bottom + 18.0
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
            let y = px(top - 3.0);
            push(body, format_args!("<rect class=\"edge\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"3\"/>"));
        }
    }

    fn grid(&self, body: &mut String, ticks: &[f64], with_pace: bool) {
        let ([left, right], [top, bottom]) = (self.layout.plot(), self.ends);
        let decimals = scale::decimals(ticks);
        let mut lines = String::new();
        let mut texts = String::new();
        for tick in ticks {
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
                push(body, format_args!("<path class=\"{} {tone}\" d=\"{path}\"/>", layer.mark.class()));
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
        let text = escape(text);
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
    let y = plot_top - 6.0 - labels::LANE * label.lane as f64;
    let text = escape(&label.text);
    push(body, format_args!("<text class=\"label\" x=\"{}\" y=\"{}\">{text}</text>", px(label.x), px(y)));
}
