//! The head of a panel: its title, and what its lines and shades mean. Unaware of axes.

use crate::escape::escape;
use crate::kinds::inspect::labels::LETTER;
use crate::kinds::inspect::markup::{push, px};
use crate::kinds::inspect::panel::{Layer, Layout, Mark, Panel, Shade, Tone};
use crate::kinds::inspect::words;

/// Size of the letters of titles.
const TITLE: f64 = 14.0;

/// Size of the letters of legends.
const LEGEND: f64 = 12.0;

/// Height of a line of the legend.
pub const ROW: f64 = 18.0;

/// An entry of the legend: a sample of what it names, and the name.
pub struct Entry {
    sample: Sample,
    name: String,
}

/// What a legend shows before a name.
enum Sample {
    Series(Tone, Mark),
    Shade(Shade),
    Off(Tone),
}

impl Entry {
    fn width(&self) -> f64 {
        34.0 + LETTER * LEGEND * self.name.chars().count() as f64 + 8.0
    }
}

/// The legend: series, values off the scale, and kinds of shading that no panel above has named.
pub fn entries(panel: &Panel, [low, high]: [f64; 2], named: &mut Vec<Shade>) -> Vec<Entry> {
    let series = panel.layers.iter().filter(|layer| !layer.legend.is_empty());
    let series =
        series.map(|layer| Entry { sample: Sample::Series(layer.tone, layer.mark), name: layer.legend.clone() });
    let mut entries: Vec<Entry> = series.collect();
    entries.extend(panel.layers.iter().filter_map(|layer| off_the_scale(layer, low, high)));
    for (shade, one, many) in [
        (Shade::Pause, "pause", "pauses"),
        (Shade::Gap, "gap in heart rate", "gaps in heart rate"),
        (Shade::PositionGap, "gap in positions", "gaps in positions"),
        (Shade::Finding, "finding", "findings"),
    ] {
        let n = panel.bands.iter().filter(|band| band.shade == shade).count();
        if n > 0 && !named.contains(&shade) {
            named.push(shade);
            entries.push(Entry { sample: Sample::Shade(shade), name: words::plural(n, one, many) });
        }
    }
    entries
}

/// `3 off the scale, up to 64.0`; none where all of a line is shown.
fn off_the_scale(layer: &Layer, low: f64, high: f64) -> Option<Entry> {
    let is_line = matches!(layer.mark, Mark::Line | Mark::Dashes | Mark::Area);
    let values = layer.lines.iter().flatten().map(|point| point[1]);
    let off: Vec<f64> = values.filter(|value| is_line && !(low..=high).contains(value)).collect();
    let least = off.iter().copied().reduce(f64::min)?;
    let most = off.iter().copied().reduce(f64::max)?;
    let figure = |value: f64| words::decimal(value, usize::from(value.fract() != 0.0));
    let ends = match (least < low, most > high) {
        (true, true) => format!("{} to {}", figure(least), figure(most)),
        (true, false) => format!("down to {}", figure(least)),
        _ => format!("up to {}", figure(most)),
    };
    Some(Entry { sample: Sample::Off(layer.tone), name: format!("{} off the scale, {ends}", words::count(off.len())) })
}

/// Writes title and legend below `top` and gives where they end.
pub fn draw(body: &mut String, panel: &Panel, entries: &[Entry], layout: Layout, top: f64) -> f64 {
    let mut y = top + TITLE + 2.0;
    let title = format!("{} ({})", panel.name, panel.unit);
    push(
        body,
        format_args!(
            "<text class=\"name\" x=\"0\" y=\"{}\">{}<tspan class=\"unit\"> {}</tspan></text>",
            px(y),
            escape(&panel.name),
            escape(panel.unit)
        ),
    );
    let mut x = 0.62 * TITLE * title.chars().count() as f64 + 14.0;
    for entry in entries {
        if x + entry.width() > layout.width() && x > 0.0 {
            x = 0.0;
            y += ROW;
        }
        draw_sample(body, &entry.sample, x, y - 4.0);
        let name = escape(&entry.name);
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
            push(body, format_args!("<path class=\"{} {}\" d=\"M{from},{y}H{to}\"/>", mark.class(), tone.class()));
        }
        Sample::Shade(shade) => {
            let top = px(y.parse::<f64>().unwrap_or_default() - 6.0);
            push(
                body,
                format_args!("<rect class=\"{}\" x=\"{from}\" y=\"{top}\" width=\"23\" height=\"12\"/>", shade.class()),
            );
        }
        Sample::Off(tone) => {
            push(body, format_args!("<path class=\"off {}\" d=\"M{middle},{y}m-5,4h10l-5,-9z\"/>", tone.class()));
        }
    }
}
