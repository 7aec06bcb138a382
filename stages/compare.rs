//! Where two files of one artifact differ first, and by how much: for a stage that was run twice. Unaware of stages
//! and of the store; no kind uses it.
//!
//! Values are compared by their bits: a NaN equals itself, `0` and `-0` differ. Rows, items, elements and bytes are
//! counted from 0. A file that cannot be taken apart is compared byte by byte, and that is said.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use memmap2::Mmap;
use serde::Serialize;

use crate::artifact::ArtifactType;
use crate::compare::tally::Tally;

mod arrays;
mod columns;
mod leaves;
mod tally;
mod words;

/// How two files of one artifact differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The artifact's name.
    pub artifact: String,
    /// What differs beside the values.
    pub forms: Vec<Form>,
    /// The values that differ: an entry for each tensor or column, in order; one for a file that has no such parts.
    pub values: Vec<Values>,
    /// Offset of the first byte that differs.
    pub first_byte: u64,
    /// Bytes of the old and the new file.
    pub lengths: [u64; 2],
}

/// A difference that is none of values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Only one of the files holds this tensor or column.
    Only {
        /// Which of the files.
        side: Side,
        /// The tensor or column.
        part: String,
    },
    /// A tensor has another shape; its values were not compared.
    Shape {
        /// The tensor.
        part: String,
        /// Its shape in the old file.
        old: Vec<usize>,
        /// Its shape in the new file.
        new: Vec<usize>,
    },
    /// A tensor or column is of another type; its values were not compared.
    Type {
        /// The tensor or column.
        part: String,
        /// Its type in the old file.
        old: String,
        /// Its type in the new file.
        new: String,
    },
    /// Another number of rows; the rows that both have were compared.
    Rows {
        /// Rows of the old file.
        old: usize,
        /// Rows of the new file.
        new: usize,
    },
    /// The same columns stand in another order.
    Order,
    /// Something that is said about the values, not one of them.
    Metadata {
        /// What is said, or where.
        what: String,
        /// In the old file.
        old: String,
        /// In the new file.
        new: String,
    },
    /// A file could not be taken apart, so that bytes were compared.
    Opaque {
        /// Why.
        why: String,
    },
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first.
    Old,
    /// The second.
    New,
}

/// The values that differ in one part of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Values {
    /// Where the first of them stands.
    pub first: Place,
    /// The first one in the old file, as text.
    pub old: String,
    /// The first one in the new file, as text.
    pub new: String,
    /// How many differ.
    pub differing: u64,
    /// How many were compared.
    pub of: u64,
    /// How far apart they are.
    pub largest: Distance,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// An element of a tensor.
    Element {
        /// The tensor.
        tensor: String,
        /// An index for each dimension.
        index: Vec<usize>,
    },
    /// A cell of a table.
    Cell {
        /// The column.
        column: String,
        /// The row.
        row: usize,
        /// The item, where the cell holds a list.
        item: Option<usize>,
    },
    /// A leaf of a JSON text.
    Leaf {
        /// The key of the safetensors header that holds the text; none where it is the file.
        header: Option<String>,
        /// Its path, such as `users[3].mae`; empty where the whole text is one leaf.
        path: String,
    },
    /// An offset into the file.
    Byte(u64),
}

/// The largest absolute difference of the numbers that differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// None of them are two numbers.
    NoNumbers,
    /// It is this.
    Finite(f64),
    /// Somewhere one of the two is NaN or infinite.
    NotFinite,
}

