//! Runs on disk: the journal of events, the summary, the logs of stages. Unaware of how stages are run.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use pacer_stages::stage::Notice;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::{Event, Versioned};
use crate::store::Store;

/// How many recent runs are searched for an earlier result of a stage.
const RECENT_RUNS: usize = 200;

/// A line longer than this is no event.
const LINE_BYTES: u64 = 16 << 20;

/// Characters of a trial's name that its log bears.
const NAME_CHARS: usize = 80;

/// The file that a run keeps locked while it is alive.
const ALIVE: &str = "alive";

/// The file that marks a pinned run.
const PINNED: &str = "pinned";

/// Where running stages tell how far they are, for readers in other processes; the end of the run takes it away.
const PROGRESS: &str = "progress.jsonl";

/// A stage writes the same sort of progress down no more often than this.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Progress beyond this begins its file anew.
const PROGRESS_BYTES: usize = 4 << 20;

/// The journal of a run that is under way.
pub struct Journal {
    folder: PathBuf,
    /// From when the events' times count.
    began: Instant,
    /// `None` once it could not be written to: a run goes on without its journal.
    file: Option<BufWriter<File>>,
    summary: Summary,
    /// Locked as long as the run is alive.
    _alive: Option<File>,
    store: Store,
    /// Where nothing can be written down, no collection can know what this run needs, and none may go on beside it.
    held_off: Option<File>,
    progress: Progress,
}

/// The file of progress: made by the first that is told, and given up where it cannot be written.
#[derive(Default)]
struct Progress {
    file: Option<File>,
    bytes: usize,
    /// When each stage last told each sort of news: a message without its numbers.
    told: HashMap<(String, String), Instant>,
}

/// What a run came to; also written when it has only begun, so that a killed run can be seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's id: its start in UTC and the process.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline file.
    pub path: PathBuf,
    /// How it stands.
    pub state: RunState,
    /// Stages that ran.
    pub ran: usize,
    /// Stages whose results were reused.
    pub reused: usize,
    /// Stages that failed.
    pub failed: usize,
    /// Stages that were not run.
    pub skipped: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Under way, or killed.
    Begun,
    /// All its stages ended well.
    Done,
    /// A stage failed.
    Failed,
    /// It was interrupted.
    Interrupted,
}

impl Journal {
    /// Begins the journal of a new run. A store that cannot take it is warned of: what is there can be reused
    /// all the same.
    pub fn begin(store: &Store, pipeline: &str, path: &Path) -> Self {
        let now = jiff::Timestamp::now();
        let run = format!("{}-{}", now.strftime("%Y%m%d-%H%M%S%.3f"), std::process::id());
        let folder = store.path("runs").join(&run);
        let summary = Summary {
            run,
            pipeline: pipeline.to_owned(),
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            state: RunState::Begun,
            ran: 0,
            reused: 0,
            failed: 0,
            skipped: 0,
            seconds: 0.0,
        };
        // A collection takes the folder of a run that it does not see alive.
        let held_off = store.hold_off_collections().ok();
        let begun = begin_files(&folder, &summary).map_err(|error| {
            tracing::warn!("this run is not written down: {:#}", store.cannot_write(error, &folder));
        });
        let (file, alive) = begun.ok().unzip();
        let held_off = held_off.filter(|_| file.is_none());
        let (file, progress, began) = (file.map(BufWriter::new), Progress::default(), Instant::now());
        Self { folder, began, file, summary, _alive: alive, store: store.clone(), held_off, progress }
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.summary.run
    }

    /// Where the log of a stage goes.
    pub fn log_path(&self, stage: &str) -> PathBuf {
        log_path(&self.folder, stage)
    }

    /// Writes an event down. Progress is kept apart and only while the run goes on: it is stale as soon as the next
    /// comes; logs are files of their own.
    pub fn record(&mut self, event: &Event) {
        match event {
            Event::Notice { notice: Notice::Log { .. }, .. } => {}
            Event::Notice { stage, notice: Notice::Progress { message, .. } } => {
                if self.file.is_some() && self.progress.is_news(stage, message) {
                    self.progress.tell(&self.folder, event);
                }
            }
            _ => {
                let (line, at) = (event.line(), self.began.elapsed().as_secs_f64());
                let open = line.strip_suffix('}').expect("an event is an object");
                self.write(|file| writeln!(file, "{open},\"at\":{at:.3}}}"));
            }
        }
    }

    /// Hands to the system what was written down so far, so that it outlives this process.
    pub fn flush(&mut self) {
        self.write(BufWriter::flush);
    }

    fn write(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) {
        let written = self.file.as_mut().map_or(Ok(()), write);
        if let Err(error) = written {
            tracing::warn!("the journal in `{}` ends here: {error}", self.folder.display());
            self.file = None;
            self.held_off = self.store.hold_off_collections().ok();
        }
    }

