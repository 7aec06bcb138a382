//! Writes a Parquet file as CSV (RFC 4180, `\n` at line ends), portion by portion, every number so that it can be read
//! back without loss. Unaware of what the columns mean.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use polars::prelude::{Column, DataFrame, DataType, SerReader as _};

use crate::parquet;

/// Rows that are in memory at a time.
const ROWS_AT_ONCE: usize = 1 << 18;

/// Writes the rows of a Parquet file as CSV; returns their number.
pub fn write(from: &Path, to: &Path) -> Result<usize> {
    let rows = parquet::open(from, &[])?.num_rows().with_context(|| parquet::unreadable(from))?;
    let unwritable = || format!("`{}` cannot be written", to.display());
    let mut file = BufWriter::new(File::create(to).with_context(unwritable)?);
    // At least once, so that a table without rows keeps its header.
    for first in (0..rows.max(1)).step_by(ROWS_AT_ONCE) {
        let reader = parquet::open(from, &[])?.with_slice(Some((first, ROWS_AT_ONCE)));
        let mut frame = reader.finish().with_context(|| parquet::unreadable(from))?;
        frame.rechunk_mut();
        let text = rows_as_text(&frame, first == 0).with_context(|| format!("`{}` is no table", from.display()))?;
        file.write_all(text.as_bytes()).with_context(unwritable)?;
    }
    file.flush().with_context(unwritable)?;
    Ok(rows)
}

fn rows_as_text(frame: &DataFrame, with_header: bool) -> Result<String> {
    let columns = frame.columns().iter().map(cells).collect::<Result<Vec<_>>>()?;
    let mut text = String::new();
    if with_header {
        push_record(&mut text, frame.columns().iter().map(|column| column.name().to_string()));
    }
    for row in 0..frame.height() {
        push_record(&mut text, columns.iter().map(|column| column(row)));
    }
    Ok(text)
}

/// A cell's text by its row; empty where there is no value.
type Cells<'a> = Box<dyn Fn(usize) -> String + 'a>;

fn cells(column: &Column) -> Result<Cells<'_>> {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    Ok(match column.dtype() {
        DataType::String => {
            let values = column.str()?;
            Box::new(move |row| text(values.get(row)))
        }
        DataType::Int64 => {
            let values = column.i64()?;
            Box::new(move |row| text(values.get(row)))
        }
        DataType::Float32 => {
            let values = column.f32()?;
            Box::new(move |row| text(values.get(row)))
        }
        DataType::Float64 => {
            let values = column.f64()?;
            Box::new(move |row| text(values.get(row)))
        }
        DataType::Boolean => {
            let values = column.bool()?;
            Box::new(move |row| text(values.get(row)))
        }
        other => bail!("column `{}` holds {other}, which a line of CSV cannot: take Parquet", column.name()),
    })
}

fn push_record(text: &mut String, fields: impl Iterator<Item = String>) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            text.push(',');
        }
        match field.contains(['"', ',', '\n', '\r']) {
            true => text.push_str(&format!("\"{}\"", field.replace('"', "\"\""))),
            false => text.push_str(&field),
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Column, Table};

    fn csv(table: &Table) -> (usize, String) {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("t.parquet"), folder.path().join("t.csv"));
        table.write(&from).unwrap();
        let rows = write(&from, &to).unwrap();
        (rows, std::fs::read_to_string(to).unwrap())
    }

    #[test]
    fn a_table_is_the_same_text_as_the_table_itself_says() {
        let table = Table::new(vec![
            Column::int("line", [1, 2]),
            Column::float("mae (BPM)", [Some(5.320_000_000_1), None]),
            Column::optional_text("reason", [Some("no dict, \"x\""), None]),
            Column::flag("kept", [Some(true), None]),
        ]);
        let table = table.unwrap();
        assert_eq!(csv(&table), (2, table.csv()));
    }

    #[test]
    fn many_rows_are_written_in_portions_and_none_keeps_the_header() {
        let many = Table::new(vec![Column::int("n", 0..ROWS_AT_ONCE as i64 + 3)]).unwrap();
        let (rows, text) = csv(&many);
        assert_eq!((rows, text.lines().count()), (ROWS_AT_ONCE + 3, ROWS_AT_ONCE + 4));
        assert!(text.ends_with("262146\n"), "{}", &text[text.len() - 20..]);
        let none = Table::new(vec![Column::int::<i64>("n", [])]).unwrap();
        assert_eq!(csv(&none), (0, "n\n".to_owned()));
    }
}
