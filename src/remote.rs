//! A place where several stores share what they made: a folder or a bucket of S3. Knows names, bytes, retries and when
//! to give up; unaware of what results and blobs are.
//!
//! A remote that is down costs one warning and a bounded wait: after the first calls that found nobody, none is made
//! for a while. Only those wait longer who said that they would.

mod answer;
mod aside;
pub mod credentials;
pub mod folder;
mod format;
mod meter;
mod object;
mod parts;
mod patience;
pub mod s3;
pub mod sign;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::digest::Digest;
use crate::profile::RemoteSettings;
use crate::remote::folder::Folder;
pub use crate::remote::meter::Meter;
pub use crate::remote::object::{Content, Existing, Fault, Listed, Reading, Seen};
pub use crate::remote::parts::Unfinished;
pub use crate::remote::patience::Failed;
use crate::remote::patience::{Act, Patience};
use crate::remote::s3::{Address, Bucket};

/// So long the file system of a folder may be silent; one whose server is gone is for ever.
const SILENCE: Duration = Duration::from_secs(5);

/// A put may be silent for so many times as long: what was written has to get to the disk.
const SETTLING: u32 = 12;

/// What is said of something that was asked to break off.
const INTERRUPTED: &str = "it was interrupted";

/// The region where none is named.
const REGION: &str = "us-east-1";

#[derive(Debug)]
enum Site {
    Folder(Folder),
    Bucket(Box<Bucket>),
}

/// A remote.
pub struct Remote {
    site: Site,
    settings: RemoteSettings,
    patience: Patience,
    /// So long a folder may be silent.
    silence: Duration,
    /// Whether a run puts what it made there.
    push: AtomicBool,
    told: AtomicBool,
    /// Whether its layout was seen or written.
    has_format: Mutex<bool>,
    /// Objects that were found to be damaged: a later put replaces them.
    refused: Mutex<BTreeSet<String>>,
    /// Keys that were asked for.
    asked: Mutex<BTreeSet<Digest>>,
    /// Keys whose results were there, but not their blobs.
    disowned: Mutex<BTreeSet<Digest>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.url())
    }
}

impl Remote {
    /// A remote by its settings; nobody is asked yet.
    pub fn open(settings: &RemoteSettings) -> Result<Self> {
        let site = match settings.url.strip_prefix("s3://") {
            None => Site::Folder(Folder::new(Path::new(&settings.url))),
            Some(place) => Site::Bucket(Box::new(bucket(place, settings)?)),
        };
        Ok(Self {
            site,
            settings: settings.clone(),
            patience: Patience::default(),
            silence: SILENCE,
            push: AtomicBool::new(settings.push),
            told: AtomicBool::new(false),
            has_format: Mutex::default(),
            refused: Mutex::default(),
            asked: Mutex::default(),
            disowned: Mutex::default(),
        })
    }

    /// The same, which is asked again so soon after it did not answer.
    pub fn with_rest(mut self, rest: Duration) -> Self {
        self.patience.rest = rest;
        self
    }

    /// Waits for it from now on when it was there and goes away, until this says that nobody waits any more.
    pub fn wait_for_it(&self, stop: impl Fn() -> bool + Send + Sync + 'static) {
        self.patience.wait(Box::new(stop));
    }

    /// Notes that it is there, as another has seen.
    pub fn note_answer(&self) {
        self.patience.note_answer();
    }

    /// Where it is; holds no secret.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// What it was opened by; holds no secret.
    pub fn settings(&self) -> &RemoteSettings {
        &self.settings
    }

    /// A name for what a store keeps of this remote.
    pub fn id(&self) -> String {
        let host = match &self.site {
            Site::Folder(_) => String::new(),
            Site::Bucket(bucket) => format!("{bucket:?}"),
        };
        Digest::of(format!("{}\n{host}", self.url()).as_bytes()).short()
    }

    /// Whether a run puts what it made there.
    pub fn is_pushed_to(&self) -> bool {
        self.push.load(Ordering::Relaxed)
    }

    /// Lets a run put there what it made.
    pub fn push_too(&self) {
        self.push.store(true, Ordering::Relaxed);
    }

    /// Whether it was found to be down a while ago, so that nobody is asked.
    pub fn is_down(&self) -> bool {
        self.patience.is_down()
    }

    /// Opens an object from some byte on; `None` where there is none.
    pub fn get(&self, name: &str, from: u64) -> Result<Option<Reading>> {
        self.attempt(Act::Fetch, || match &self.site {
            Site::Folder(folder) => self.aside(folder, name, move |folder, name| folder.get(name, from)),
            Site::Bucket(bucket) => bucket.get(name, from),
        })
    }

