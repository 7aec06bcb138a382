//! A run as TensorBoard's event files: curves of trainings, figures, parameters as text. Unaware of where results lie.
//!
//! A file is a sequence of records (`TFRecord`), each an `Event` in the encoding of protocol buffers; both forms are
//! written here, for they are small and have not changed since TensorFlow 1. Times are those at which results were
//! finished, so that the same run gives the same bytes.

mod record;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::{Cache, StageResult};
use crate::export::reached::{self, Reached};
use crate::export::tensorboard::record::Writer;

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The folder of the run.
    pub folder: PathBuf,
    /// Files of events, one for each stage that has figures.
    pub files: usize,
    /// Numbers in them.
    pub scalars: usize,
}

/// Writes the stages of a run below `out`, each into the folder `RUN/STAGE`.
pub fn write(cache: &Cache, run: &Reached, out: &Path) -> Result<Written> {
    let mut written = Written { folder: out.join(&run.summary.run), ..Written::default() };
    for (stage, result) in &run.stages {
        let figures = serde_json::Value::Object(result.metrics.clone().into_iter().collect());
        let numbers = reached::numbers(&figures);
        let curves = reached::curves(cache, result)?;
        if numbers.is_empty() && curves.is_none() {
            continue;
        }
        let folder = written.folder.join(stage);
        let path = folder.join(format!("events.out.tfevents.{:010}.pacer", result.finished));
        let writer = events(result, &numbers, &curves.unwrap_or_default());
        written.scalars += writer.scalars;
        written.files += 1;
        let done = fs::create_dir_all(&folder).and_then(|()| fs::write(&path, writer.bytes));
        done.with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    Ok(written)
}

/// The events of a stage. A figure has no step: it stands at 0.
fn events(result: &StageResult, numbers: &BTreeMap<String, f64>, curves: &reached::Curves) -> Writer {
    let mut writer = Writer::new(result.finished as f64);
    for (epoch, values) in curves {
        values.iter().for_each(|(name, value)| writer.scalar(name, *epoch, *value));
    }
    numbers.iter().for_each(|(name, value)| writer.scalar(&format!("figures/{name}"), 0, *value));
    writer.text("parameters", &as_markdown(result));
    writer
}

fn as_markdown(result: &StageResult) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let rows = reached::parameters(result);
    let rows: String = rows.iter().map(|(name, value)| format!("| {} | {} |\n", cell(name), cell(value))).collect();
    format!("| parameter | value |\n|---|---|\n{rows}| key | {} |\n", result.key)
}
