//! The differences of two Parquet files: columns by name, cells by row, lists item by item. Unaware of what the
//! columns mean.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use polars::prelude::{ArrowDataType, ArrowSchema, DataType, FileMetadataRef, ParquetReader, SerReader as _, Series};

use crate::compare::tally::{Scalar, Tally};
use crate::compare::{Form, Place, Side, Values};

/// A Parquet file whose columns are read one at a time, so that only two are in memory.
struct Table<'a> {
    path: &'a Path,
    which: &'a str,
    schema: Arc<ArrowSchema>,
    about: FileMetadataRef,
}

/// Compares the columns in the order of the old file.
pub fn compare(old: &Path, new: &Path) -> Result<(Vec<Form>, Vec<Values>)> {
    let (old, new) = (Table::open(old, "old")?, Table::open(new, "new")?);
    let (mut forms, mut values) = (Vec::new(), Vec::new());
    for name in old.schema.iter_names() {
        let Some(new_type) = new.type_of(name) else {
            forms.push(Form::Only { side: Side::Old, part: part(name) });
            continue;
        };
        let old_type = old.type_of(name).context("a name comes from its schema")?;
        if old_type != new_type {
            forms.push(Form::Type { part: part(name), old: old_type.to_string(), new: new_type.to_string() });
            continue;
        }
        let mut tally = Tally::new();
        column(name, &old.column(name)?, &new.column(name)?, &mut tally)?;
        values.extend(tally.values());
    }
    let added = new.schema.iter_names().filter(|name| old.type_of(name).is_none());
    forms.extend(added.map(|name| Form::Only { side: Side::New, part: part(name) }));
    forms.extend(about(&old, &new));
    Ok((forms, values))
}

impl<'a> Table<'a> {
    fn open(path: &'a Path, which: &'a str) -> Result<Self> {
        let broken = || format!("the {which} file cannot be read as Parquet");
        let mut reader = ParquetReader::new(File::open(path).with_context(broken)?);
        let schema = reader.schema().with_context(broken)?;
        // Polars panics on types that it was built without; they are looked at before it decodes any.
        if let Some((name, field)) = schema.iter().find(|(_, field)| !is_known(&field.dtype)) {
            bail!("column `{name}` of the {which} file holds {:?}, which is not taken apart", field.dtype);
        }
        let about = reader.get_metadata().with_context(broken)?.clone();
        Ok(Self { path, which, schema, about })
    }

    fn type_of(&self, name: &str) -> Option<DataType> {
        self.schema.get(name).map(|field| DataType::from_arrow_dtype(&field.dtype))
    }

    fn column(&self, name: &str) -> Result<Series> {
        let broken = || format!("column `{name}` of the {} file cannot be read", self.which);
        let file = File::open(self.path).with_context(broken)?;
        let frame = ParquetReader::new(file).with_columns(Some(vec![name.to_owned()])).finish().with_context(broken)?;
        Ok(frame.column(name).with_context(broken)?.as_materialized_series().rechunk())
    }
}

fn part(name: &str) -> String {
    format!("column `{name}`")
}

fn is_known(dtype: &ArrowDataType) -> bool {
    match dtype {
        ArrowDataType::List(inner) | ArrowDataType::LargeList(inner) => is_known_leaf(&inner.dtype),
        other => is_known_leaf(other),
    }
}

fn is_known_leaf(dtype: &ArrowDataType) -> bool {
    use ArrowDataType as T;
    let numbers = [T::Int32, T::Int64, T::UInt32, T::UInt64, T::Float32, T::Float64];
    let others = [T::Boolean, T::Utf8, T::LargeUtf8, T::Utf8View, T::Binary, T::LargeBinary, T::BinaryView];
    numbers.contains(dtype) || others.contains(dtype)
}

