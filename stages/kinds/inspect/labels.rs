//! Labels over shaded stretches, placed in lanes so that none covers another. Unaware of what they say.

use crate::kinds::inspect::panel::Band;
use crate::scale::Scale;

/// Height of a lane in pixels.
pub const LANE: f64 = 14.0;

/// Pixels of a letter's width for one of its size, on average and a little more, as fonts differ.
pub const LETTER: f64 = 0.56;

/// Size of the letters.
pub const SIZE: f64 = 11.5;

/// Lanes at most; what finds no room in them is told in the list below the charts alone.
const LANES: usize = 3;

/// Room between two labels of a lane.
const APART: f64 = 7.0;

/// A label with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its left end in pixels.
    pub x: f64,
    /// Its lane, counted upwards from the plot.
    pub lane: usize,
    /// What it says.
    pub text: String,
}

/// Places the labels of `bands` between the `ends` of the plot, and gives how many lanes they take.
///
/// Each is tried in full in every lane, from the lowest, then short; a label begins where its stretch begins.
pub fn placed(bands: &[Band], across: Scale, ends: [f64; 2]) -> (Vec<Label>, usize) {
    let mut order: Vec<&Band> = bands.iter().filter(|band| !band.label.is_empty()).collect();
    order.sort_by(|a, b| a.minutes[0].total_cmp(&b.minutes[0]));
    let mut taken = [f64::NEG_INFINITY; LANES];
    let mut labels = Vec::new();
    for band in order {
        let wanted = across.at(band.minutes[0]);
        let find = |text: &str| {
            let width = LETTER * SIZE * text.chars().count() as f64;
            let x = wanted.min(ends[1] - width).max(ends[0]);
            let fits = |lane: &usize| taken[*lane] + APART <= x && x + width <= ends[1] + 1e-9;
            (0..LANES).find(fits).map(|lane| (lane, x, x + width, text.to_owned()))
        };
        if let Some((lane, x, end, text)) = find(&band.label).or_else(|| find(&band.short)) {
            taken[lane] = end;
            labels.push(Label { x, lane, text });
        }
    }
    let lanes = labels.iter().map(|label| label.lane + 1).max().unwrap_or(0);
    (labels, lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::inspect::panel::Shade;

    fn band(from: f64, label: &str, short: &str) -> Band {
        let (label, short) = (label.to_owned(), short.to_owned());
        Band { minutes: [from, from + 1.0], shade: Shade::Finding, label, short }
    }

    #[test]
    fn labels_never_cover_each_other_and_stay_within_the_plot() {
        let across = Scale::new([0.0, 60.0], [44.0, 842.0]);
        let bands: Vec<Band> = (0..40)
            .map(|i| band(f64::from(i * 7 % 60), &format!("{i} a long label of a finding"), &i.to_string()))
            .collect();
        let (labels, lanes) = placed(&bands, across, [44.0, 842.0]);
        assert!(lanes == LANES && labels.len() > 10, "{lanes} {}", labels.len());
        let end = |label: &Label| label.x + LETTER * SIZE * label.text.chars().count() as f64;
        for (i, one) in labels.iter().enumerate() {
            assert!(one.x >= 44.0 && end(one) <= 842.0 + 1e-9, "{one:?}");
            let beside = |other: &&Label| other.lane == one.lane && other.x < end(one) && one.x < end(other);
            assert_eq!(labels[i + 1..].iter().find(beside), None, "{one:?}");
        }
    }

    #[test]
    fn a_label_without_room_is_short() {
        let across = Scale::new([0.0, 10.0], [0.0, 300.0]);
        let bands: Vec<Band> = (0..4).map(|i| band(f64::from(i), "a label of some length", "7")).collect();
        let texts: Vec<String> = placed(&bands, across, [0.0, 300.0]).0.into_iter().map(|label| label.text).collect();
        assert_eq!(texts[..3], ["a label of some length"; 3]);
        assert_eq!(texts.len(), 3);
        assert_eq!(placed(&[band(1.0, "", "")], across, [0.0, 300.0]), (vec![], 0));
    }
}
