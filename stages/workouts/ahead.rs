//! Row groups of a workouts file, decoded on a thread of their own while the one before is looked at.
//! Unaware of what is done with workouts.

use std::fs::File;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use polars::prelude::{FileMetadataRef, ParallelStrategy, ParquetReader, SerReader as _};

use crate::parquet;
use crate::workouts::{Workout, rows};

/// What is read.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What its end says of its row groups.
    pub metadata: FileMetadataRef,
    /// Names of the columns to read.
    pub columns: Vec<String>,
}

/// The row groups of a file in their order: one may wait while another is decoded. Nothing is read before the first
/// is asked for.
pub struct Groups(State);

enum State {
    Asleep(Source),
    Reading { groups: Receiver<Result<Vec<Workout>>>, thread: JoinHandle<()> },
    Ended,
}

impl Groups {
    /// The row groups of a file.
    pub fn new(source: Source) -> Self {
        Self(State::Asleep(source))
    }
}

impl Iterator for Groups {
    type Item = Result<Vec<Workout>>;

    fn next(&mut self) -> Option<Self::Item> {
        let state = match std::mem::replace(&mut self.0, State::Ended) {
            State::Asleep(source) => source.read_ahead(),
            state => Ok(state),
        };
        match state {
            Ok(State::Reading { groups, thread }) => match groups.recv() {
                Ok(group) => {
                    self.0 = State::Reading { groups, thread };
                    Some(group)
                }
                Err(_) => {
                    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
                    None
                }
            },
            Ok(State::Asleep(_) | State::Ended) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Source {
    fn read_ahead(self) -> Result<State> {
        let (sender, groups) = sync_channel(1);
        let read_ahead = move || {
            let mut first = 0;
            for group in &self.metadata.row_groups {
                let workouts = self.read(first, group.num_rows());
                first += group.num_rows();
                let failed = workouts.is_err();
                // The receiver hangs up when its owner stops early.
                if sender.send(workouts).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("read ahead".into()).spawn(read_ahead)?;
        Ok(State::Reading { groups, thread })
    }

    fn read(&self, first: usize, rows: usize) -> Result<Vec<Workout>> {
        let context = || parquet::unreadable(&self.path);
        let file = File::open(&self.path).with_context(context)?;
        let mut reader = ParquetReader::new(file)
            .read_parallel(ParallelStrategy::RowGroups)
            .with_columns(Some(self.columns.clone()))
            .with_slice(Some((first, rows)));
        reader.set_metadata(self.metadata.clone());
        let frame = reader.finish().with_context(context)?;
        rows::workouts(&frame).with_context(context)
    }
}
