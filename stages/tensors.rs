//! A safetensors file of named arrays with one JSON header. Unaware of what the arrays mean.
//!
//! The header lies under a single metadata key, because the format keeps its metadata in a hash map: with one
//! key the same content always gives the same bytes. The format orders arrays by type, wide before narrow, so
//! that each starts at a multiple of its own width.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

const KEY: &str = "pacer";

/// An array to be written: its shape, row-major, and its values.
pub struct Array<'a> {
    shape: Vec<usize>,
    values: Values<'a>,
}

enum Values<'a> {
    F32(&'a [f32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
}

impl<'a> Array<'a> {
    /// An array of 32-bit floats.
    pub fn f32(shape: &[usize], values: &'a [f32]) -> Self {
        Self { shape: shape.to_vec(), values: Values::F32(values) }
    }

    /// A vector of 64-bit integers.
    pub fn i64(values: &'a [i64]) -> Self {
        Self { shape: vec![values.len()], values: Values::I64(values) }
    }

    /// A vector of bytes.
    pub fn u8(values: &'a [u8]) -> Self {
        Self { shape: vec![values.len()], values: Values::U8(values) }
    }
}

impl View for Array<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::I64(_) => Dtype::I64,
            Values::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.values {
            Values::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Values::I64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Values::U8(values) => Cow::Borrowed(values),
        }
    }

    fn data_len(&self) -> usize {
        match self.values {
            Values::F32(values) => size_of_val(values),
            Values::I64(values) => size_of_val(values),
            Values::U8(values) => values.len(),
        }
    }
}

/// Writes arrays by name under a header; the same content gives the same bytes.
pub fn write<'a>(
    path: &Path,
    header: &impl Serialize,
    arrays: impl IntoIterator<Item = (&'a str, Array<'a>)>,
) -> Result<()> {
    let header = serde_json::to_string(header).context("the header is plain data")?;
    let metadata = HashMap::from([(KEY.to_owned(), header)]);
    safetensors::serialize_to_file(arrays, Some(metadata), path)
        .with_context(|| format!("`{}` cannot be written", path.display()))
}

/// A file of arrays, mapped into memory; every error names the file.
pub struct Arrays {
    path: PathBuf,
    bytes: Mmap,
}

impl Arrays {
    /// Maps a file; its form is checked when something is read.
    pub fn open(path: &Path) -> Result<Self> {
        let name = || format!("`{}` cannot be read", path.display());
        let file = File::open(path).with_context(name)?;
        // SAFETY: artifacts are immutable once named: the store writes elsewhere and renames, so the mapped
        // bytes do not change while the map lives.
        let bytes = unsafe { Mmap::map(&file) }.with_context(name)?;
        Ok(Self { path: path.to_path_buf(), bytes })
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
        self.decode(name, Dtype::F32, f32::from_le_bytes)
    }

    /// The values of a vector of 64-bit integers.
    pub fn i64(&self, name: &str) -> Result<Vec<i64>> {
        let (shape, values) = self.decode(name, Dtype::I64, i64::from_le_bytes)?;
        self.expect_shape(name, &shape, &[values.len()])?;
        Ok(values)
    }

    /// The values of a vector of bytes.
    pub fn u8(&self, name: &str) -> Result<Vec<u8>> {
        let (shape, values) = self.decode(name, Dtype::U8, u8::from_le_bytes)?;
        self.expect_shape(name, &shape, &[values.len()])?;
        Ok(values)
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

    fn decode<T, const N: usize>(
        &self,
        name: &str,
        dtype: Dtype,
        value: fn([u8; N]) -> T,
    ) -> Result<(Vec<usize>, Vec<T>)> {
        let arrays = self.arrays()?;
        let array = arrays.tensor(name).with_context(|| self.broken())?;
        if array.dtype() != dtype {
            bail!("{}: array `{name}` holds {} where {dtype} belongs", self.broken(), array.dtype());
        }
        let (chunks, _) = array.data().as_chunks::<N>();
        Ok((array.shape().to_vec(), chunks.iter().copied().map(value).collect()))
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
