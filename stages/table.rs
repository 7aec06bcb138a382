//! Tables for people: named, typed columns, their Parquet file, and their rows as text.
//! Unaware of what the figures mean.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use polars::prelude::{Column as Stored, DataFrame, DataType, IntoColumn as _, NamedFrom as _, Schema, Series};

use crate::parquet;

/// Columns of one length, each with its own name.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, with the unit where it has one.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// The values of a column; `None` is an empty cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Whole numbers.
    Int(Vec<Option<i64>>),
    /// Numbers.
    Float(Vec<Option<f64>>),
    /// Words.
    Text(Vec<Option<String>>),
    /// Yes or no.
    Flag(Vec<Option<bool>>),
}

impl Column {
    /// A column of whole numbers.
    pub fn int<T: Into<Option<i64>>>(name: impl Into<String>, values: impl IntoIterator<Item = T>) -> Self {
        Self { name: name.into(), values: Values::Int(values.into_iter().map(Into::into).collect()) }
    }

    /// A column of numbers.
    pub fn float<T: Into<Option<f64>>>(name: impl Into<String>, values: impl IntoIterator<Item = T>) -> Self {
        Self { name: name.into(), values: Values::Float(values.into_iter().map(Into::into).collect()) }
    }

    /// A column of words without an empty cell.
    pub fn text<T: Into<String>>(name: impl Into<String>, values: impl IntoIterator<Item = T>) -> Self {
        Self::optional_text(name, values.into_iter().map(Some))
    }

    /// A column of words, some of them empty.
    pub fn optional_text<T: Into<String>>(
        name: impl Into<String>,
        values: impl IntoIterator<Item = Option<T>>,
    ) -> Self {
        let values = values.into_iter().map(|value| value.map(Into::into)).collect();
        Self { name: name.into(), values: Values::Text(values) }
    }

    /// A column of yes and no.
    pub fn flag<T: Into<Option<bool>>>(name: impl Into<String>, values: impl IntoIterator<Item = T>) -> Self {
        Self { name: name.into(), values: Values::Flag(values.into_iter().map(Into::into).collect()) }
    }

    fn store(&self) -> Stored {
        let name = self.name.as_str().into();
        match &self.values {
            Values::Int(values) => Series::new(name, values),
            Values::Float(values) => Series::new(name, values),
            Values::Text(values) => Series::new(name, values),
            Values::Flag(values) => Series::new(name, values),
        }
        .into_column()
    }

    fn load(stored: &Stored) -> Result<Self> {
        let values = match stored.dtype() {
            DataType::Int64 => Values::Int(stored.i64()?.iter().collect()),
            DataType::Float64 => Values::Float(stored.f64()?.iter().collect()),
            DataType::String => Values::Text(stored.str()?.iter().map(|v| v.map(str::to_owned)).collect()),
            DataType::Boolean => Values::Flag(stored.bool()?.iter().collect()),
            other => bail!("column `{}` holds {other}, which no table does", stored.name()),
        };
        Ok(Self { name: stored.name().to_string(), values })
    }
}

impl Values {
    /// Number of cells.
    pub fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Flag(values) => values.len(),
        }
    }

    /// Whether there is no cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kind(&self) -> DataType {
        match self {
            Self::Int(_) => DataType::Int64,
            Self::Float(_) => DataType::Float64,
            Self::Text(_) => DataType::String,
            Self::Flag(_) => DataType::Boolean,
        }
    }

    /// A cell for people: empty where there is no value, numbers at six significant digits.
    fn cell(&self, row: usize) -> String {
        match self {
            Self::Float(values) => values[row].map(short).unwrap_or_default(),
            _ => self.exact(row),
        }
    }

    /// A cell that can be read back without loss.
    fn exact(&self, row: usize) -> String {
        match self {
            Self::Int(values) => values[row].map(|value| value.to_string()).unwrap_or_default(),
            Self::Float(values) => values[row].map(|value| value.to_string()).unwrap_or_default(),
            Self::Text(values) => values[row].clone().unwrap_or_default(),
            Self::Flag(values) => values[row].map(|value| value.to_string()).unwrap_or_default(),
        }
    }
}

impl Table {
    /// A table of these columns; fails when they differ in length or two bear one name.
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        for (index, column) in columns.iter().enumerate() {
            let (name, rows) = (&column.name, column.values.len());
            let first = columns[0].values.len();
            ensure!(rows == first, "column `{name}` has {rows} rows, the first column {first}");
            ensure!(columns[..index].iter().all(|c| c.name != *name), "two columns are named `{name}`");
        }
        Ok(Self { columns })
    }

    /// The columns in their order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The values of the column of this name.
    pub fn column(&self, name: &str) -> Result<&Values> {
        let column = self.columns.iter().find(|column| column.name == name);
        Ok(&column.with_context(|| format!("the table has no column `{name}`"))?.values)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// A row as text for people.
    pub fn cells(&self, row: usize) -> Vec<String> {
        self.columns.iter().map(|column| column.values.cell(row)).collect()
    }

    /// The whole table as CSV (RFC 4180, `\n` at line ends), numbers without loss.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        push_record(&mut text, self.columns.iter().map(|column| column.name.clone()));
        for row in 0..self.rows() {
            push_record(&mut text, self.columns.iter().map(|column| column.values.exact(row)));
        }
        text
    }

    /// Names and types of the columns.
    fn shape(&self) -> Vec<(String, DataType)> {
        self.columns.iter().map(|column| (column.name.clone(), column.values.kind())).collect()
    }

    /// Writes the table as Parquet; the same table gives the same bytes.
    pub fn write(&self, path: &Path) -> Result<()> {
        parquet::write(path, self.columns.iter().map(Column::store).collect())
    }

    /// Reads a table that [`Table::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let frame = parquet::read(path)?;
        let columns = frame.columns().iter().map(Column::load).collect::<Result<Vec<_>>>();
        Ok(Self { columns: columns.with_context(|| format!("`{}` is no table", path.display()))? })
    }
}

