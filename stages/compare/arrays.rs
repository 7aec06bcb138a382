//! The differences of two safetensors files: tensors by name, and the header. Unaware of what the tensors mean.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::compare::leaves;
use crate::compare::tally::{Scalar, Tally};
use crate::compare::{Form, Place, Side, Values};

/// Compares the tensors, by name, and then the header.
pub fn compare(old: &[u8], new: &[u8]) -> Result<(Vec<Form>, Vec<Values>)> {
    let (mut forms, mut values) = (Vec::new(), Vec::new());
    let tensors = [parse(old, "old")?, parse(new, "new")?];
    let names: BTreeSet<&str> = tensors.iter().flat_map(|file| file.names()).collect();
    for name in names {
        match (tensors[0].tensor(name), tensors[1].tensor(name)) {
            (Ok(old), Ok(new)) => match other_form(name, &old, &new) {
                Some(form) => forms.push(form),
                None => values.extend(tensor(name, &old, &new)),
            },
            (old, _) => {
                let side = if old.is_ok() { Side::Old } else { Side::New };
                forms.push(Form::Only { side, part: part(name) });
            }
        }
    }
    header(old, new, &mut forms, &mut values)?;
    Ok((forms, values))
}

fn parse<'a>(bytes: &'a [u8], which: &str) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).with_context(|| format!("the {which} file cannot be read as safetensors"))
}

fn part(name: &str) -> String {
    format!("tensor `{name}`")
}

fn other_form(name: &str, old: &TensorView<'_>, new: &TensorView<'_>) -> Option<Form> {
    if old.dtype() != new.dtype() {
        return Some(Form::Type { part: part(name), old: old.dtype().to_string(), new: new.dtype().to_string() });
    }
    let other_shape = old.shape() != new.shape();
    other_shape.then(|| Form::Shape { part: part(name), old: old.shape().to_vec(), new: new.shape().to_vec() })
}

/// Compares two tensors of one shape and type.
fn tensor(name: &str, old: &TensorView<'_>, new: &TensorView<'_>) -> Option<Values> {
    if old.data() == new.data() {
        return None;
    }
    let mut tally = Tally::new();
    // Types narrower than a byte are not decoded, and shown as the bytes that hold several of them.
    let bits = old.dtype().bitsize();
    let width = (bits / 8).max(1);
    let elements = old.data().chunks(width).zip(new.data().chunks(width));
    for (at, (one, other)) in elements.enumerate() {
        if one == other {
            tally.same(1);
        } else {
            let place = || Place::Element { tensor: name.to_owned(), index: index(at * 8 * width / bits, old.shape()) };
            tally.count(place, scalar(old.dtype(), one), scalar(old.dtype(), other));
        }
    }
    tally.values()
}

/// The index of the element at a position in row-major order.
fn index(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (place, size) in index.iter_mut().zip(shape).rev() {
        *place = at % size;
        at /= size;
    }
    index
}

fn scalar(dtype: Dtype, bytes: &[u8]) -> Scalar<'_> {
    fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().expect("an element is as wide as its type")
    }
    match dtype {
        Dtype::F64 => Scalar::F64(f64::from_le_bytes(fixed(bytes))),
        Dtype::F32 => Scalar::F32(f32::from_le_bytes(fixed(bytes))),
        // The upper half of a 32-bit float.
        Dtype::BF16 => Scalar::F32(f32::from_bits(u32::from(u16::from_le_bytes(fixed(bytes))) << 16)),
        Dtype::I64 => Scalar::Int(i64::from_le_bytes(fixed(bytes)).into()),
        Dtype::I32 => Scalar::Int(i32::from_le_bytes(fixed(bytes)).into()),
        Dtype::I16 => Scalar::Int(i16::from_le_bytes(fixed(bytes)).into()),
        Dtype::I8 => Scalar::Int(i8::from_le_bytes(fixed(bytes)).into()),
        Dtype::U64 => Scalar::Int(u64::from_le_bytes(fixed(bytes)).into()),
        Dtype::U32 => Scalar::Int(u32::from_le_bytes(fixed(bytes)).into()),
        Dtype::U16 => Scalar::Int(u16::from_le_bytes(fixed(bytes)).into()),
        Dtype::U8 => Scalar::Int(u8::from_le_bytes(fixed(bytes)).into()),
        _ => Scalar::Bits(bytes),
    }
}

/// Compares the entries of the header; one that holds JSON is compared leaf by leaf.
fn header(old: &[u8], new: &[u8], forms: &mut Vec<Form>, values: &mut Vec<Values>) -> Result<()> {
    let entries = |bytes| {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        anyhow::Ok(header.metadata().clone().unwrap_or_default())
    };
    let (old, new) = (entries(old)?, entries(new)?);
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => match entry(key, old, new) {
                Some(entry) => values.push(entry),
                None => forms.push(said(key, ["written in one way", "written in another"])),
            },
            (Some(_), None) => forms.push(said(key, ["present", "absent"])),
            (None, _) => forms.push(said(key, ["absent", "present"])),
        }
    }
    Ok(())
}

fn said(key: &str, [old, new]: [&str; 2]) -> Form {
    Form::Metadata { what: format!("header `{key}`"), old: old.into(), new: new.into() }
}

fn entry(key: &str, old: &str, new: &str) -> Option<Values> {
    leaves::compare(Some(key), old.as_bytes(), new.as_bytes()).unwrap_or_else(|_| {
        let mut tally = Tally::new();
        let place = || Place::Leaf { header: Some(key.to_owned()), path: String::new() };
        tally.count(place, Scalar::Text(old), Scalar::Text(new));
        tally.values()
    })
}
