//! Follows what a run writes down while it goes on: lines at the end of files, folded into how it stands. Unaware of
//! HTML and of who listens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use pacer_stages::stage::Notice;

use crate::cache::Cache;
use crate::event::{Event, Versioned};
use crate::history::Stands;
use crate::journal;
use crate::ui::standing::Standing;

/// Most that is read of a file at once.
const READ_BYTES: u64 = 16 << 20;

/// Stages whose logs are watched.
const LOGS: usize = 20;

/// A file that grows by lines.
pub struct Growing {
    path: PathBuf,
    /// Where the first line begins that was not read whole.
    at: u64,
}

/// How a run stands, from what it told so far.
#[derive(Default)]
pub struct Course {
    /// The numbers of its stages.
    pub standing: Standing,
    /// Stages that are needed.
    pub stages: usize,
    /// Stages that came to any end.
    pub ended: usize,
    /// Stages that run, by name.
    pub running: BTreeMap<String, Running>,
    /// The error on the validation part, BPM, after each epoch that was told, of each training.
    pub curves: BTreeMap<String, Vec<[f64; 2]>>,
    /// Stages that failed, with their messages.
    pub failed: Vec<(String, String)>,
}

/// A stage that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Running {
    /// Its kind.
    pub kind: String,
    /// Where it computes.
    pub device: String,
    /// Where on a cluster it is, or why it waits there.
    pub place: Option<String>,
    /// How far it is, where it told.
    pub far: Option<Far>,
}

/// How far a stage is.
#[derive(Clone, Debug, PartialEq)]
pub struct Far {
    /// Units done.
    pub done: u64,
    /// Units in all, where known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: String,
    /// The latest news.
    pub message: String,
}

/// A run that is followed.
pub struct Follower {
    cache: Cache,
    /// The run's id.
    pub run: String,
    journal: Growing,
    progress: Growing,
    /// Bytes in the logs of the stages that run.
    logged: u64,
    /// What it told so far.
    pub course: Course,
    /// How it stands.
    pub stands: Stands,
}

impl Growing {
    /// A file that may not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, at: 0 }
    }

    /// The whole lines that came since the last call. A file that became shorter was begun anew.
    pub fn lines(&mut self) -> Vec<Vec<u8>> {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            if file.metadata()?.len() < self.at {
                self.at = 0;
            }
            file.seek(SeekFrom::Start(self.at))?;
            file.take(READ_BYTES).read_to_end(&mut text)
        });
        let end = text.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
        // A line as long as all that is read at once is no event.
        let end = end.or((text.len() as u64 == READ_BYTES).then_some(text.len()));
        let (Ok(_), Some(end)) = (read, end) else { return Vec::new() };
        self.at += end as u64;
        text[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
    }
}

impl Course {
    fn place(&mut self, stage: &str, place: String) {
        self.running.entry(stage.to_owned()).and_modify(|running| running.place = Some(place));
    }

    /// Heeds an event.
    pub fn heed(&mut self, event: &Event) {
        self.standing.heed(event);
        match event {
            Event::Started { stages, .. } => self.stages = stages.len(),
            Event::Running { stage, kind, device, .. } => {
                let running = Running { kind: kind.clone(), device: device.clone(), ..Running::default() };
                self.running.insert(stage.clone(), running);
            }
            Event::Queued { stage, because } => self.place(stage, format!("queued: {because}")),
            Event::Placed { stage, node, job } => self.place(stage, format!("{node}, job {job}")),
            Event::Notice { stage, notice: Notice::Progress { done, total, unit, message } } => {
                // Progress is in a file of its own, and may be read after the end of its stage.
                if let Some(running) = self.running.get_mut(stage) {
                    let (unit, message) = (unit.clone(), message.clone());
                    running.far = Some(Far { done: *done, total: *total, unit, message });
                }
                if let Some(point) = point(message) {
                    let curve = self.curves.entry(stage.clone()).or_default();
                    if curve.last().is_none_or(|last| last[0] < point[0]) {
                        curve.push(point);
                    }
                }
            }
            // Another run may have made it while this one waited for it.
            Event::Finished { stage, .. } | Event::Reused { stage, .. } => {
                self.running.remove(stage);
                self.ended += 1;
            }
            Event::Skipped { .. } => self.ended += 1,
            Event::Failed { stage, message, .. } => {
                self.running.remove(stage);
                self.ended += 1;
                self.failed.push((stage.clone(), message.clone()));
            }
            Event::Waiting { .. }
            | Event::Notice { .. }
            | Event::Brought { .. }
            | Event::Pushing { .. }
            | Event::Pushed { .. }
            | Event::Done { .. } => {}
        }
    }
}

/// The epoch and the error that a training tells of, in its words: `epoch 3 of 9: …, validation MAE 9.87 BPM, …`.
fn point(message: &str) -> Option<[f64; 2]> {
    let number = |after: &str| {
        let rest = message.split_once(after)?.1;
        rest.split(' ').next()?.parse::<f64>().ok().filter(|number| number.is_finite())
    };
    Some([number("epoch ")?, number("validation MAE ")?])
}