    /// Writes the summary from the last event.
    pub fn finish(mut self, store: &Store, done: &Event) {
        if let Event::Done { ran, reused, failed, skipped, interrupted, seconds, .. } = done {
            let state = match (interrupted, failed) {
                (true, _) => RunState::Interrupted,
                (false, 0) => RunState::Done,
                (false, _) => RunState::Failed,
            };
            self.summary = Summary {
                state,
                ran: *ran,
                reused: *reused,
                failed: *failed,
                skipped: *skipped,
                seconds: *seconds,
                ..self.summary
            };
        }
        self.flush();
        let _held_off = store.hold_off_collections();
        let path = self.folder.join("summary.json");
        let written = self.file.as_ref().map_or(Ok(()), |_| store.write_json(&path, &self.summary));
        if let Err(error) = written {
            tracing::warn!("the summary of this run is not kept: {error:#}");
        }
        // Readers that followed it know by the summary that no more comes.
        if self.progress.bytes > 0 {
            let _ = fs::remove_file(self.folder.join(PROGRESS));
        }
    }
}

impl Progress {
    /// Whether a stage told nothing of the sort a moment ago. By sorts, so that the batches of a training do not hide its
    /// epochs.
    fn is_news(&mut self, stage: &str, message: &str) -> bool {
        let now = Instant::now();
        let sort = (stage.to_owned(), message.chars().filter(|c| !c.is_ascii_digit()).collect());
        if self.told.get(&sort).is_some_and(|told| now.duration_since(*told) < PROGRESS_INTERVAL) {
            return false;
        }
        self.told.retain(|_, told| now.duration_since(*told) < PROGRESS_INTERVAL);
        self.told.insert(sort, now);
        true
    }

    /// Writes down how far a stage is. What cannot be written is missed by nobody but a reader who looks on.
    fn tell(&mut self, folder: &Path, event: &Event) {
        if self.bytes == 0 {
            self.file = File::options().append(true).create(true).open(folder.join(PROGRESS)).ok();
        }
        let Some(file) = &mut self.file else { return };
        if self.bytes > PROGRESS_BYTES && file.set_len(0).is_ok() {
            self.bytes = 0;
        }
        let line = event.line() + "\n";
        self.bytes += line.len();
        if file.write_all(line.as_bytes()).is_err() {
            self.file = None;
        }
    }
}

/// Makes the files of a run. The summary is not synced: it only says that there was a run, should it be killed.
fn begin_files(folder: &Path, summary: &Summary) -> std::io::Result<(File, File)> {
    fs::create_dir_all(folder.join("logs"))?;
    // Open for both, as locks on a network file system ask.
    let alive = File::options().create(true).truncate(false).read(true).write(true).open(folder.join(ALIVE))?;
    alive.lock()?;
    fs::write(folder.join("summary.json"), serde_json::to_vec_pretty(summary)?)?;
    Ok((File::options().append(true).create(true).open(folder.join("journal.jsonl"))?, alive))
}

