//! Compares two artifacts by what they hold: figures side by side, cells of tables, statistics of tensors, predictions
//! over each other, lines of text; and says of any two files where they differ first. Unaware of the terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use pacer_stages::artifact::ArtifactType;
use pacer_stages::compare::{self as bits, Difference};
use pacer_stages::model::{Model, Weights};
use pacer_stages::predictions;
use pacer_stages::table::Table;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use crate::cache::Artifact;
use crate::compare::traces::{Traces, traces};
use crate::compare::{Source, VERSION, artifact};

/// Cells that are told one by one.
const TOLD_CELLS: usize = 50;

/// Lines of a difference of texts that are told.
const TOLD_LINES: usize = 200;

/// Lines around a change that are told with it.
const CONTEXT: usize = 2;

/// Files up to this size are read as text, where they are text.
const TEXT_BYTES: u64 = 4 << 20;

/// Two artifacts side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Artifacts {
    /// Version of this form.
    pub v: u32,
    /// What people call the two.
    pub names: [String; 2],
    /// Their type.
    #[serde(rename = "type")]
    pub artifact: ArtifactType,
    /// Where their bytes differ; none where they are the same.
    pub difference: Option<Difference>,
    /// What they hold.
    pub content: Content,
}

/// What two artifacts hold, by their type.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Figures by path.
    Figures(Vec<Figure>),
    /// The cells of two tables that differ.
    Cells(Cells),
    /// Tensors by name.
    Tensors(Vec<Tensor>),
    /// What models predicted.
    Traces(Traces),
    /// The lines of two texts that differ.
    Lines(Lines),
    /// Two drawings, whole.
    Drawings([String; 2]),
    /// Nothing more than the bytes.
    Bytes,
}

/// One figure of both; a side that lacks it is empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Its path.
    pub path: String,
    /// Its values.
    pub values: [Option<Value>; 2],
    /// The second less the first, where both are numbers.
    pub change: Option<f64>,
}

/// What differs between two tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cells {
    /// Rows of each.
    pub rows: [usize; 2],
    /// The leading columns whose values name a row in both; empty where rows are paired by their place.
    pub key: Vec<String>,
    /// Rows that only one has, by their key or place.
    pub only: [Vec<String>; 2],
    /// Columns that only one has.
    pub columns: [Vec<String>; 2],
    /// Cells that differ, in all.
    pub differing: usize,
    /// The first of them.
    pub told: Vec<Cell>,
}

/// A cell that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The row, by its key or place.
    pub row: String,
    /// The column.
    pub column: String,
    /// The values.
    pub values: [String; 2],
}

/// How two texts differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Lines that only the first has.
    pub removed: usize,
    /// Lines that only the second has.
    pub added: usize,
    /// The difference in the unified form, cut off after some lines.
    pub told: Vec<String>,
}

/// A tensor of both; a side that lacks it is empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// What each is.
    pub sides: [Option<Statistics>; 2],
    /// The largest absolute difference of an element, where the shapes agree.
    pub largest: Option<f64>,
}

/// A tensor in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Its shape.
    pub shape: Vec<usize>,
    /// The mean of its elements.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
}

/// Compares the artifacts of two sources.
pub fn compare(sources: [(&Source, &str); 2]) -> Result<Artifacts> {
    let [one, other] = [artifact(sources[0].0, sources[0].1)?, artifact(sources[1].0, sources[1].1)?];
    let names = sources.map(|(source, name)| format!("{}.{name}", source.label));
    if one.artifact != other.artifact {
        bail!(
            "`{}` is a {}, `{}` a {}: only artifacts of one type can be compared",
            names[0],
            one.artifact,
            names[1],
            other.artifact
        );
    }
    let path = |source: &Source, artifact: &Artifact| source.cache.blob(artifact);
    let [old, new] = [path(sources[0].0, one)?, path(sources[1].0, other)?];
    let difference = bits::compare(one.artifact, sources[1].1, &old, &new)?;
    let content = match (one.artifact, &difference) {
        (_, None) => Content::Bytes,
        (ArtifactType::Metrics | ArtifactType::Figure, _) => Content::Figures(figures(&old, &new)?),
        (ArtifactType::Table | ArtifactType::Split, _) => {
            Content::Cells(cells(&Table::read(&old)?, &Table::read(&new)?))
        }
        (ArtifactType::Model, _) => Content::Tensors(tensors(&Model::read(&old)?, &Model::read(&new)?)),
        (ArtifactType::Predictions, _) => Content::Traces(traces(&predictions::read(&old)?, &predictions::read(&new)?)),
        (ArtifactType::Picture, _) => match [text(&old), text(&new)] {
            [Some(old), Some(new)] => Content::Drawings([old, new]),
            _ => Content::Bytes,
        },
        (ArtifactType::File, _) => match [text(&old), text(&new)] {
            [Some(old), Some(new)] => Content::Lines(lines(&old, &new)),
            _ => Content::Bytes,
        },
        _ => Content::Bytes,
    };
    Ok(Artifacts { v: VERSION, names, artifact: one.artifact, difference, content })
}

