//! A safetensors file of named arrays with one JSON header. Unaware of what the arrays mean.
//!
//! The header lies under a single metadata key, because the format keeps its metadata in a hash map: with one
//! key the same content always gives the same bytes. The format orders arrays by type, wide before narrow, so
//! that each starts at a multiple of its own width.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tensors::column::{Column, Number};

pub mod column;

const KEY: &str = "pacer";

/// An array to be written: its shape, row-major, and its values.
pub struct Array<'a> {
    shape: Vec<usize>,
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Array<'a> {
    /// An array of 32-bit floats.
    pub fn f32(shape: &[usize], values: &'a [f32]) -> Self {
        Self { shape: shape.to_vec(), dtype: Dtype::F32, bytes: column::bytes(values) }
    }

    /// A vector of 64-bit integers.
    pub fn i64(values: &'a [i64]) -> Self {
        Self { shape: vec![values.len()], dtype: Dtype::I64, bytes: column::bytes(values) }
    }

    /// A vector of bytes.
    pub fn u8(values: &'a [u8]) -> Self {
        Self { shape: vec![values.len()], dtype: Dtype::U8, bytes: column::bytes(values) }
    }
}

impl View for Array<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// What a file says of an array whose values follow later.
pub struct Announced<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// The first bytes of a file of these arrays, after which their values follow in this order without a gap: what
/// [`write`] would begin with. The order must be the format's: wide types first, names sorted within a type.
pub fn head(header: &impl Serialize, arrays: &[Announced<'_>]) -> Result<Vec<u8>> {
    let rank = |array: &Announced<'_>| (Reverse(array.dtype), array.name.to_owned());
    assert!(arrays.is_sorted_by_key(rank), "arrays are announced in the format's order");
    let mut end = 0;
    let info = |array: &Announced<'_>| {
        let start = end;
        end += array.shape.iter().product::<usize>() * array.dtype.bitsize() / 8;
        let info = TensorInfo { dtype: array.dtype, shape: array.shape.clone(), data_offsets: (start, end) };
        (array.name.to_owned(), info)
    };
    let infos = arrays.iter().map(info).collect();
    let metadata = Metadata::new(Some(metadata(header)?), infos).context("arrays follow each other")?;
    let mut text = serde_json::to_vec(&metadata)?;
    // Spaces up to a multiple of eight, so that what follows is aligned.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes(), &*text].concat())
}

fn metadata(header: &impl Serialize) -> Result<HashMap<String, String>> {
    let header = serde_json::to_string(header).context("the header is plain data")?;
    Ok(HashMap::from([(KEY.to_owned(), header)]))
}

/// Writes arrays by name under a header; the same content gives the same bytes.
pub fn write<'a>(
    path: &Path,
    header: &impl Serialize,
    arrays: impl IntoIterator<Item = (&'a str, Array<'a>)>,
) -> Result<()> {
    safetensors::serialize_to_file(arrays, Some(metadata(header)?), path)
        .with_context(|| format!("`{}` cannot be written", path.display()))
}

/// A file of arrays, mapped into memory; every error names the file.
pub struct Arrays {
    path: PathBuf,
    bytes: Arc<Mmap>,
}

impl Arrays {
    /// Maps a file; its form is checked when something is read.
    pub fn open(path: &Path) -> Result<Self> {
        let name = || format!("`{}` cannot be read", path.display());
        let file = File::open(path).with_context(name)?;
        // SAFETY: artifacts are immutable once named: the store writes elsewhere and renames, so the mapped
        // bytes do not change while the map lives.
        let bytes = unsafe { Mmap::map(&file) }.with_context(name)?;
        Ok(Self { path: path.to_path_buf(), bytes: Arc::new(bytes) })
    }

