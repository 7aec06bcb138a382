//! The values of an array, whether they are in memory or still in the file that is mapped there, and how numbers
//! are laid in bytes. Unaware of what the numbers mean.

use std::borrow::Cow;
use std::fmt::{self, Debug, Formatter};
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::tensor::Dtype;

/// A number that arrays hold; files hold it with its least byte first.
///
/// # Safety
///
/// Every pattern of bits is a value of the type, and it has no padding: its slices can be seen as bytes and bytes
/// as slices of it.
pub unsafe trait Number: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// The format's word for the type.
    const DTYPE: Dtype;
    /// Reads one from bytes of its size.
    fn read(bytes: &[u8]) -> Self;
    /// Appends its bytes.
    fn append(self, to: &mut Vec<u8>);
}

/// Why bytes can be made a number.
const WHOLE: &str = "the bytes of one number";

// SAFETY: a float has no padding, and NaN has many patterns but no pattern is none.
unsafe impl Number for f32 {
    const DTYPE: Dtype = Dtype::F32;

    fn read(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect(WHOLE))
    }

    fn append(self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }
}

// SAFETY: an integer has no padding and no pattern that is none.
unsafe impl Number for i64 {
    const DTYPE: Dtype = Dtype::I64;

    fn read(bytes: &[u8]) -> Self {
        Self::from_le_bytes(bytes.try_into().expect(WHOLE))
    }

    fn append(self, to: &mut Vec<u8>) {
        to.extend(self.to_le_bytes());
    }
}

// SAFETY: as above.
unsafe impl Number for u8 {
    const DTYPE: Dtype = Dtype::U8;

    fn read(bytes: &[u8]) -> Self {
        bytes[0]
    }

    fn append(self, to: &mut Vec<u8>) {
        to.push(self);
    }
}

/// The bytes of numbers as they lie in files: the numbers' own where the machine lays them in the same order.
pub fn bytes<T: Number>(values: &[T]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        // SAFETY: the type has no padding (see `Number`), so that every byte of the slice is initialised, and bytes
        // need no alignment.
        Cow::Borrowed(unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })
    } else {
        let mut bytes = Vec::with_capacity(size_of_val(values));
        values.iter().for_each(|value| value.append(&mut bytes));
        Cow::Owned(bytes)
    }
}

/// Values of an array: a slice, wherever it lies. One that is changed comes into memory first.
#[derive(Clone)]
pub struct Column<T: Number>(Place<T>);

#[derive(Clone)]
enum Place<T> {
    Memory(Vec<T>),
    /// `bytes` of the map begin at a multiple of the type's alignment and are a whole number of values.
    File {
        map: Arc<Mmap>,
        bytes: Range<usize>,
    },
}

impl<T: Number> Column<T> {
    /// The values in some bytes of a map: seen where they lie, or copied where they lie at an odd address or in
    /// another order of bytes than the machine's. Bytes that do not make a whole value at the end are left out.
    pub fn mapped(map: &Arc<Mmap>, bytes: Range<usize>) -> Self {
        let part = &map[bytes.clone()];
        let whole = part.len() / size_of::<T>() * size_of::<T>();
        if cfg!(target_endian = "little") && part.as_ptr().cast::<T>().is_aligned() {
            return Self(Place::File { map: map.clone(), bytes: bytes.start..bytes.start + whole });
        }
        Self(Place::Memory(part.chunks_exact(size_of::<T>()).map(T::read).collect()))
    }

    /// Whether the values are seen in a file.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Place::File { .. })
    }

    /// Appends a value.
    pub fn push(&mut self, value: T) {
        self.in_memory().push(value);
    }

    /// The values as a vector, which they become where they lie in a file.
    pub fn into_vec(self) -> Vec<T> {
        match self.0 {
            Place::Memory(values) => values,
            Place::File { .. } => self.to_vec(),
        }
    }

    fn in_memory(&mut self) -> &mut Vec<T> {
        if self.is_mapped() {
            self.0 = Place::Memory(self.to_vec());
        }
        match &mut self.0 {
            Place::Memory(values) => values,
            Place::File { .. } => unreachable!("it was copied above"),
        }
    }
}

impl<T: Number> Deref for Column<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Place::Memory(values) => values,
            Place::File { map, bytes } => {
                let bytes = &map[bytes.clone()];
                // SAFETY: alignment and length were checked in `mapped`, every pattern of bits is a value (see
                // `Number`), and the map outlives the borrow, as `self` holds it.
                unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
            }
        }
    }
}

impl<T: Number> DerefMut for Column<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.in_memory()
    }
}

impl<T: Number> From<Vec<T>> for Column<T> {
    fn from(values: Vec<T>) -> Self {
        Self(Place::Memory(values))
    }
}

impl<T: Number> Default for Column<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: Number> Extend<T> for Column<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        self.in_memory().extend(values);
    }
}

impl<'a, T: Number> Extend<&'a T> for Column<T> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, values: I) {
        self.in_memory().extend(values);
    }
}

impl<'a, T: Number> IntoIterator for &'a Column<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Number, Other: AsRef<[T]> + ?Sized> PartialEq<Other> for Column<T> {
    fn eq(&self, other: &Other) -> bool {
        **self == *other.as_ref()
    }
}

impl<T: Number> AsRef<[T]> for Column<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Number> Debug for Column<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(content: &[u8]) -> Arc<Mmap> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, content).unwrap();
        // SAFETY: nobody else knows the file.
        Arc::new(unsafe { Mmap::map(&std::fs::File::open(&path).unwrap()).unwrap() })
    }

    #[test]
    fn values_are_seen_where_they_lie_or_copied_from_an_odd_address() {
        let numbers = [1.5_f32, -2.0, f32::MIN_POSITIVE];
        let content = [&[7], &*bytes(&numbers), &*bytes(&numbers)].concat();
        let map = map(&content);
        let odd = Column::<f32>::mapped(&map, 1..13);
        let even = Column::<f32>::mapped(&map, 4..12);
        assert!(!odd.is_mapped() && even.is_mapped());
        assert_eq!(odd, numbers);
        assert_eq!(even.len(), 2);
        assert_eq!(*bytes(&even), content[4..12]);
        assert_eq!(Column::<i64>::mapped(&map, 8..25).len(), 2, "half a number is none");
    }

    #[test]
    fn a_column_that_is_changed_leaves_the_file_as_it_is() {
        let map = map(&bytes(&[3_i64, 4]));
        let mut changed = Column::<i64>::mapped(&map, 0..16);
        let same = changed.clone();
        changed[0] = 9;
        changed.push(5);
        changed.extend([6]);
        assert!(!changed.is_mapped() && same.is_mapped());
        assert_eq!((changed.into_vec(), same.into_vec()), (vec![9, 4, 5, 6], vec![3, 4]));
    }
}