fn figures(old: &Path, new: &Path) -> Result<Vec<Figure>> {
    let read = |path: &Path| -> Result<BTreeMap<String, Value>> {
        let text = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        let value: Value = serde_json::from_slice(&text).with_context(|| format!("`{}` is no JSON", path.display()))?;
        let mut leaves = BTreeMap::new();
        flatten("", &value, &mut leaves);
        Ok(leaves)
    };
    let (old, new) = (read(old)?, read(new)?);
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let figure = |path: &String| {
        let values = [old.get(path).cloned(), new.get(path).cloned()];
        let numbers = values.each_ref().map(|value| value.as_ref().and_then(Value::as_f64));
        let change = numbers[0].zip(numbers[1]).map(|(old, new)| new - old);
        (values[0] != values[1]).then(|| Figure { path: path.clone(), values, change })
    };
    Ok(paths.into_iter().filter_map(figure).collect())
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(entries) => entries.iter().for_each(|(name, value)| flatten(&below(name), value, leaves)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| flatten(&format!("{path}[{at}]"), value, leaves));
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf.clone());
        }
    }
}

fn cells(old: &Table, new: &Table) -> Cells {
    let names = |table: &Table| table.columns().iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    let (old_names, new_names) = (names(old), names(new));
    let only =
        |these: &[String], those: &[String]| these.iter().filter(|name| !those.contains(name)).cloned().collect();
    let columns = [only(&old_names, &new_names), only(&new_names, &old_names)];
    let width = (1..=old_names.len().min(new_names.len()))
        .take_while(|width| old_names[..*width] == new_names[..*width])
        .find(|width| keyed(old, *width).is_some() && keyed(new, *width).is_some());
    let by_place = |table: &Table| (0..table.rows()).map(|row| (row.to_string(), row)).collect::<Vec<_>>();
    let rows_of = |table: &Table| width.and_then(|width| keyed(table, width)).unwrap_or_else(|| by_place(table));
    let (olds, news) = (rows_of(old), rows_of(new));
    let places: BTreeMap<&String, usize> = news.iter().map(|(key, row)| (key, *row)).collect();
    let known: BTreeSet<&String> = olds.iter().map(|(key, _)| key).collect();
    let mut found = Cells {
        rows: [old.rows(), new.rows()],
        key: old_names[..width.unwrap_or(0)].to_vec(),
        only: [
            olds.iter().filter(|(key, _)| !places.contains_key(key)).map(|(key, _)| key.clone()).collect(),
            news.iter().filter(|(key, _)| !known.contains(key)).map(|(key, _)| key.clone()).collect(),
        ],
        columns,
        ..Cells::default()
    };
    for (key, row) in &olds {
        let Some(place) = places.get(key) else { continue };
        let (one, other) = (old.cells(*row), new.cells(*place));
        for (column, value) in old_names.iter().zip(one) {
            let Some(at) = new_names.iter().position(|name| name == column).filter(|at| other[*at] != value) else {
                continue;
            };
            found.differing += 1;
            if found.told.len() < TOLD_CELLS {
                found.told.push(Cell { row: key.clone(), column: column.clone(), values: [value, other[at].clone()] });
            }
        }
    }
    found
}

/// The rows of a table by their first columns; none where two rows have the same.
fn keyed(table: &Table, width: usize) -> Option<Vec<(String, usize)>> {
    let key = |row: usize| table.cells(row)[..width].join(", ");
    let keys: Vec<(String, usize)> = (0..table.rows()).map(|row| (key(row), row)).collect();
    let distinct: BTreeSet<&String> = keys.iter().map(|(key, _)| key).collect();
    (distinct.len() == keys.len()).then_some(keys)
}