    /// Decodes the header.
    pub fn header<T: DeserializeOwned>(&self) -> Result<T> {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes).with_context(|| self.broken())?;
        let text = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let text = text.with_context(|| format!("{}: it has no header `{KEY}`", self.broken()))?;
        serde_json::from_str(text).with_context(|| format!("{}: its header does not fit", self.broken()))
    }

    /// Names of all arrays, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        let arrays = self.arrays()?;
        let mut names: Vec<String> = arrays.names().into_iter().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// The shape and the values of an array of 32-bit floats.
    pub fn f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let (shape, values) = self.column(name)?;
        Ok((shape, values.into_vec()))
    }

    /// The values of a vector of 64-bit integers.
    pub fn i64(&self, name: &str) -> Result<Vec<i64>> {
        Ok(self.vector(name)?.into_vec())
    }

    /// The values of a vector of bytes.
    pub fn u8(&self, name: &str) -> Result<Vec<u8>> {
        Ok(self.vector(name)?.into_vec())
    }

    /// The values of a vector, seen in the file.
    pub fn vector<T: Number>(&self, name: &str) -> Result<Column<T>> {
        let (shape, values) = self.column(name)?;
        self.expect_shape(name, &shape, &[values.len()])?;
        Ok(values)
    }

    /// The shape and the values of an array, seen in the file.
    pub fn column<T: Number>(&self, name: &str) -> Result<(Vec<usize>, Column<T>)> {
        let (head, metadata) = SafeTensors::read_metadata(&self.bytes).with_context(|| self.broken())?;
        let array = metadata.info(name).with_context(|| format!("{}: it has no array `{name}`", self.broken()))?;
        let wanted = T::DTYPE;
        if array.dtype != wanted {
            bail!("{}: array `{name}` holds {} where {wanted} belongs", self.broken(), array.dtype);
        }
        // Data begin after the header and its length.
        let (start, end) = array.data_offsets;
        let first = size_of::<u64>() + head;
        Ok((array.shape.clone(), Column::mapped(&self.bytes, first + start..first + end)))
    }

    /// Fails, naming file and array, where a shape is not the expected one.
    pub fn expect_shape(&self, name: &str, found: &[usize], expected: &[usize]) -> Result<()> {
        ensure!(found == expected, "{}: array `{name}` has shape {found:?} where {expected:?} belongs", self.broken());
        Ok(())
    }

    /// The beginning of an error about this file.
    pub fn broken(&self) -> String {
        format!("`{}` is damaged or no such artifact", self.path.display())
    }

    fn arrays(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).with_context(|| self.broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_twice_written_is_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let (floats, bytes, numbers) = ([1.5f32, -2.0, 0.1, 3.0], [1u8, 0, 1], [7i64, -9]);
        for path in [&a, &b] {
            let arrays = [
                ("bytes", Array::u8(&bytes)),
                ("floats", Array::f32(&[2, 2], &floats)),
                ("numbers", Array::i64(&numbers)),
            ];
            write(path, &["head", "er"], arrays).unwrap();
        }
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let file = Arrays::open(&a).unwrap();
        assert_eq!(file.header::<Vec<String>>().unwrap(), ["head", "er"]);
        assert_eq!(file.names().unwrap(), ["bytes", "floats", "numbers"]);
        assert_eq!(file.f32("floats").unwrap(), (vec![2, 2], floats.to_vec()));
        assert_eq!(file.u8("bytes").unwrap(), bytes);
        assert_eq!(file.i64("numbers").unwrap(), numbers);
    }

    #[test]
    fn what_is_announced_begins_as_what_is_written_and_every_array_is_aligned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for length in 0..24 {
            let header = "h".repeat(length);
            let (floats, bytes, numbers) = (vec![0.5_f32; length], vec![1_u8; length], vec![7_i64; length + 1]);
            let arrays = [
                ("bytes", Array::u8(&bytes)),
                ("floats", Array::f32(&[length, 1], &floats)),
                ("numbers", Array::i64(&numbers)),
            ];
            write(&path, &header, arrays).unwrap();
            let announced = |name, dtype, shape: &[usize]| Announced { name, dtype, shape: shape.to_vec() };
            let arrays = [
                announced("numbers", Dtype::I64, &[length + 1]),
                announced("floats", Dtype::F32, &[length, 1]),
                announced("bytes", Dtype::U8, &[length]),
            ];
            let head = head(&header, &arrays).unwrap();
            assert_eq!(head, std::fs::read(&path).unwrap()[..head.len()]);
            let file = Arrays::open(&path).unwrap();
            assert!(file.vector::<i64>("numbers").unwrap().is_mapped());
            assert!(file.column::<f32>("floats").unwrap().1.is_mapped());
        }
    }

    #[test]
    fn a_damaged_file_is_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.safetensors");
        std::fs::write(&path, b"no such thing").unwrap();
        let error = Arrays::open(&path).unwrap().f32("x").unwrap_err();
        assert!(format!("{error:#}").contains("broken.safetensors"), "{error:#}");
        let absent = Arrays::open(&folder.path().join("absent")).err().unwrap();
        assert!(format!("{absent:#}").contains("absent"), "{absent:#}");
    }
}
