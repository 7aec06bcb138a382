//! Lines over time drawn with letters, for terminals and pipes. Unaware of what the lines are.

use pacer_stages::scale::{self, Scale};

/// Columns and rows of the plot, without the numbers at its left.
const SIZE: [usize; 2] = [64, 12];

/// A line: its letter and its points, across and up.
pub struct Line<'a> {
    /// What it is drawn with; of lines that meet in a place the last one is seen.
    pub letter: char,
    /// Its values, one for each place across.
    pub values: &'a [f32],
}

/// The plot as lines of text, each value at its place among `across`; empty where there is nothing to draw.
pub fn chart(across: &[f32], lines: &[Line<'_>], unit: &str) -> Vec<String> {
    let [columns, rows] = SIZE;
    let finite =
        || lines.iter().flat_map(|line| line.values).map(|value| f64::from(*value)).filter(|it| it.is_finite());
    let (Some(&first), Some(&last), true) = (across.first(), across.last(), finite().count() > 0) else {
        return Vec::new();
    };
    let [low, high] = [finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max)];
    let marks = scale::axis([low, high], 4);
    let [bottom, top] = [marks[0], marks[marks.len() - 1]];
    let x = Scale::new([f64::from(first), f64::from(last)], [0.0, (columns - 1) as f64]);
    let y = Scale::new([bottom, top], [(rows - 1) as f64, 0.0]);
    let mut plot = vec![vec![' '; columns]; rows];
    for line in lines {
        for (at, value) in across.iter().zip(line.values).filter(|(_, value)| value.is_finite()) {
            let place = |place: f64, most: usize| (place.round().max(0.0) as usize).min(most - 1);
            plot[place(y.at(f64::from(*value)), rows)][place(x.at(f64::from(*at)), columns)] = line.letter;
        }
    }
    let digits = scale::decimals(&marks);
    let numbers: Vec<String> = marks.iter().map(|mark| format!("{mark:.digits$}")).collect();
    let width = numbers.iter().map(String::len).max().unwrap_or(0);
    let number = |row: usize| {
        let at = marks.iter().position(|mark| y.at(*mark).round() as usize == row);
        at.map_or("", |at| numbers[at].as_str())
    };
    let told = |(row, letters): (usize, &Vec<char>)| {
        let letters: String = letters.iter().collect();
        format!("{:>width$} │{}", number(row), letters.trim_end())
    };
    let mut told: Vec<String> = plot.iter().enumerate().map(told).collect();
    told.push(format!("{:>width$} └{}", "", "─".repeat(columns)));
    let end = format!("{:.0} {unit}", last);
    let gap = columns.saturating_sub(end.chars().count());
    told.push(format!("{:>width$}  {:<gap$}{end}", "", format!("{first:.0}")));
    told
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn lines_are_drawn_over_each_other_with_numbers_at_their_left() {
        let across: Vec<f32> = (0..32).map(|at| at as f32).collect();
        let rising: Vec<f32> = across.iter().map(|at| 100.0 + 2.0 * at).collect();
        let level = vec![140.0; 32];
        let lines = [Line { letter: '·', values: &rising }, Line { letter: 'a', values: &level }];
        assert_snapshot!(chart(&across, &lines, "min").join("\n"), @"
        180 │
            │
            │                                                               ·
        160 │                                                         · · ·
            │                                                 · · · ·
            │                                           · · ·
        140 │a a a a a a a a a a a a a a a a  a a a a a a a a a a a a a a a a
            │                          · · ·  ·
        120 │                    · · ·
            │            · · · ·
            │    · · · ·
        100 │· ·
            └────────────────────────────────────────────────────────────────
             0                                                         31 min
        ");
    }

    #[test]
    fn nothing_and_one_value_break_nothing() {
        assert!(chart(&[], &[], "min").is_empty());
        assert!(chart(&[0.0], &[Line { letter: 'a', values: &[f32::NAN] }], "min").is_empty());
        assert!(!chart(&[0.0], &[Line { letter: 'a', values: &[5.0] }], "min").is_empty());
    }
}