/// A file as text; none where it is large or no text.
fn text(path: &Path) -> Option<String> {
    let small = std::fs::metadata(path).is_ok_and(|found| found.len() <= TEXT_BYTES);
    let text = small.then(|| std::fs::read_to_string(path).ok()).flatten()?;
    (!text.contains('\0')).then_some(text)
}

fn lines(old: &str, new: &str) -> Lines {
    let diff = TextDiff::from_lines(old, new);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    let unified = diff.unified_diff().context_radius(CONTEXT).to_string();
    let mut told: Vec<String> = unified.lines().take(TOLD_LINES + 1).map(str::to_owned).collect();
    if told.len() > TOLD_LINES {
        told[TOLD_LINES] = "…".to_owned();
    }
    Lines { removed: count(similar::ChangeTag::Delete), added: count(similar::ChangeTag::Insert), told }
}

fn tensors(old: &Model, new: &Model) -> Vec<Tensor> {
    let names: BTreeSet<&String> = old.tensors.keys().chain(new.tensors.keys()).collect();
    let tensor = |name: &String| {
        let both = [old.tensors.get(name), new.tensors.get(name)];
        let largest = match both {
            [Some(one), Some(other)] if one.shape == other.shape => {
                let gaps = one.values.iter().zip(&other.values).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
                Some(gaps.fold(0.0, f64::max))
            }
            _ => None,
        };
        Tensor { name: name.clone(), sides: both.map(|weights| weights.map(Statistics::of)), largest }
    };
    names.into_iter().map(tensor).collect()
}

impl Statistics {
    fn of(weights: &Weights) -> Self {
        let moments: pacer_stages::statistics::Moments = weights.values.iter().map(|value| f64::from(*value)).collect();
        Self { shape: weights.shape.clone(), mean: moments.mean, sd: moments.sd() }
    }
}

#[cfg(test)]
mod tests {
    use pacer_stages::table::Column;

    use super::*;

    #[test]
    fn rows_of_tables_are_paired_by_their_first_columns() {
        let table = |models: [&str; 3], mae: [f64; 3]| {
            Table::new(vec![Column::text("model", models), Column::float("mae", mae)]).unwrap()
        };
        let found = cells(&table(["a", "b", "c"], [1.0, 2.0, 3.0]), &table(["d", "b", "a"], [9.0, 2.5, 1.0]));
        assert_eq!(
            (found.key.as_slice(), found.only),
            (["model".to_owned()].as_slice(), [vec!["c".into()], vec!["d".into()]])
        );
        let cell = Cell { row: "b".into(), column: "mae".into(), values: ["2".into(), "2.5".into()] };
        assert_eq!((found.differing, found.told), (1, vec![cell]));
    }

    #[test]
    fn rows_without_a_key_are_paired_by_their_place() {
        let table = |x: &[i64]| Table::new(vec![Column::int("x", x.iter().copied())]).unwrap();
        let found = cells(&table(&[1, 1, 2]), &table(&[1, 3]));
        assert_eq!((found.key.len(), found.only, found.differing), (0, [vec!["2".to_owned()], vec![]], 1));
        assert_eq!(found.told[0].row, "1");
    }

    #[test]
    fn texts_are_told_apart_line_by_line_and_what_is_no_text_is_not() {
        let found = lines("a\nb\nc\n", "a\nx\nc\nd\n");
        assert_eq!((found.removed, found.added), (1, 2));
        assert_eq!(found.told, ["@@ -1,3 +1,4 @@", " a", "-b", "+x", " c", "+d"]);
        let long: String = (0..2 * TOLD_LINES).map(|at| format!("{at}\n")).collect();
        let told = lines("", &long).told;
        assert_eq!((told.len(), told.last().unwrap().as_str()), (TOLD_LINES + 1, "…"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw");
        for bytes in [&b"\xff\xfe"[..], b"a\0b"] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(text(&path), None);
        }
    }

    #[test]
    fn figures_are_side_by_side_by_their_path() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["old", "new"].map(|name| folder.path().join(name));
        std::fs::write(&paths[0], r#"{"a": {"mae": 5.0, "n": 3}, "gone": 1}"#).unwrap();
        std::fs::write(&paths[1], r#"{"a": {"mae": 4.5, "n": 3}, "list": ["x"]}"#).unwrap();
        let told: Vec<_> = figures(&paths[0], &paths[1]).unwrap().into_iter().map(|it| (it.path, it.change)).collect();
        assert_eq!(told, [("a.mae".to_owned(), Some(-0.5)), ("gone".to_owned(), None), ("list[0]".to_owned(), None)]);
    }
}