/// Finds where two files of an artifact differ; `None` when they are the same bytes.
///
/// Fails when one of them cannot be read.
pub fn compare(artifact: ArtifactType, name: &str, old: &Path, new: &Path) -> Result<Option<Difference>> {
    let bytes = [map(old)?, map(new)?];
    let [old_bytes, new_bytes] = [&bytes[0][..], &bytes[1][..]];
    let Some(first_byte) = first_difference(old_bytes, new_bytes) else { return Ok(None) };
    let taken_apart = match artifact {
        ArtifactType::Workouts | ArtifactType::Split | ArtifactType::Predictions | ArtifactType::Table => {
            columns::compare(old, new)
        }
        ArtifactType::Sequences | ArtifactType::Model => arrays::compare(old_bytes, new_bytes),
        ArtifactType::Metrics | ArtifactType::Figure => {
            leaves::compare(None, old_bytes, new_bytes).map(|values| (Vec::new(), values.into_iter().collect()))
        }
        ArtifactType::Page | ArtifactType::Picture | ArtifactType::File => {
            Ok((Vec::new(), compare_bytes(old_bytes, new_bytes)))
        }
    };
    let (forms, values) = taken_apart.unwrap_or_else(|error| {
        (vec![Form::Opaque { why: format!("{error:#}") }], compare_bytes(old_bytes, new_bytes))
    });
    let lengths = [old_bytes.len() as u64, new_bytes.len() as u64];
    Ok(Some(Difference { artifact: name.to_owned(), forms, values, first_byte, lengths }))
}

fn map(path: &Path) -> Result<Mmap> {
    let name = || format!("`{}` cannot be read", path.display());
    let file = File::open(path).with_context(name)?;
    // SAFETY: both files are outputs of stages that have ended: nothing writes to them while the map lives.
    unsafe { Mmap::map(&file) }.with_context(name)
}

/// The offset of the first byte that differs, which may be the end of the shorter one.
fn first_difference(old: &[u8], new: &[u8]) -> Option<u64> {
    const BLOCK: usize = 1 << 16;
    // Slices are compared many bytes at a time; only the block that differs is gone through.
    let same = old.chunks(BLOCK).zip(new.chunks(BLOCK)).take_while(|(old, new)| old == new);
    let start = same.map(|(old, _)| old.len()).sum::<usize>();
    let within = old[start..].iter().zip(&new[start..]).position(|(old, new)| old != new);
    let shorter = old.len().min(new.len());
    within.map(|at| start + at).or((old.len() != new.len()).then_some(shorter)).map(|at| at as u64)
}

