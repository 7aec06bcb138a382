//! Small pictures of tables: lines over places or numbers, as an SVG file. Unaware of what is shown.

use std::fmt::Write as _;

use serde_json::Value;

use crate::escape::escape;
use crate::scale::{Scale, axis, decimals};

/// Colours of Okabe and Ito (2008), which people with any common colour vision tell apart; dashes tell them apart too.
const LINES: [(&str, &str); 6] = [
    ("#0072b2", "none"),
    ("#d55e00", "7 4"),
    ("#009e73", "2 3"),
    ("#b8548f", "9 3 2 3"),
    ("#5b5fc7", "4 2"),
    ("#57606a", "1 2"),
];

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// Room left, right, above and below the axes.
const ROOM: [f64; 4] = [64.0, 24.0, 84.0, 64.0];

/// A picture of lines.
pub struct Plot {
    /// What it shows, in a few words.
    pub title: String,
    /// Where the data comes from; stands under the title.
    pub note: String,
    /// What lies along x, with its unit.
    pub x: String,
    /// What lies along y, with its unit.
    pub y: String,
    /// Names of the places along x; the lines' x are their numbers from 0. Empty where x is a number.
    pub places: Vec<String>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// A line with a dot at each point.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points from left to right; what is not finite breaks it.
    pub points: Vec<[f64; 2]>,
}

impl Plot {
    /// The picture of a figure's data: `title`, `x`, `y`, `data`, and `series` of `name`, `x` and `y`, where x holds
    /// numbers or, alike in every series that has them all, names of places.
    pub fn of_figure(figure: &Value) -> Self {
        let text = |name: &str| figure[name].as_str().unwrap_or_default().to_owned();
        let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let series = all(&figure["series"]);
        let named = |series: &Value| all(&series["x"]).iter().filter_map(|x| x.as_str().map(str::to_owned)).collect();
        let places: Vec<String> = series.iter().map(named).max_by_key(Vec::len).unwrap_or_default();
        let across = |x: &Value| match x.as_str() {
            Some(name) => places.iter().position(|place| place == name).map_or(f64::NAN, |place| place as f64),
            None => x.as_f64().unwrap_or(f64::NAN),
        };
        let line = |series: &Value| {
            let up = all(&series["y"]).into_iter().map(|y| y.as_f64().unwrap_or(f64::NAN));
            let points = all(&series["x"]).iter().map(across).zip(up).map(|(x, y)| [x, y]).collect();
            Line { name: series["name"].as_str().unwrap_or_default().to_owned(), points }
        };
        let lines = series.iter().map(line).collect();
        let note = format!("data: {}", text("data"));
        Self { title: text("title"), note, x: text("x"), y: text("y"), places, lines }
    }

    /// The picture as a file; the same plot gives the same bytes.
    pub fn svg(&self) -> String {
        let points: Vec<[f64; 2]> = self.lines.iter().flat_map(|line| &line.points).copied().collect();
        let finite: Vec<[f64; 2]> = points.into_iter().filter(|point| point.iter().all(|v| v.is_finite())).collect();
        let range = |axis: usize| {
            finite
                .iter()
                .map(|point| point[axis])
                .fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], v| [a.min(v), b.max(v)])
        };
        let mut svg = self.head();
        if finite.is_empty() {
            svg.push_str("<text x=\"16\" y=\"80\">there is nothing to show</text></svg>\n");
            return svg;
        }
        let (numbers, marks) = (across_axis(range(0)), axis(from_zero(range(1)), 6));
        let ends = |ticks: &[f64]| [ticks[0], ticks[ticks.len() - 1]];
        let across = if self.places.is_empty() { ends(&numbers) } else { [-0.4, self.places.len() as f64 - 0.6] };
        let [left, right, top, bottom] = ROOM;
        let x = Scale::new(across, [left, WIDTH - right]);
        let y = Scale::new(ends(&marks), [HEIGHT - bottom, top]);
        self.axes(&mut svg, (x, &numbers), (y, &marks));
        for (place, line) in self.lines.iter().enumerate() {
            draw(&mut svg, line, place, x, y);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn head(&self) -> String {
        let names: Vec<&str> = self.lines.iter().map(|line| line.name.as_str()).collect();
        let (title, note) = (escape(&self.title), escape(&self.note));
        let told = escape(&format!("{} against {}: {}", self.y, self.x, names.join(", ")));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-labelledby=\"t d\" font-family=\"system-ui,Segoe UI,Roboto,Arial,sans-serif\" font-size=\"12\" \
             fill=\"#1b1f24\"><title id=\"t\">{title}</title><desc id=\"d\">{told}</desc>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"16\" y=\"22\" font-size=\"15\" font-weight=\"600\">{title}</text>\
             <text x=\"16\" y=\"38\" fill=\"#57606a\">{note}</text>\n"
        )
    }

    fn axes(&self, svg: &mut String, (x, numbers): (Scale, &[f64]), (y, marks): (Scale, &[f64])) {
        let [left, right, top, bottom] = ROOM;
        let (digits, end) = (decimals(marks), px(WIDTH - right));
        for mark in marks {
            let (at, edge) = (px(y.at(*mark)), left - 8.0);
            push(svg, format_args!("<path d=\"M{left} {at}H{end}\" stroke=\"#e4e7eb\"/>"));
            push(
                svg,
                format_args!(
                    "<text x=\"{edge}\" y=\"{at}\" dy=\"4\" text-anchor=\"end\" fill=\"#57606a\">{mark:.digits$}</text>\n"
                ),
            );
        }
        let foot = HEIGHT - bottom;
        let digits = decimals(numbers);
        let named: Vec<(f64, String)> = if self.places.is_empty() {
            numbers.iter().map(|mark| (*mark, format!("{mark:.digits$}"))).collect()
        } else {
            self.places.iter().enumerate().map(|(place, name)| (place as f64, escape(name))).collect()
        };
        for (mark, name) in named {
            let at = px(x.at(mark));
            push(svg, format_args!("<path d=\"M{at} {foot}v5\" stroke=\"#57606a\"/>"));
            push(
                svg,
                format_args!(
                    "<text x=\"{at}\" y=\"{}\" text-anchor=\"middle\" fill=\"#57606a\">{name}</text>\n",
                    foot + 19.0
                ),
            );
        }
        push(svg, format_args!("<path d=\"M{left} {foot}H{end}\" stroke=\"#57606a\"/>\n"));
        let (middle, label) = (px((left + WIDTH - right) / 2.0), px(foot + 42.0));
        push(svg, format_args!("<text x=\"{middle}\" y=\"{label}\" text-anchor=\"middle\">{}</text>", escape(&self.x)));
        let height = px((top + foot) / 2.0);
        push(
            svg,
            format_args!(
                "<text transform=\"translate(18 {height})rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                escape(&self.y)
            ),
        );
    }
}

