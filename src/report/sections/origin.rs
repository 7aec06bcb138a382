//! Where a result comes from: what became of its data, and its artifacts. Unaware of HTML.

use std::collections::BTreeSet;

use pacer_stages::table::{Table, Values};

use crate::report::figures::data::{Bar, bars as drawn_bars};
use crate::report::sections::Stored;
use crate::report::{Block, Figure, Grid};

/// Artifacts that are shown at once; more are folded.
const SHOWN: usize = 12;

/// Rows of a table that a page can hold.
const ROWS: usize = 400;

/// A table of data, with which bars are drawn of it.
struct Drawn {
    artifact: &'static str,
    title: &'static str,
    told: &'static str,
    /// The columns of names, of lengths and of the words beside them.
    columns: [&'static str; 3],
    /// Columns with the ends of an interval.
    interval: Option<[&'static str; 2]>,
    /// The column whose values have a figure each, for they have units of their own.
    apart: Option<&'static str>,
}

const TABLES: [Drawn; 4] = [
    Drawn {
        artifact: "funnel",
        title: "The funnel of the filters",
        told: "Workouts that came in, and that each filter left, in their order.",
        columns: ["rule", "out", "removed"],
        interval: None,
        apart: None,
    },
    Drawn {
        artifact: "ladder",
        title: "Correlation of heart rate, raw against processed",
        told: "Mean r within workouts: against speed as imported (raw), cleaned, and then against what slope, lag and the \
               slow answer of the heart give.",
        columns: ["step", "r within workouts", "heart rate against"],
        interval: None,
        apart: None,
    },
    Drawn {
        artifact: "by_year",
        title: "Density by year",
        told: "Heart rates a minute of recorded time.",
        columns: ["year", "heart rates a minute", "workouts"],
        interval: None,
        apart: None,
    },
    Drawn {
        artifact: "shift",
        title: "Shift between years",
        told: "Difference of means over workouts to the first year, with its interval of 95 %. One that holds zero may be \
               chance.",
        columns: ["year", "difference", "reading"],
        interval: Some(["difference from (95 %)", "difference to (95 %)"]),
        apart: Some("measure"),
    },
];

/// Funnels, correlations, density and shifts of the stages that have them.
pub fn data(stored: &Stored<'_>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut seen = BTreeSet::new();
    for stage in stored.runs.iter().flat_map(|run| &run.stages) {
        if !stage.result.as_ref().is_some_and(|result| seen.insert(result.key)) {
            continue;
        }
        for drawn in &TABLES {
            let Some(table) = stage.table(drawn.artifact, stored.cache) else { continue };
            blocks.extend(shown(drawn, &stage.name, &table).into_iter().map(Block::Figure));
        }
    }
    blocks
}

/// The figures of a table.
fn shown(drawn: &Drawn, stage: &str, table: &Table) -> Vec<Figure> {
    let grid = grid(table);
    let place = |wanted: &str| grid.header.iter().position(|name| name == wanted);
    let Some(apart) = drawn.apart.map(place) else {
        return figure_of(drawn, &format!("{}: {stage}", drawn.title), table, &grid, &|_| true).into_iter().collect();
    };
    let Some(apart) = apart else { return Vec::new() };
    let mut values: Vec<&String> = Vec::new();
    for row in &grid.rows {
        if !values.contains(&&row[apart]) {
            values.push(&row[apart]);
        }
    }
    let one = |value: &String| {
        let title = format!("{}, {value}: {stage}", drawn.title);
        figure_of(drawn, &title, table, &grid, &|row| row[apart] == *value)
    };
    values.into_iter().filter_map(one).collect()
}

fn figure_of(
    drawn: &Drawn,
    title: &str,
    table: &Table,
    grid: &Grid,
    is_wanted: &dyn Fn(&[String]) -> bool,
) -> Option<Figure> {
    let place = |wanted: &str| grid.header.iter().position(|name| name == wanted);
    let [name, length, words] = drawn.columns;
    let (name_at, words_at) = (place(name)?, place(words)?);
    let lengths = numbers(table, length)?;
    let ends = drawn.interval.and_then(|[low, high]| Some([numbers(table, low)?, numbers(table, high)?]));
    let source = place("source");
    let mut bars: Vec<Bar> = Vec::new();
    let mut kept = Grid { header: grid.header.clone(), rows: Vec::new() };
    for (row, cells) in grid.rows.iter().enumerate().filter(|(_, cells)| is_wanted(cells)) {
        kept.rows.push(cells.clone());
        let Some(value) = lengths[row] else { continue };
        if let (true, Some(came)) = (bars.is_empty(), numbers(table, "in").and_then(|came| came[row])) {
            bars.push(Bar { name: "came in".into(), value: came, interval: None, words: number(came) });
        }
        let beside = match words {
            "removed" | "workouts" => format!("{words} {}", cells[words_at]),
            _ => cells[words_at].clone(),
        };
        let source = source.map_or_else(String::new, |source| format!("{} · ", cells[source]));
        let interval = ends.as_ref().and_then(|[low, high]| Some([low[row]?, high[row]?]));
        let words = [number(value), beside].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ");
        bars.push(Bar { name: format!("{source}{}", cells[name_at]), value, interval, words });
    }
    drawn_bars(title, drawn.told, &bars, kept)
}

fn numbers(table: &Table, name: &str) -> Option<Vec<Option<f64>>> {
    match &table.columns().iter().find(|column| column.name == name)?.values {
        Values::Float(values) => Some(values.clone()),
        Values::Int(values) => Some(values.iter().map(|value| value.map(|value| value as f64)).collect()),
        _ => None,
    }
}

fn number(value: f64) -> String {
    let text = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    text.replace('-', "−")
}

fn grid(table: &Table) -> Grid {
    let header = table.columns().iter().map(|column| column.name.clone()).collect();
    Grid { header, rows: (0..table.rows().min(ROWS)).map(|row| table.cells(row)).collect() }
}

/// Every artifact with its key and digest.
pub fn artifacts(stored: &Stored<'_>) -> Vec<Block> {
    let mut grid = Grid::new(["stage", "key", "artifact", "type", "bytes", "digest"]);
    let mut seen = BTreeSet::new();
    for stage in stored.runs.iter().flat_map(|run| &run.stages) {
        let Some(result) = stage.result.as_ref().filter(|result| seen.insert(result.key)) else { continue };
        for artifact in &result.artifacts {
            let (key, digest) = (result.key.short(), artifact.digest.short());
            let sort = artifact.artifact.to_string();
            grid.push([stage.name.clone(), key, artifact.name.clone(), sort, artifact.bytes.to_string(), digest]);
        }
    }
    match grid.rows.len() {
        0 => Vec::new(),
        1..=SHOWN => vec![Block::Table(grid)],
        n => vec![Block::Fold { title: format!("All {n} artifacts"), blocks: vec![Block::Table(grid)] }],
    }
}