/// What the files say beside their values.
fn about(old: &Table<'_>, new: &Table<'_>) -> Vec<Form> {
    let mut forms = Vec::new();
    let rows = [old.about.num_rows, new.about.num_rows];
    if rows[0] != rows[1] {
        forms.push(Form::Rows { old: rows[0], new: rows[1] });
    }
    let names = [old, new].map(|table| table.schema.iter_names().collect::<Vec<_>>());
    let sorted = names.clone().map(|mut names| {
        names.sort();
        names
    });
    if names[0] != names[1] && sorted[0] == sorted[1] {
        forms.push(Form::Order);
    }
    let groups = [old, new].map(|table| table.about.row_groups.len().to_string());
    let writers = [old, new].map(|table| table.about.created_by.clone().unwrap_or_else(|| "nobody".into()));
    for (what, [old, new]) in [("row groups", groups), ("written by", writers)] {
        if old != new {
            forms.push(Form::Metadata { what: what.into(), old, new });
        }
    }
    forms
}

/// Compares the rows that both columns have.
fn column(name: &str, old: &Series, new: &Series, tally: &mut Tally) -> Result<()> {
    let rows = old.len().min(new.len());
    let (old, new) = (old.slice(0, rows), new.slice(0, rows));
    let cell = |row, item| Place::Cell { column: name.to_owned(), row, item };
    if !matches!(old.dtype(), DataType::List(_)) {
        return leaves(&old, &new, |row| cell(row, None), tally);
    }
    let (old, new) = (old.list()?, new.list()?);
    for row in 0..rows {
        match (old.get_as_series(row), new.get_as_series(row)) {
            (None, None) => tally.same(1),
            (Some(old), Some(new)) => leaves(&old, &new, |item| cell(row, Some(item)), tally)?,
            (old, new) => {
                let words = [old, new].map(|list| list.map(|list| format!("a list of {}", list.len())));
                let [old, new] = words.each_ref().map(|words| words.as_deref().map_or(Scalar::Null, Scalar::Composite));
                tally.count(|| cell(row, None), old, new);
            }
        }
    }
    Ok(())
}

/// Compares values that are no lists; what only the longer one has differs.
fn leaves(old: &Series, new: &Series, place: impl Fn(usize) -> Place, tally: &mut Tally) -> Result<()> {
    let whole = |value: i128| Scalar::Int(value);
    match old.dtype() {
        DataType::Float32 => pairs(old.f32()?.iter(), new.f32()?.iter(), Scalar::F32, place, tally),
        DataType::Float64 => pairs(old.f64()?.iter(), new.f64()?.iter(), Scalar::F64, place, tally),
        DataType::Int64 => pairs(old.i64()?.iter(), new.i64()?.iter(), |v| whole(v.into()), place, tally),
        DataType::Int32 => pairs(old.i32()?.iter(), new.i32()?.iter(), |v| whole(v.into()), place, tally),
        DataType::UInt64 => pairs(old.u64()?.iter(), new.u64()?.iter(), |v| whole(v.into()), place, tally),
        DataType::UInt32 => pairs(old.u32()?.iter(), new.u32()?.iter(), |v| whole(v.into()), place, tally),
        DataType::Boolean => pairs(old.bool()?.iter(), new.bool()?.iter(), Scalar::Flag, place, tally),
        DataType::String => pairs(old.str()?.iter(), new.str()?.iter(), Scalar::Text, place, tally),
        DataType::Binary => pairs(old.binary()?.iter(), new.binary()?.iter(), Scalar::Bits, place, tally),
        other => bail!("a column holds {other}, which is not taken apart"),
    }
    Ok(())
}

fn pairs<'a, T>(
    mut old: impl Iterator<Item = Option<T>>,
    mut new: impl Iterator<Item = Option<T>>,
    scalar: impl Fn(T) -> Scalar<'a>,
    place: impl Fn(usize) -> Place,
    tally: &mut Tally,
) {
    let cell = |value: Option<Option<T>>| match value {
        Some(Some(value)) => scalar(value),
        Some(None) => Scalar::Null,
        None => Scalar::Absent,
    };
    for at in 0.. {
        let (old, new) = (old.next(), new.next());
        if old.is_none() && new.is_none() {
            break;
        }
        tally.count(|| place(at), cell(old), cell(new));
    }
}