impl Follower {
    /// Begins to follow a run; none where there is no such run.
    pub fn new(cache: &Cache, run: &str) -> Option<Self> {
        let [journal, progress] = journal::told_in(&cache.store, run).map(Growing::new);
        let stands = Stands::of(&cache.store, &journal::summary(&cache.store, run)?);
        let (cache, run) = (cache.clone(), run.to_owned());
        let course = Course::default();
        let mut follower = Self { cache, run, journal, progress, logged: 0, course, stands };
        follower.look();
        Some(follower)
    }

    /// Reads what came, and says how far it has read: the same as before where nothing came.
    pub fn look(&mut self) -> String {
        // Asked first, so that after the end all that was told is read.
        if let Some(summary) = journal::summary(&self.cache.store, &self.run) {
            self.stands = Stands::of(&self.cache.store, &summary);
        }
        for line in self.journal.lines().into_iter().chain(self.progress.lines()) {
            if let Ok(Versioned { event, .. }) = serde_json::from_slice(&line) {
                self.course.heed(&event);
            }
        }
        self.logged = self.course.running.keys().take(LOGS).map(|stage| self.log_bytes(stage)).sum();
        self.place()
    }

    fn log_bytes(&self, stage: &str) -> u64 {
        let log = journal::log_of(&self.cache.store, &self.run, stage);
        std::fs::metadata(log).map_or(0, |metadata| metadata.len())
    }

    /// How far it has read, as a listener can name it.
    pub fn place(&self) -> String {
        format!("{}-{}-{}-{}", self.journal.at, self.progress.at, self.logged, self.stands.name())
    }

    /// The end of the log of a stage; empty where there is none.
    pub fn log(&self, stage: &str, bytes: u64) -> String {
        tail(&journal::log_of(&self.cache.store, &self.run, stage), bytes).unwrap_or_default()
    }
}

/// The last lines of a file, whole ones and no more than so many bytes; none where there is no such file.
pub fn tail(path: &Path, bytes: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let begin = file.metadata().ok()?.len().saturating_sub(bytes);
    file.seek(SeekFrom::Start(begin)).ok()?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match text.split_once('\n').filter(|_| begin > 0) {
        Some((_, whole)) => Some(whole.to_owned()),
        None => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    fn texts(growing: &mut Growing) -> Vec<String> {
        growing.lines().into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn lines_come_once_whole_and_also_after_a_new_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        let mut growing = Growing::new(path.clone());
        assert_eq!(texts(&mut growing), [""; 0]);
        fs::write(&path, "one\ntwo\nhal").unwrap();
        assert_eq!(texts(&mut growing), ["one", "two"]);
        File::options().append(true).open(&path).unwrap().write_all(b"f\n").unwrap();
        assert_eq!(texts(&mut growing), ["half"]);
        assert_eq!(texts(&mut growing), [""; 0]);
        fs::write(&path, "anew\n").unwrap();
        assert_eq!(texts(&mut growing), ["anew"]);
    }

    #[test]
    fn the_tail_of_a_file_begins_with_a_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        fs::write(&path, "first\nsecond\nthird\n").unwrap();
        assert_eq!(tail(&path, 10).unwrap(), "third\n");
        assert_eq!(tail(&path, 1000).unwrap(), "first\nsecond\nthird\n");
        assert_eq!(tail(&folder.path().join("none"), 10), None);
    }

    #[test]
    fn a_training_tells_its_curve() {
        let mut course = Course::default();
        let mut heed = |event: serde_json::Value| course.heed(&serde_json::from_value(event).unwrap());
        heed(json!({"event": "started", "run": "r", "pipeline": "p", "stages": ["lstm", "gru"]}));
        heed(json!({"event": "running", "stage": "lstm", "kind": "pretrain", "key": crate::digest::Digest::of(b""),
            "reason": "", "device": "cpu"}));
        for message in [
            "epoch 1 of 9: loss 0.500, validation MAE 9.87 BPM, 3 sequences/s",
            "epoch 2 of 9: loss 0.412",
            "epoch 2 of 9: loss 0.412, validation MAE 9.50 BPM, 3 sequences/s",
            "epoch 3 of 9: loss NaN, validation MAE NaN BPM, 3 sequences/s",
        ] {
            heed(
                json!({"event": "notice", "stage": "lstm", "notice": "progress", "done": 2, "total": 9, "unit": "steps",
                "message": message}),
            );
        }
        assert_eq!(course.curves["lstm"], [[1.0, 9.87], [2.0, 9.5]]);
        assert_eq!((course.stages, course.ended, course.running.len()), (2, 0, 1));
        let far = course.running["lstm"].far.as_ref().unwrap();
        assert_eq!((far.done, far.total), (2, Some(9)));
    }

    #[test]
    fn a_stage_that_another_run_made_meanwhile_runs_no_more() {
        let (mut course, key) = (Course::default(), crate::digest::Digest::of(b""));
        let mut heed = |event: serde_json::Value| course.heed(&serde_json::from_value(event).unwrap());
        heed(json!({"event": "started", "run": "r", "pipeline": "p", "stages": ["a"]}));
        heed(json!({"event": "running", "stage": "a", "kind": "k", "key": key, "reason": "", "device": "cpu"}));
        heed(json!({"event": "reused", "stage": "a", "key": key}));
        assert_eq!((course.ended, course.running.len()), (1, 0));
    }
}