    /// Opens a range of an object, or the whole of it where the remote knows no ranges; `None` where there is none.
    pub fn get_range(&self, name: &str, range: Range<u64>) -> Result<Option<Reading>> {
        self.attempt(Act::Fetch, || match &self.site {
            Site::Folder(folder) => {
                let from = range.start;
                self.aside(folder, name, move |folder, name| folder.get(name, from))
            }
            Site::Bucket(bucket) => bucket.get_range(name, range.clone()),
        })
    }

    /// Whether ranges of an object come faster side by side than one after another.
    pub fn gives_ranges(&self) -> bool {
        matches!(self.site, Site::Bucket(_))
    }

    /// Reads a small object whole; `None` where there is none.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.attempt(Act::Ask, || match &self.site {
            Site::Folder(folder) => {
                self.aside(folder, name, move |folder, name| whole(folder.get(name, 0)?, name, limit))
            }
            Site::Bucket(bucket) => whole(bucket.get_small(name)?, name, limit),
        })
    }

    /// What is told of an object; `None` where there is none.
    pub fn look(&self, name: &str) -> Result<Option<Seen>> {
        self.attempt(Act::Ask, || match &self.site {
            Site::Folder(folder) => self.aside(folder, name, Folder::look),
            Site::Bucket(bucket) => bucket.look(name),
        })
    }

    /// Puts an object; whether one that was there was left as it is.
    pub fn put(&self, name: &str, content: Content<'_>, existing: Existing) -> Result<bool> {
        self.ensure_format()?;
        self.put_as_it_is(name, content, existing)
    }

    fn put_as_it_is(&self, name: &str, content: Content<'_>, existing: Existing) -> Result<bool> {
        let existing = if self.is_refused(name) { Existing::Replace } else { existing };
        let left = self.attempt(Act::Write, || match &self.site {
            Site::Folder(folder) => self.put_aside(folder, name, content, existing),
            Site::Bucket(bucket) => bucket.put(name, content, existing),
        })?;
        self.refused.lock().expect("nothing panics with it").remove(name);
        Ok(left)
    }

    /// Makes an object young again; false where that cannot be done.
    pub fn touch(&self, name: &str) -> Result<bool> {
        self.attempt(Act::Write, || match &self.site {
            Site::Folder(folder) => self.aside(folder, name, Folder::touch),
            Site::Bucket(bucket) => bucket.touch(name),
        })
    }

    /// Every object below a prefix, which ends in a slash.
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        self.attempt(Act::Ask, || match &self.site {
            Site::Folder(folder) => self.aside_of(self.silence, &Meter::default(), folder, prefix, Folder::list),
            Site::Bucket(bucket) => bucket.list(prefix),
        })
    }

    /// Every object below a prefix, where one list costs less than many questions and there are not more than this.
    pub fn list_few(&self, prefix: &str, most: usize) -> Result<Option<Vec<Listed>>> {
        match &self.site {
            Site::Folder(_) => Ok(None),
            Site::Bucket(bucket) => self.attempt(Act::Ask, || bucket.list_few(prefix, most)),
        }
    }

    /// Removes an object; one that is gone is no fault.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.attempt(Act::Write, || match &self.site {
            Site::Folder(folder) => self.aside(folder, name, Folder::delete),
            Site::Bucket(bucket) => bucket.delete(name),
        })
    }

    /// Ends puts that were begun longer ago than some age and never finished, of objects whose names are one's own.
    pub fn give_up_unfinished(
        &self,
        age: Duration,
        only_count: bool,
        is_own: &dyn Fn(&str) -> bool,
    ) -> Result<Unfinished> {
        self.attempt(Act::Write, || match &self.site {
            Site::Folder(folder) => {
                let give_up =
                    move |folder: &Folder, _: &str, meter: &Meter| folder.give_up_unfinished(age, only_count, meter);
                self.aside_of(self.silence, &Meter::default(), folder, "", give_up)
            }
            Site::Bucket(bucket) => bucket.give_up_unfinished(age, only_count, is_own),
        })
    }

    /// Notes that an object is damaged, so that a later put replaces it.
    pub fn refuse(&self, name: &str) {
        self.refused.lock().expect("nothing panics with it").insert(name.to_owned());
    }

    /// Whether an object was found to be damaged.
    pub fn is_refused(&self, name: &str) -> bool {
        self.refused.lock().expect("nothing panics with it").contains(name)
    }

    /// Notes that a key is asked for; whether it was not before.
    pub fn note_asked(&self, key: Digest) -> bool {
        self.asked.lock().expect("nothing panics with it").insert(key)
    }

    /// Whether a key was asked for.
    pub fn was_asked(&self, key: &Digest) -> bool {
        self.asked.lock().expect("nothing panics with it").contains(key)
    }

    /// Notes that the blobs of a result could not be had.
    pub fn disown(&self, key: Digest) {
        self.disowned.lock().expect("nothing panics with it").insert(key);
    }

    /// Whether the blobs of a result could not be had.
    pub fn is_disowned(&self, key: &Digest) -> bool {
        self.disowned.lock().expect("nothing panics with it").contains(key)
    }

    /// Asks a folder, whose file system may be one that nobody serves any more.
    fn aside<T: Send + 'static>(
        &self,
        folder: &Folder,
        name: &str,
        ask: impl FnOnce(&Folder, &str) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.aside_of(self.silence, &Meter::default(), folder, name, |folder, name, _| ask(folder, name))
    }

    /// Puts an object into a folder, as long as its bytes get there.
    fn put_aside(&self, folder: &Folder, name: &str, content: Content<'_>, existing: Existing) -> Result<bool, Fault> {
        self.aside(folder, name, |folder, _| folder.reach())?;
        let limit = self.silence * SETTLING;
        match content {
            Content::Bytes(bytes) => {
                let bytes = bytes.to_owned();
                let put =
                    move |folder: &Folder, name: &str, _: &Meter| folder.put(name, Content::Bytes(&bytes), existing);
                self.aside_of(limit, &Meter::default(), folder, name, put)
            }
            Content::File { path, bytes, meter } => {
                let path = path.to_owned();
                let put = move |folder: &Folder, name: &str, meter: &Meter| {
                    folder.put(name, Content::File { path: &path, bytes, meter }, existing)
                };
                self.aside_of(limit, meter, folder, name, put)
            }
        }
    }

    /// Asks a folder for what may take as long as the meter goes on.
    fn aside_of<T: Send + 'static>(
        &self,
        limit: Duration,
        meter: &Meter,
        folder: &Folder,
        name: &str,
        ask: impl FnOnce(&Folder, &str, &Meter) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (folder, name, counted) = (folder.clone(), name.to_owned(), meter.clone());
        let answer = aside::within(limit, || meter.moved(), move || ask(&folder, &name, &counted));
        let silent = || Fault::Unreachable(format!("`{}` does not answer: is its server gone?", self.url()));
        answer.unwrap_or_else(|| Err(silent()))
    }

    /// Tries something again and again, as its faults let hope.
    fn attempt<T>(&self, act: Act, call: impl Fn() -> Result<T, Fault>) -> Result<T> {
        Ok(self.patience.attempt(self.url(), act, call)?)
    }

    /// Warns of what went wrong, once; what follows from it is no news.
    pub fn warn_once(&self, error: &anyhow::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!("{error:#}; going on without it");
        }
    }
}

