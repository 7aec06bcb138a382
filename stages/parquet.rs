//! The one way Parquet is written here: settings fixed, so that the same rows give the same bytes.
//! Unaware of what the columns mean.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use polars::polars_utils::compression::ZstdLevel;
use polars::prelude::{
    BatchedWriter, Column, DataFrame, DataType, ParquetCompression, ParquetReader, ParquetWriter, Schema,
    SchemaExt as _, SerReader as _, StatisticsOptions,
};

/// Rows of a row group where the caller does not cut them itself.
const ROWS_PER_GROUP: usize = 1 << 16;

/// The level of compression. Workouts of 500 points take 6 % more room than at the usual level 3 and half the time.
const LEVEL: i32 = 1;

/// A Parquet file that is being written.
pub type FileWriter = BatchedWriter<BufWriter<File>>;

/// Starts a file of this schema; each frame that is written becomes a row group.
pub fn create(path: &Path, schema: &Schema) -> Result<FileWriter> {
    settings(path)?.batched(schema).with_context(|| format!("`{}` cannot be written", path.display()))
}

/// Writes a whole file.
///
/// Fails when columns differ in length or the file cannot be written.
pub fn write(path: &Path, columns: Vec<Column>) -> Result<()> {
    let context = || format!("`{}` cannot be written", path.display());
    let mut frame = DataFrame::new_infer_height(columns).with_context(context)?;
    settings(path)?.with_row_group_size(Some(ROWS_PER_GROUP)).finish(&mut frame).with_context(context)?;
    Ok(())
}

/// Opens a file and checks that it holds these columns with these types.
pub fn open(path: &Path, columns: &[(&str, DataType)]) -> Result<ParquetReader<File>> {
    let mut reader = reader(path)?;
    let schema = reader.schema().with_context(|| unreadable(path))?;
    let schema = Schema::from_arrow_schema(schema.as_ref());
    for (name, wanted) in columns {
        match schema.get(name) {
            None => bail!("`{}` has no column `{name}`; it was not written as such a file", path.display()),
            Some(found) if found != wanted => {
                bail!("`{}`: column `{name}` holds {found}, not {wanted}", path.display())
            }
            Some(_) => {}
        }
    }
    Ok(reader)
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<DataFrame> {
    let mut frame = reader(path)?.finish().with_context(|| unreadable(path))?;
    frame.rechunk_mut();
    Ok(frame)
}

/// The words for a file that is no Parquet file or a damaged one.
pub fn unreadable(path: &Path) -> String {
    format!("`{}` cannot be read as Parquet", path.display())
}

fn reader(path: &Path) -> Result<ParquetReader<File>> {
    let file = File::open(path).with_context(|| format!("`{}` cannot be opened", path.display()))?;
    Ok(ParquetReader::new(file))
}

fn settings(path: &Path) -> Result<ParquetWriter<BufWriter<File>>> {
    let file = File::create(path).with_context(|| format!("`{}` cannot be created", path.display()))?;
    Ok(ParquetWriter::new(BufWriter::new(file))
        .with_compression(ParquetCompression::Zstd(Some(ZstdLevel::try_new(LEVEL)?)))
        .with_statistics(StatisticsOptions::default()))
}