/// Writes a table that grows, batch by batch, so that memory does not grow with it.
pub struct TableWriter {
    path: PathBuf,
    file: parquet::FileWriter,
    columns: Vec<(String, DataType)>,
}

impl TableWriter {
    /// Starts a file with the columns of a table, whose rows are not written.
    pub fn create(path: &Path, like: &Table) -> Result<Self> {
        let columns = like.shape();
        let schema = Schema::from_iter(columns.iter().map(|(name, kind)| (name.as_str().into(), kind.clone())));
        Ok(Self { path: path.to_owned(), file: parquet::create(path, &schema)?, columns })
    }

    /// Appends rows; fails when the columns are not those of the start.
    pub fn write(&mut self, rows: &Table) -> Result<()> {
        ensure!(rows.shape() == self.columns, "`{}`: rows with other columns", self.path.display());
        let frame = DataFrame::new_infer_height(rows.columns.iter().map(Column::store).collect())?;
        self.file.write_batch(&frame).with_context(|| self.unwritable())
    }

    /// Ends the file; without this call it is no Parquet file.
    pub fn finish(self) -> Result<()> {
        self.file.finish().with_context(|| self.unwritable())?;
        Ok(())
    }

    fn unwritable(&self) -> String {
        format!("`{}` cannot be written", self.path.display())
    }
}

fn push_record(text: &mut String, fields: impl Iterator<Item = String>) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            text.push(',');
        }
        if field.contains(['"', ',', '\n', '\r']) {
            text.push('"');
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&field);
        }
    }
    text.push('\n');
}

/// Six significant digits without trailing zeros; very large and very small numbers with an exponent.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-5..15).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let decimals = (5 - magnitude).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Column, Table, TableWriter, Values, short};

    fn table() -> Table {
        Table::new(vec![
            Column::int("line", [1, 2, 3]),
            Column::float("mae (BPM)", [Some(5.320_000_000_1), None, Some(f64::INFINITY)]),
            Column::optional_text("reason", [Some("no dict, \"x\""), None, Some("")]),
            Column::flag("kept", [Some(true), Some(false), None]),
        ])
        .unwrap()
    }

    #[test]
    fn a_table_comes_back_as_it_was_written_and_twice_with_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        table().write(&one).unwrap();
        table().write(&two).unwrap();
        assert_eq!(Table::read(&one).unwrap(), table());
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn a_table_written_in_batches_reads_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let batch = |first: i64| Table::new(vec![Column::int("n", [first, first + 1])]).unwrap();
        let mut writer = TableWriter::create(&path, &batch(0)).unwrap();
        writer.write(&batch(1)).unwrap();
        writer.write(&batch(3)).unwrap();
        assert!(writer.write(&table()).is_err());
        writer.finish().unwrap();
        assert_eq!(Table::read(&path).unwrap(), Table::new(vec![Column::int("n", [1, 2, 3, 4])]).unwrap());
    }

    #[test]
    fn a_table_without_rows_keeps_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        let none = Table::new(vec![Column::int::<i64>("line", []), Column::text::<&str>("reason", [])]).unwrap();
        none.write(&path).unwrap();
        let back = Table::read(&path).unwrap();
        assert_eq!(back, none);
        assert_eq!(back.column("reason").unwrap(), &Values::Text(vec![]));
    }

    #[test]
    fn csv_quotes_what_needs_quotes_and_keeps_every_digit() {
        let expected = "line,mae (BPM),reason,kept\n\
            1,5.3200000001,\"no dict, \"\"x\"\"\",true\n2,,,false\n3,inf,,\n";
        assert_eq!(table().csv(), expected);
        assert_eq!(table().cells(0), ["1", "5.32", "no dict, \"x\"", "true"]);
    }

    #[test]
    fn numbers_for_people_have_six_significant_digits() {
        let cases =
            [(0.1 + 0.2, "0.3"), (-12_345_678.4, "-12345678"), (1.0e-9 / 3.0, "3.33333e-10"), (999_999.96, "1000000")];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn columns_that_do_not_fit_are_refused() {
        let uneven = Table::new(vec![Column::int("a", [1]), Column::int("b", [1, 2])]);
        assert_eq!(uneven.unwrap_err().to_string(), "column `b` has 2 rows, the first column 1");
        let twice = Table::new(vec![Column::int("a", [1]), Column::int("a", [1])]);
        assert_eq!(twice.unwrap_err().to_string(), "two columns are named `a`");
    }
}
