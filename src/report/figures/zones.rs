//! Which heart-rate zone is predicted where which is recorded, in minutes. Unaware of models.

use pacer_stages::agreement::{ZONES, zone_name};

use crate::report::draw::{Anchor, Canvas};
use crate::report::{Figure, Grid};

const CELL: [f64; 2] = [112.0, 40.0];
const LEFT: f64 = 170.0;
const TOP: f64 = 56.0;

/// The figure of one model, from minutes of each recorded zone (row) in each predicted one (column).
pub fn confusion(name: &str, minutes: &[[f64; ZONES]; ZONES]) -> Figure {
    let mut canvas = Canvas::new(TOP + CELL[1] * ZONES as f64 + 8.0);
    let middle = LEFT + CELL[0] * ZONES as f64 / 2.0;
    canvas.text([middle, 14.0], "label", Anchor::Middle, "predicted zone (BPM)");
    canvas.text([4.0, TOP - 10.0], "label", Anchor::Start, "recorded zone (BPM)");
    let mut header = vec!["recorded".to_owned()];
    let mut rows = Vec::new();
    for (row, counts) in minutes.iter().enumerate() {
        let y = TOP + CELL[1] * row as f64;
        let sum: f64 = counts.iter().sum();
        canvas.text([LEFT + CELL[0] * (row as f64 + 0.5), TOP - 10.0], "tick", Anchor::Middle, &zone_name(row));
        canvas.text([LEFT - 10.0, y + 25.0], "tick", Anchor::End, &zone_name(row));
        header.push(format!("predicted {}", zone_name(row)));
        for (column, count) in counts.iter().enumerate() {
            let x = LEFT + CELL[0] * column as f64;
            let share = if sum > 0.0 { count / sum } else { 0.0 };
            canvas.rect([x, y], [CELL[0] - 2.0, CELL[1] - 2.0], "box", 1.0);
            canvas.rect([x, y], [CELL[0] - 2.0, CELL[1] - 2.0], "c0 solid", (0.55 * share).min(0.55));
            let class = if row == column { "strong" } else { "" };
            let told = if sum > 0.0 { format!("{count:.0} min, {:.0} %", 100.0 * share) } else { "–".to_owned() };
            canvas.text([x + CELL[0] / 2.0, y + 24.0], class, Anchor::Middle, &told);
        }
        rows.push(std::iter::once(zone_name(row)).chain(counts.iter().map(|count| format!("{count:.1}"))).collect());
    }
    let told = "Minutes of each recorded zone that were predicted in each zone, with their share of the row; the \
                diagonal is right. Zones are the same for everybody, as no highest heart rate is known. Each sample \
                counts as long as until the next, at most a minute.";
    let title = format!("Heart-rate zones: {name}");
    let svg = canvas.finish(Figure::ID, &title, told);
    Figure { title, told: told.into(), svg, table: Grid { header, rows } }
}