/// Whether the process of a run is still there.
pub fn is_alive(store: &Store, run: &str) -> bool {
    let alive = File::open(store.path("runs").join(run).join(ALIVE));
    // In doubt it is: a run that is taken for dead loses what it needs.
    match alive {
        Ok(file) => file.try_lock_shared().is_err(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// Whether a run was pinned, so that no collection takes what it reached.
pub fn is_pinned(store: &Store, run: &str) -> bool {
    store.path("runs").join(run).join(PINNED).exists()
}

/// Pins a run, or lets go of it.
pub fn pin(store: &Store, run: &str, pinned: bool) -> Result<()> {
    // Looked for in the list, so that no name can lead out of the store.
    if !runs(store).iter().any(|known| known == run) {
        bail!("there is no run `{run}`: `pacer pin` lists the runs");
    }
    let path = store.path("runs").join(run).join(PINNED);
    let done = match pinned {
        true => fs::write(&path, ""),
        false if path.exists() => fs::remove_file(&path),
        false => Ok(()),
    };
    done.map_err(|error| store.cannot_write(error, &path))
}

fn log_path(folder: &Path, stage: &str) -> PathBuf {
    folder.join("logs").join(format!("{}.log", file_name(stage)))
}

/// A stage's name as that of a file: the names of trials may be long, and hold signs that a shell or another system
/// takes amiss. A digest then keeps them apart.
fn file_name(stage: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if stage.chars().all(is_plain) {
        return stage.to_owned();
    }
    let safe: String = stage.chars().map(|c| if is_plain(c) || c == '=' || c == '.' { c } else { '_' }).collect();
    let short: String = safe.chars().take(NAME_CHARS).collect();
    format!("{}-{}", short.trim_end_matches('_'), &Digest::of(stage.as_bytes()).hex()[..8])
}

/// The files that tell of a run while it goes on: its journal, and the progress of its stages.
pub fn told_in(store: &Store, run: &str) -> [PathBuf; 2] {
    let folder = store.path("runs").join(run);
    [folder.join("journal.jsonl"), folder.join(PROGRESS)]
}

/// Where the log of a stage lies in a run, whether there is one or not.
pub fn log_of(store: &Store, run: &str, stage: &str) -> PathBuf {
    log_path(&store.path("runs").join(run), stage)
}

/// The ids of runs, newest first.
pub fn runs(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(store.path("runs")).into_iter().flatten().flatten();
    let is_run = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) && entry.path().join("summary.json").is_file()
    };
    let ids = entries.filter(is_run);
    let mut ids: Vec<_> = ids.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    ids.sort_by(|a, b| b.cmp(a));
    ids
}

/// The summary of a run; `None` when it was killed before it could write one.
pub fn summary(store: &Store, run: &str) -> Option<Summary> {
    let mut text = Vec::new();
    let file = File::open(store.path("runs").join(run).join("summary.json")).ok()?;
    file.take(LINE_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The events of a run. A line that a kill cut short is left out.
pub fn events(store: &Store, run: &str) -> Result<Vec<Event>> {
    Ok(timed_events(store, run)?.into_iter().map(|(_, event)| event).collect())
}

/// The events of a run, each with the seconds since its beginning, where the journal tells them.
pub fn timed_events(store: &Store, run: &str) -> Result<Vec<(Option<f64>, Event)>> {
    let path = store.path("runs").join(run).join("journal.jsonl");
    let file = File::open(&path).with_context(|| format!("there is no journal `{}`", path.display()))?;
    let mut reader = BufReader::new(file);
    let mut events = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        // Longer ones are no events; what is cut off here is read as lines that are none either.
        let read = reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut line);
        if read.with_context(|| format!("`{}` cannot be read", path.display()))? == 0 {
            return Ok(events);
        }
        events.extend(serde_json::from_slice::<Versioned>(&line).ok().map(|line| (line.at, line.event)));
    }
}

/// Keeps a file beside the journal of a run; that it cannot be written is told, and stops nothing.
pub fn keep(store: &Store, run: &str, name: &str, bytes: &[u8]) {
    let path = store.path("runs").join(run).join(name);
    // Without the folder the run is not written down, which was told.
    if path.parent().is_some_and(Path::is_dir)
        && let Err(error) = fs::write(&path, bytes)
    {
        tracing::warn!("{:#}", store.cannot_write(error, &path));
    }
}

/// A file that was kept beside the journal of a run.
pub fn kept(store: &Store, run: &str, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(store.path("runs").join(run).join(name)).ok()?;
    file.take(LINE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The key of each stage that ended well in a run, by name; also in a run that was killed.
pub fn keys(store: &Store, run: &str) -> BTreeMap<String, Digest> {
    let events = events(store, run).unwrap_or_default();
    let key = |event| match event {
        Event::Reused { stage, key, .. } | Event::Finished { stage, key, .. } => Some((stage, key)),
        _ => None,
    };
    events.into_iter().filter_map(key).collect()
}

/// Every key that a run reached or began to make.
pub fn touched(store: &Store, run: &str) -> Vec<Digest> {
    let events = events(store, run).unwrap_or_default();
    let key = |event| match event {
        Event::Reused { key, .. } | Event::Running { key, .. } | Event::Finished { key, .. } => Some(key),
        _ => None,
    };
    events.into_iter().filter_map(key).collect()
}

/// The newest run of a pipeline that holds a log of a stage, and that log.
pub fn newest_log(store: &Store, pipeline: &Path, stage: &str) -> Option<(String, PathBuf)> {
    let pipeline = std::path::absolute(pipeline).ok()?;
    runs(store).into_iter().take(RECENT_RUNS).find_map(|run| {
        let log = log_path(&store.path("runs").join(&run), stage);
        let same = summary(store, &run).is_some_and(|summary| summary.path == pipeline);
        (same && log.is_file()).then_some((run, log))
    })
}

/// The keys of each stage in the runs of a pipeline file that did not live to write their index, newest run first;
/// `after` is the last run that did.
pub fn unwritten_keys(store: &Store, pipeline: &Path, after: &str) -> BTreeMap<String, Vec<Digest>> {
    let mut found: BTreeMap<String, Vec<Digest>> = BTreeMap::new();
    let newer = runs(store).into_iter().take(RECENT_RUNS).take_while(|run| run.as_str() > after);
    for run in newer {
        let is_lost = |summary: &Summary| summary.path == pipeline && summary.state == RunState::Begun;
        if summary(store, &run).is_some_and(|summary| is_lost(&summary)) {
            for (stage, key) in keys(store, &run) {
                found.entry(stage).or_default().push(key);
            }
        }
    }
    found
}