fn compare_bytes(old: &[u8], new: &[u8]) -> Vec<Values> {
    let tally = Tally::of_bytes(old, new);
    tally.values().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use polars::prelude::{Column as Stored, DataType, IntoColumn as _, NamedFrom as _, Series};

    use super::*;
    use crate::table::{Column, Table};
    use crate::tensors::{self, Array};
    use crate::{fingerprint, kinds, parquet};

    /// Writes two files and compares them.
    fn difference(artifact: ArtifactType, write: impl Fn(usize, &Path)) -> Option<Difference> {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().join("old"), folder.path().join("new")];
        for (which, path) in paths.iter().enumerate() {
            write(which, path);
        }
        compare(artifact, "it", &paths[0], &paths[1]).unwrap()
    }

    fn said(artifact: ArtifactType, write: impl Fn(usize, &Path)) -> String {
        difference(artifact, write).expect("the files differ").to_string()
    }

    fn texts(artifact: ArtifactType, texts: [&str; 2]) -> String {
        said(artifact, |which, path| std::fs::write(path, texts[which]).unwrap())
    }

    /// Two models of a 3 × 4 and a small tensor, the new one changed.
    fn models(header: [f64; 2], changed: &[(usize, f32)]) -> String {
        said(ArtifactType::Model, |which, path| {
            let mut weights: Vec<f32> = (0..12).map(|n| n as f32 / 8.0).collect();
            for (at, value) in changed.iter().filter(|_| which == 1) {
                weights[*at] = *value;
            }
            let arrays = [("w", Array::f32(&[3, 4], &weights)), ("n", Array::i64(&[7, 8]))];
            tensors::write(path, &serde_json::json!({ "scaler": { "mean": [header[which]] } }), arrays).unwrap();
        })
    }

    fn tables(columns: [Vec<Stored>; 2]) -> String {
        said(ArtifactType::Workouts, |which, path| parquet::write(path, columns[which].clone()).unwrap())
    }

    #[test]
    fn the_same_bytes_do_not_differ() {
        for artifact in ArtifactType::ALL {
            assert_eq!(difference(artifact, |_, path| std::fs::write(path, "anything").unwrap()), None);
            assert_eq!(difference(artifact, |_, path| std::fs::write(path, "").unwrap()), None);
        }
    }

    #[test]
    fn a_tensor_is_named_with_the_index_of_its_first_element_that_differs() {
        assert_eq!(
            models([1.0, 1.0], &[(6, 0.7504), (11, 1.5)]),
            "tensor `w` differs first at [1, 2]: 0.75 → 0.7504; 2 of 12 values, at most 0.13"
        );
    }

    #[test]
    fn values_are_compared_by_their_bits() {
        let other_nan = f32::from_bits(f32::NAN.to_bits() | 1);
        assert_eq!(
            models([1.0, 1.0], &[(0, -0.0)]),
            "tensor `w` differs first at [0, 0]: 0.0 → -0.0; 1 of 12 values, at most 0"
        );
        assert_eq!(
            models([1.0, 1.0], &[(1, other_nan)]),
            "tensor `w` differs first at [0, 1]: 0.125 → NaN (0x7fc00001); 1 of 12 values, some of them not finite"
        );
        let nan = |which: usize| [f64::NAN, [2.0, 2.5][which]];
        let said = said(ArtifactType::Table, |which, path| {
            Table::new(vec![Column::float("x", nan(which).map(Some))]).unwrap().write(path).unwrap();
        });
        assert_eq!(said, "column `x` differs first in row 1: 2.0 → 2.5; 1 of 2 values, at most 0.5");
    }

    #[test]
    fn a_header_that_differs_is_told_apart_from_tensors_that_do() {
        assert_eq!(
            models([1.0, 2.5], &[]),
            "no tensor differs, only the header\n\
             header `pacer` differs first at `scaler.mean[0]`: 1.0 → 2.5; 1 of 1 values, at most 1.5"
        );
    }

    #[test]
    fn tensors_of_another_shape_or_type_or_name_are_told() {
        let said = said(ArtifactType::Sequences, |which, path| {
            let (floats, bytes, numbers) = ([0.5f32; 6], [1u8; 2], [1i64; 2]);
            let shape: &[usize] = if which == 0 { &[2, 3] } else { &[3, 2] };
            let type_changes = if which == 0 { Array::u8(&bytes) } else { Array::i64(&numbers) };
            let name = ["goes", "comes"][which];
            let arrays = [("shape", Array::f32(shape, &floats)), ("type", type_changes), (name, Array::u8(&bytes))];
            tensors::write(path, &0, arrays).unwrap();
        });
        assert_eq!(
            said,
            "tensor `comes` is new\ntensor `goes` is gone\n\
             tensor `shape` has another shape: [2, 3] → [3, 2]\ntensor `type` is of another type: U8 → I64"
        );
    }

    #[test]
    fn a_cell_is_named_by_its_column_row_and_item() {
        let list = |values: &[f32]| Some(Series::new("".into(), values));
        let lists = |rows: [Option<Series>; 3]| {
            let id = Series::new("id".into(), [1i64, 2, 3]).into_column();
            vec![id, Series::new("speed".into(), rows.to_vec()).into_column()]
        };
        let old = lists([list(&[1.0, 2.0]), None, list(&[3.0, f32::NAN])]);
        assert_eq!(
            tables([old.clone(), lists([list(&[1.0, 2.0]), None, list(&[3.25, f32::NAN, 9.0])])]),
            "column `speed` differs first in row 2, item 0: 3.0 → 3.25; 2 of 6 values, at most 0.25"
        );
        assert_eq!(
            tables([old, lists([list(&[1.0, 2.0]), list(&[5.0]), list(&[3.0, f32::NAN])])]),
            "column `speed` differs first in row 1: empty → a list of 1; 1 of 5 values"
        );
    }

    #[test]
    fn columns_and_rows_that_only_one_table_has_are_told() {
        let int = |name: &str, values: &[i64]| Series::new(name.into(), values).into_column();
        let text = Series::new("c".into(), ["x", "y"]).into_column();
        assert_eq!(
            tables([vec![int("a", &[1, 2, 3]), int("b", &[0; 3]), int("c", &[0; 3])], vec![text, int("a", &[1, 5])]]),
            "column `a` differs first in row 1: 2 → 5; 1 of 2 values, at most 3\n\
             column `b` is gone\ncolumn `c` is of another type: i64 → str\n\
             3 → 2 rows; those that both have were compared"
        );
        assert_eq!(
            tables([vec![int("a", &[1]), int("b", &[2])], vec![int("b", &[2]), int("a", &[1])]]),
            "no value differs, only what is said about them\nthe columns stand in another order"
        );
    }

    #[test]
    fn rows_grouped_otherwise_are_no_value_that_differs() {
        let said = said(ArtifactType::Table, |which, path| {
            let schema = std::iter::once(("n".into(), DataType::Int64)).collect();
            let mut file = parquet::create(path, &schema).unwrap();
            let batches: [&[i64]; 2] = if which == 0 { [&[1, 2], &[3]] } else { [&[1], &[2, 3]] };
            for batch in batches {
                let column = Series::new("n".into(), batch).into_column();
                file.write_batch(&polars::prelude::DataFrame::new_infer_height(vec![column]).unwrap()).unwrap();
            }
            file.finish().unwrap();
        });
        assert!(said.starts_with("no value differs, only the encoding: first at byte "), "{said}");
    }

    #[test]
    fn a_leaf_of_json_is_named_by_its_path() {
        let old = r#"{"a": [{"mae": 5.25, "n": 3}, null], "by user": {"7": 1}, "note": "kept"}"#;
        let new = r#"{"a": [{"mae": 5.5, "n": 3}], "by user": {"7": 4}, "note": "kept", "z": []}"#;
        assert_eq!(
            texts(ArtifactType::Metrics, [old, new]),
            "differs first at `a[0].mae`: 5.25 → 5.5; 4 of 6 values, at most 3"
        );
        let keys = texts(ArtifactType::Metrics, [r#"{"by user": {"7": 1}}"#, r#"{"by user": {"7": [1, 2]}}"#]);
        assert_eq!(keys, r#"differs first at `["by user"].7`: 1 → a list of 2; 1 of 1 values"#);
        let spaces = texts(ArtifactType::Figure, ["[1, 2]", "[1,2]"]);
        assert_eq!(spaces, "no value differs, only the encoding: first at byte 3; 6 → 5 bytes");
    }

    #[test]
    fn long_texts_are_cut_so_that_the_difference_is_seen() {
        let long = |end: &str| format!("[\"{}{end}{}\"]", "a".repeat(500), "b".repeat(500));
        let said = texts(ArtifactType::Metrics, [&long("x"), &long("y")]);
        assert!(said.len() < 250 && said.contains("aax") && said.contains("aay"), "{said}");
    }

    #[test]
    fn other_files_are_compared_by_their_bytes() {
        assert_eq!(texts(ArtifactType::File, ["abcd", "aXcY"]), "differs first at byte 1: 0x62 → 0x58; 2 of 4 bytes");
        assert_eq!(texts(ArtifactType::File, ["ab", "abcd"]), "differs first at byte 2: the end → 0x63; 2 of 4 bytes");
        let far = "x".repeat(200_000);
        let said = texts(ArtifactType::File, [&far, &format!("{}y{}", &far[..150_000], &far[150_001..])]);
        assert_eq!(said, "differs first at byte 150000: 0x78 → 0x79; 1 of 200000 bytes");
    }

    #[test]
    fn a_file_that_cannot_be_taken_apart_is_compared_as_bytes_and_that_is_said() {
        let plain = [ArtifactType::Page, ArtifactType::Picture, ArtifactType::File];
        for artifact in ArtifactType::ALL.into_iter().filter(|artifact| !plain.contains(artifact)) {
            let said = texts(artifact, ["no such thing", "no such file"]);
            let expected = "differs first at byte 8: 0x74 → 0x66; 5 of 13 bytes\n\
                            compared as bytes, because the old file cannot be read as ";
            assert!(said.starts_with(expected), "{artifact}: {said}");
        }
        let absent = compare(ArtifactType::File, "it", Path::new("/nowhere/a"), Path::new("/nowhere/b"));
        assert!(absent.unwrap_err().to_string().contains("/nowhere/a"));
    }

    #[test]
    fn no_kind_rests_on_this_code() {
        for kind in kinds::KINDS {
            assert!(fingerprint::parts(kind.name).iter().all(|(part, _)| !part.contains("compare")), "{}", kind.name);
        }
    }
}
