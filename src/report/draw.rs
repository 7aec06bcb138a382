//! A small vocabulary of SVG: a canvas, axes, lines, marks and words. Unaware of what is shown.
//!
//! Colours are classes of the page's style sheet, so that one drawing serves light, dark and paper.

use std::fmt::Write as _;

use pacer_stages::escape::escape;
use pacer_stages::scale::{self, Scale};

/// Colours and dashes that tell series apart; more series begin again.
pub const TONES: usize = 6;

/// What lies across where only whole numbers mean something.
pub const EPOCHS: &str = "epoch";

/// Letters of a name in a legend.
const LEGEND: usize = 95;

/// Width of every figure.
pub const WIDTH: f64 = 760.0;

/// A drawing under way.
pub struct Canvas {
    body: String,
    height: f64,
}

/// Where an anchor of a text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// At its beginning.
    Start,
    /// In its middle.
    Middle,
    /// At its end.
    End,
}

/// Two axes and the places of values between them.
pub struct Axes {
    /// From values to places, across.
    pub x: Scale,
    /// From values to places, up.
    pub y: Scale,
    /// Left, right, top and bottom of the plot.
    pub room: [f64; 4],
}

/// What axes show.
pub struct Frame<'a> {
    /// The values across.
    pub x: [f64; 2],
    /// The values up.
    pub y: [f64; 2],
    /// What lies across, with its unit.
    pub across: &'a str,
    /// What lies up, with its unit.
    pub up: &'a str,
}