/// The bytes of a small object.
fn whole(reading: Option<Reading>, name: &str, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
    let Some(reading) = reading else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = reading.body.take(limit + 1).read_to_end(&mut bytes);
    read.map(|_| Some(bytes)).map_err(|error| Fault::Passing(format!("`{name}` breaks off: {error}")))
}

fn bucket(place: &str, settings: &RemoteSettings) -> Result<Bucket> {
    let found = credentials::find();
    let endpoint = settings.endpoint.clone().or(found.endpoint);
    let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if !is_plain && !cfg!(feature = "tls") {
        bail!(
            "the remote `{}` is reached over TLS, which this pacer was built without: build it with its feature `tls`, \
             or set `endpoint` to an http:// address on this machine or behind a tunnel",
            settings.url
        );
    }
    let region = settings.region.clone().or(found.region).unwrap_or_else(|| REGION.to_owned());
    let path_style = settings.path_style.unwrap_or(endpoint.is_some());
    let address = Address { place, endpoint: endpoint.as_deref(), region: &region, path_style };
    Ok(Bucket::new(&address, found.credentials))
}

/// Does something with each item on a few threads; the answers are in the order of the items.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // No thread is needed for what has nothing beside it.
    if let [item] = items {
        return vec![work(item)];
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { break };
                    let answer = work(item);
                    done.lock().expect("nothing panics with it").push((at, answer));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nothing panics with it");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_answers_nobody_is_down_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().display().to_string();
        let remote = Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap();
        remote.ensure_format().unwrap();
        let remote = Remote { silence: Duration::from_millis(50), ..remote };
        // Whoever opens a pipe to which nobody writes waits for ever.
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
        assert!(made.unwrap().success());
        let error = remote.read("pipe", 64).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(remote.is_down());
    }

    #[test]
    fn a_put_that_stands_still_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("remote").display().to_string();
        let remote = Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap();
        remote.ensure_format().unwrap();
        let remote = Remote { silence: Duration::from_millis(50), ..remote };
        // Nothing ever comes out of a pipe into which nobody writes.
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let content = Content::File { path: &pipe, bytes: 9, meter: &Meter::default() };
        let error = remote.put("x", content, Existing::Keep).unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(remote.is_down() && !folder.path().join("remote/x").exists());
    }

    #[test]
    fn what_is_done_side_by_side_comes_back_in_order() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(side_by_side(&items, 7, |item| item * 2), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(side_by_side(&[0_usize; 0], 7, |item| *item), [0_usize; 0]);
    }
}