/// Ticks from near the least value on, so that a few years do not begin at zero.
fn across_axis([low, high]: [f64; 2]) -> Vec<f64> {
    let base = low.floor();
    axis([low - base, high - base], 8).into_iter().map(|tick| tick + base).collect()
}

/// The range with zero in it: a height that begins elsewhere makes small differences look large.
fn from_zero([low, high]: [f64; 2]) -> [f64; 2] {
    [low.min(0.0), high.max(0.0)]
}

/// A line with its dots, and its name in the legend above the axes.
fn draw(svg: &mut String, line: &Line, place: usize, x: Scale, y: Scale) {
    let (colour, dash) = LINES[place % LINES.len()];
    let mut path = String::new();
    let mut dots = String::new();
    let mut pen_is_down = false;
    for point in &line.points {
        if !point.iter().all(|value| value.is_finite()) {
            pen_is_down = false;
            continue;
        }
        let (left, top) = (px(x.at(point[0])), px(y.at(point[1])));
        push(&mut path, format_args!("{}{left} {top}", if pen_is_down { 'L' } else { 'M' }));
        push(&mut dots, format_args!("<circle cx=\"{left}\" cy=\"{top}\" r=\"3\"/>"));
        pen_is_down = true;
    }
    push(
        svg,
        format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>"
        ),
    );
    push(svg, format_args!("<g fill=\"{colour}\">{dots}</g>"));
    let (column, row) = ((place % 4) as f64, (place / 4) as f64);
    let (left, top) = (16.0 + 182.0 * column, 54.0 + 14.0 * row);
    let (end, text, below) = (left + 26.0, left + 32.0, top + 4.0);
    push(
        svg,
        format_args!(
            "<path d=\"M{left} {top}H{end}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>"
        ),
    );
    push(svg, format_args!("<text x=\"{text}\" y=\"{below}\">{}</text>\n", escape(&line.name)));
}

fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("a string takes it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<[f64; 2]>) -> Plot {
        Plot {
            title: "r & lag <s>".into(),
            note: "synthetic".into(),
            x: "step".into(),
            y: "r".into(),
            places: vec!["raw".into(), "cleaned".into(), "lag".into()],
            lines: vec![Line { name: "watch".into(), points }],
        }
    }

    #[test]
    fn a_point_that_is_missing_breaks_the_line_and_text_is_escaped() {
        let svg = plot(vec![[0.0, 0.2], [1.0, f64::NAN], [2.0, 0.8]]).svg();
        assert_eq!(svg.matches("<circle").count(), 2);
        let line = svg.lines().find(|line| line.contains("stroke-width=\"2\"")).unwrap();
        assert_eq!(line.split('"').nth(1).unwrap().matches('M').count(), 2, "{line}");
        assert!(svg.contains("r &amp; lag &lt;s&gt;") && svg.contains(">cleaned<") && svg.contains("synthetic"));
    }

    #[test]
    fn nothing_finite_is_said_in_the_picture() {
        let svg = plot(vec![[0.0, f64::NAN]]).svg();
        assert!(svg.contains("there is nothing to show") && svg.ends_with("</svg>\n"), "{svg}");
    }

    #[test]
    fn a_figure_with_names_along_x_has_a_place_for_each() {
        let series = |x: &[&str], y: &[f64]| serde_json::json!({ "name": "watch", "x": x, "y": y });
        let figure = serde_json::json!({
            "title": "t", "x": "step", "y": "r", "data": "synthetic",
            "series": [series(&["lag"], &[0.7]), series(&["raw", "lag"], &[0.2, 0.8])],
        });
        let plot = Plot::of_figure(&figure);
        assert_eq!(plot.places, ["raw", "lag"]);
        assert_eq!((&plot.lines[0].points, &plot.lines[1].points), (&vec![[1.0, 0.7]], &vec![[0.0, 0.2], [1.0, 0.8]]));
        assert_eq!(plot.note, "data: synthetic");
    }
}