/// A place in pixels.
pub fn px(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A number with a minus that is one.
fn minus(number: &str) -> String {
    number.replace('-', "−")
}

/// The class of a series.
pub fn tone(place: usize) -> String {
    format!("c{}", place % TONES)
}

impl Canvas {
    /// An empty drawing of this height.
    pub fn new(height: f64) -> Self {
        Self { body: String::new(), height }
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        self.body.write_fmt(element).expect("a string takes it");
        self.body.push('\n');
    }

    /// Words at a place.
    pub fn text(&mut self, [x, y]: [f64; 2], class: &str, anchor: Anchor, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, words) = (px(x), px(y), escape(words));
        self.push(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{words}</text>"));
    }

    /// A straight line.
    pub fn line(&mut self, [x, y]: [f64; 2], [to_x, to_y]: [f64; 2], class: &str) {
        self.push(format_args!("<path class=\"{class}\" d=\"M{} {}L{} {}\"/>", px(x), px(y), px(to_x), px(to_y)));
    }

    /// A line through points; what is not finite breaks it.
    pub fn path(&mut self, points: impl IntoIterator<Item = [f64; 2]>, class: &str) {
        let (mut d, mut pen) = (String::new(), 'M');
        for [x, y] in points {
            if !(x.is_finite() && y.is_finite()) {
                pen = 'M';
                continue;
            }
            write!(d, "{pen}{} {}", px(x), px(y)).expect("a string takes it");
            pen = 'L';
        }
        self.push(format_args!("<path class=\"{class}\" d=\"{d}\"/>"));
    }

    /// An area within an outline.
    pub fn area(&mut self, outline: impl IntoIterator<Item = [f64; 2]>, class: &str) {
        let points: Vec<String> = outline.into_iter().map(|[x, y]| format!("{} {}", px(x), px(y))).collect();
        self.push(format_args!("<path class=\"{class}\" d=\"M{}z\"/>", points.join("L")));
    }

    /// A rectangle; `share` is how opaque it is, 0 to 1.
    pub fn rect(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], class: &str, share: f64) {
        let opacity = if share < 1.0 { format!(" fill-opacity=\"{share:.2}\"") } else { String::new() };
        let (x, y, width, height) = (px(x), px(y), px(width.max(0.5)), px(height.max(0.5)));
        self.push(format_args!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{opacity}/>"
        ));
    }

    /// Many rectangles of one size as one element; `share` is how opaque they are, 0 to 1.
    pub fn cells(&mut self, corners: &[[f64; 2]], [width, height]: [f64; 2], class: &str, share: f64) {
        if corners.is_empty() {
            return;
        }
        let (width, height) = (px(width), px(height));
        let cell = |[x, y]: &[f64; 2]| format!("M{} {}h{width}v{height}h-{width}z", px(*x), px(*y));
        let d: String = corners.iter().map(cell).collect();
        self.push(format_args!("<path class=\"{class}\" fill-opacity=\"{share:.2}\" d=\"{d}\"/>"));
    }

    /// A mark whose shape tells the series too.
    pub fn mark(&mut self, [x, y]: [f64; 2], place: usize, size: f64) {
        let class = tone(place);
        let (left, top, r) = (px(x), px(y), size);
        let shape = match place % TONES {
            0 => format!("<circle class=\"{class} solid\" cx=\"{left}\" cy=\"{top}\" r=\"{r}\"/>"),
            1 => format!(
                "<path class=\"{class} solid\" d=\"M{} {}h{d}v{d}h-{d}z\"/>",
                px(x - r),
                px(y - r),
                d = px(2.0 * r)
            ),
            2 => format!(
                "<path class=\"{class} solid\" d=\"M{left} {}l{r} {}h-{}z\"/>",
                px(y - r),
                px(2.0 * r),
                px(2.0 * r)
            ),
            3 => format!("<path class=\"{class} solid\" d=\"M{left} {}l{r} {r}l-{r} {r}l-{r} -{r}z\"/>", px(y - r)),
            4 => format!(
                "<path class=\"{class} stroke\" d=\"M{} {top}h{}M{left} {}v{}\"/>",
                px(x - r),
                px(2.0 * r),
                px(y - r),
                px(2.0 * r)
            ),
            _ => format!("<circle class=\"{class} stroke\" cx=\"{left}\" cy=\"{top}\" r=\"{r}\"/>"),
        };
        self.push(format_args!("{shape}"));
    }

    /// Axes with grid, ticks and names; `top` leaves room for a legend.
    pub fn axes(&mut self, frame: &Frame<'_>, top: f64) -> Axes {
        let Axes { y, room, .. } = self.axes_of_levels(frame, top);
        let [left, right, _, bottom] = room;
        let whole = frame.across == EPOCHS;
        let about = if whole { (frame.x[1] - frame.x[0]).clamp(1.0, 8.0) as usize } else { 8 };
        let mut marks = scale::axis(frame.x, about);
        if whole && scale::decimals(&marks) > 0 {
            marks = scale::axis(frame.x, 4);
        }
        let x = Scale::new([marks[0], marks[marks.len() - 1]], [left, right]);
        let digits = scale::decimals(&marks);
        for mark in &marks {
            self.line([x.at(*mark), bottom], [x.at(*mark), bottom + 4.0], "axis");
            self.text([x.at(*mark), bottom + 17.0], "tick", Anchor::Middle, &minus(&format!("{mark:.digits$}")));
        }
        Axes { x, y, room }
    }

    /// Axes whose ticks across are the caller's.
    pub fn axes_of_levels(&mut self, frame: &Frame<'_>, top: f64) -> Axes {
        let room = [62.0, WIDTH - 18.0, top, self.height - 46.0];
        let [left, right, top, bottom] = room;
        let marks = scale::axis(frame.y, 6);
        let y = Scale::new([marks[0], marks[marks.len() - 1]], [bottom, top]);
        let digits = scale::decimals(&marks);
        for mark in &marks {
            self.line([left, y.at(*mark)], [right, y.at(*mark)], "grid");
            let words = minus(&format!("{mark:.digits$}"));
            self.text([left - 7.0, y.at(*mark) + 4.0], "tick", Anchor::End, &words);
        }
        self.line([left, bottom], [right, bottom], "axis");
        self.text([f64::midpoint(left, right), bottom + 37.0], "label", Anchor::Middle, frame.across);
        let middle = px(f64::midpoint(top, bottom));
        let up = escape(frame.up);
        self.push(format_args!(
            "<text class=\"label\" transform=\"translate(15 {middle})rotate(-90)\" text-anchor=\"middle\">{up}</text>"
        ));
        Axes { x: Scale::new(frame.x, [left, right]), y, room }
    }

    /// Names of series with their lines and marks, and where the legend ends.
    pub fn legend(&mut self, names: &[String]) -> f64 {
        let (mut x, mut y) = (4.0, 14.0);
        for (place, name) in names.iter().enumerate() {
            let name: String = name.chars().take(LEGEND).collect();
            let width = 42.0 + 7.2 * name.chars().count() as f64;
            if x + width > WIDTH && x > 4.0 {
                (x, y) = (4.0, y + 18.0);
            }
            self.line([x, y - 4.0], [x + 24.0, y - 4.0], &format!("{} line d{}", tone(place), place % TONES));
            self.mark([x + 12.0, y - 4.0], place, 3.5);
            self.text([x + 30.0, y], "legend", Anchor::Start, &name);
            x += width;
        }
        y + 12.0
    }

    /// The whole drawing with what it tells to those who cannot see it; `id` is that of no other element.
    pub fn finish(self, id: &str, title: &str, told: &str) -> String {
        let (height, title, told) = (px(self.height), escape(title), escape(told));
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{told}</desc>\n{}</svg>\n",
            self.body
        )
    }
}

/// The least and the greatest finite value; none where there is none.
pub fn range(values: impl IntoIterator<Item = f64>) -> Option<[f64; 2]> {
    values.into_iter().filter(|value| value.is_finite()).fold(None, |range: Option<[f64; 2]>, value| {
        let [low, high] = range.unwrap_or([value, value]);
        Some([low.min(value), high.max(value)])
    })
}
