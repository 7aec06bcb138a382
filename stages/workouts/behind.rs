//! Row groups of a workouts file, put into columns and compressed on a thread of their own while the next one fills.
//! Unaware of where workouts come from.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};

use crate::parquet;
use crate::workouts::{Workout, rows};

/// Row groups on their way to a file: one may wait while another is written.
pub struct Groups {
    sender: Option<SyncSender<Vec<Workout>>>,
    thread: Option<JoinHandle<Result<(PathBuf, parquet::FileWriter)>>>,
}

impl Groups {
    /// Starts the thread that writes.
    pub fn start(path: &Path, mut file: parquet::FileWriter) -> Result<Self> {
        let (sender, groups) = sync_channel::<Vec<Workout>>(1);
        let path = path.to_owned();
        let write = move || {
            for group in groups {
                let frame = rows::frame(&group);
                drop(group);
                file.write_batch(&frame).with_context(|| format!("`{}` cannot be written", path.display()))?;
            }
            Ok((path, file))
        };
        let thread = std::thread::Builder::new().name("write behind".into()).spawn(write)?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Hands over a group; fails when one before it could not be written.
    pub fn write(&mut self, group: Vec<Workout>) -> Result<()> {
        let sender = self.sender.as_ref().expect("it is there until the end");
        match sender.send(group) {
            Ok(()) => Ok(()),
            // The thread hangs up at the first error alone.
            Err(_) => Err(self.end().err().context("the thread that writes has ended")?),
        }
    }

    /// Waits until all is written, and gives the path and the file back.
    pub fn end(&mut self) -> Result<(PathBuf, parquet::FileWriter)> {
        self.sender = None;
        let thread = self.thread.take().context("the thread that writes has ended")?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl Drop for Groups {
    /// Nothing is written after this, whatever happens to the folder.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
