//! What a run and pilots that do not see its store write to each other, by way of the remote. Knows the names and forms
//! of these objects; unaware of who writes them when.
//!
//! ```text
//! cluster/<session>/pilots/<pilot>      written again and again by a pilot while it lives: how it stands
//! cluster/<session>/jobs/<pilot>/<n>    the n-th job of a pilot, written by the run; before, again and again, that it comes
//! cluster/<session>/stops/<pilot>/<n>   a wish that it ends, written by the run
//! cluster/<session>/ends/<pilot>/<n>    how it ended, written by the pilot once all its files are in the remote
//! ```
//!
//! Whoever may write to the remote could write such objects, so each bears a digest that only the run and its pilots
//! can make, and files are named by their content. Each object has one writer, and the run says which pilot gets which job: so nothing rests on a server that keeps the
//! first of two puts, which some do not. Ages are told by the server, so no two clocks need agree; those in a folder by
//! the clock of who looks, which may be wrong by some seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::cache::pieces::Piece;
use crate::cluster::spool::{Offer, Outcome, Pilot, StopHow};
use crate::digest::Digest;
use crate::remote::{Content, Existing, Remote};

/// No object is larger.
const MAIL_BYTES: u64 = 16 << 20;

/// Digits that stand before what is said.
const SEAL: usize = 64;

/// How often a pilot says that it lives.
pub const SIGN_INTERVAL: Duration = Duration::from_secs(2);

/// A pilot that has been silent for so long is gone.
pub const SIGN_LOST: Duration = Duration::from_secs(30);

/// What the names of sessions have in common that take over from each other; a number follows.
pub fn sessions_of(secret: &Secret, whose: &str) -> String {
    format!("{}-{}-", secret.name(), Digest::of(whose.as_bytes()).short())
}

/// Whether a run or a pilot gives such a name to what it writes.
pub fn is_letter(name: &str) -> bool {
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_name = |text: &str| text.len() == 12 && is_hex(text);
    // A secret's name, whose jobs they are, and a number.
    let is_session = |text: &str| match text.split('-').collect::<Vec<_>>()[..] {
        [secret, whose, number] => is_name(secret) && is_name(whose) && are_digits(number),
        _ => false,
    };
    // A job or a task of an array, and a process.
    let is_pilot = |text: &str| {
        text.rsplit_once('-').is_some_and(|(job, process)| job.split('_').all(are_digits) && are_digits(process))
    };
    match name.split('/').collect::<Vec<_>>()[..] {
        ["cluster", session, "pilots", pilot] => is_session(session) && is_pilot(pilot),
        ["cluster", session, "jobs" | "stops" | "ends", pilot, number] => {
            is_session(session) && is_pilot(pilot) && are_digits(number)
        }
        _ => false,
    }
}

/// So long a remote that does not answer is not asked.
const REST: Duration = Duration::from_secs(3);

/// A client for letters: it is soon asked again when it did not answer, and holds nobody up who has to give signs of
/// life.
pub fn for_letters(remote: &Remote) -> Result<Remote> {
    Ok(Remote::open(remote.settings())?.with_rest(REST))
}

/// The same store with a client for files, which waits for a remote that is away for a minute.
pub fn for_files(cache: &Cache) -> Result<Cache> {
    let client = |remote: &Arc<Remote>| -> Result<_> {
        let client = for_letters(remote)?;
        // Jobs are handed out once it has answered.
        client.note_answer();
        client.wait_for_it(|| false);
        Ok(Arc::new(client))
    };
    Ok(Cache { store: cache.store.clone(), remote: cache.remote.as_ref().map(client).transpose()? })
}

/// What the run and its pilots know and nobody else.
#[derive(Clone)]
pub struct Secret(Digest);

impl Secret {
    /// A new one.
    pub fn new() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
        Ok(Self(Digest::of(&bytes)))
    }

    /// The one that was written down so.
    pub fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }

    /// As it is written down for those who may know it.
    pub fn reveal(&self) -> String {
        self.0.hex()
    }

    /// A name that tells those apart who have different ones.
    pub fn name(&self) -> String {
        Digest::keyed(&self.0, b"name").short()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a pilot finds where its next job shall be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Next {
    /// The job comes once its inputs are in the remote; as long as this changes, somebody is at it.
    Coming(u32),
    /// The job.
    Here(Box<Errand>),
}

/// A job for a pilot.
#[derive(Debug, Serialize, Deserialize)]
pub struct Errand {
    /// The key of the result.
    pub key: Digest,
    /// Which try it is.
    pub attempt: u32,
    /// The job, with the paths that it has where it was sent from.
    pub offer: Offer,
    /// Its inputs, by those paths.
    pub inputs: Vec<Piece>,
    /// The states of its course of training, by their paths within its folder.
    pub states: Vec<Piece>,
}

/// How a pilot stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Who it is.
    pub pilot: Pilot,
    /// The number of the job that it has now.
    pub at: Option<u64>,
    /// How many it has ended.
    pub ended: u64,
    /// What the job tells, from this byte on.
    pub events_from: u64,
    /// The latest of that.
    pub events: String,
    /// States of its course of training that it has put into the remote.
    pub states: Vec<Piece>,
}

/// How a job ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ending {
    /// The key of the result.
    pub key: Digest,
    /// Which try it was.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
    /// What it wrote, by paths within the folder of its outputs.
    pub out: Vec<Piece>,
    /// The states of its course of training.
    pub states: Vec<Piece>,
    /// What it told, from this byte on.
    pub events_from: u64,
    /// The rest of that.
    pub events: String,
    /// The end of its log.
    pub log: String,
}

/// The objects of one run and its pilots.
pub struct Mail<'a> {
    remote: &'a Remote,
    secret: &'a Secret,
    prefix: String,
}

impl<'a> Mail<'a> {
    /// The objects of a session.
    pub fn new(remote: &'a Remote, session: &str, secret: &'a Secret) -> Self {
        Self { remote, secret, prefix: format!("cluster/{session}/") }
    }

    fn put(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let (name, json) = (format!("{}{name}", self.prefix), serde_json::to_vec(value)?);
        let bytes = [self.seal(&name, &json).hex().as_bytes(), &json].concat();
        self.remote.put(&name, Content::Bytes(&bytes), Existing::Replace).map(drop)
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let name = format!("{}{name}", self.prefix);
        let Some(bytes) = self.remote.read(&name, MAIL_BYTES)? else { return Ok(None) };
        let sealed = bytes.split_at_checked(SEAL).filter(|(seal, json)| {
            // Digests are compared in constant time by what they are of.
            Digest::of(seal) == Digest::of(self.seal(&name, json).hex().as_bytes())
        });
        let Some((_, json)) = sealed else {
            bail!("`{name}` of the remote was written by somebody else: it is refused")
        };
        serde_json::from_slice(json).map(Some).with_context(|| format!("`{name}` of the remote is of another pacer"))
    }

    /// What only who knows the secret can write before an object of this name.
    fn seal(&self, name: &str, json: &[u8]) -> Digest {
        Digest::keyed(&self.secret.0, &[name.as_bytes(), b"\n", json].concat())
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.remote.delete(&format!("{}{name}", self.prefix))
    }

    /// The pilots that have not said that they end, with their silence.
    pub fn pilots(&self) -> Result<BTreeMap<String, Duration>> {
        let prefix = format!("{}pilots/", self.prefix);
        let listed = self.remote.list(&prefix)?;
        let named = listed.into_iter().filter_map(|it| Some((it.name.strip_prefix(&prefix)?.to_owned(), it.seen.age)));
        Ok(named.collect())
    }

    /// Says how a pilot stands.
    pub fn report(&self, report: &Report) -> Result<()> {
        self.put(&format!("pilots/{}", report.pilot.claim.pilot), report)
    }

    /// How a pilot stands.
    pub fn report_of(&self, pilot: &str) -> Result<Option<Report>> {
        self.get(&format!("pilots/{pilot}"))
    }

    /// Says that a pilot ends.
    pub fn leave_pilot(&self, pilot: &str) -> Result<()> {
        self.delete(&format!("pilots/{pilot}"))
    }

    /// Gives a pilot its n-th job, or says that it comes.
    pub fn give(&self, pilot: &str, number: u64, next: &Next) -> Result<()> {
        self.put(&format!("jobs/{pilot}/{number}"), next)
    }

    /// The n-th job of a pilot, once it is given, or that it comes.
    pub fn job(&self, pilot: &str, number: u64) -> Result<Option<Next>> {
        self.get(&format!("jobs/{pilot}/{number}"))
    }

    /// Asks a pilot to end its n-th job.
    pub fn stop(&self, pilot: &str, number: u64, how: StopHow) -> Result<()> {
        self.put(&format!("stops/{pilot}/{number}"), &(how == StopHow::Kill))
    }

    /// Whether a pilot shall end its n-th job.
    pub fn stop_asked(&self, pilot: &str, number: u64) -> Result<Option<StopHow>> {
        let asked: Option<bool> = self.get(&format!("stops/{pilot}/{number}"))?;
        Ok(asked.map(|kill| if kill { StopHow::Kill } else { StopHow::Orderly }))
    }

    /// Says how the n-th job of a pilot ended.
    pub fn end(&self, pilot: &str, number: u64, ending: &Ending) -> Result<()> {
        self.put(&format!("ends/{pilot}/{number}"), ending)
    }

    /// How the n-th job of a pilot ended.
    pub fn ending(&self, pilot: &str, number: u64) -> Result<Option<Ending>> {
        self.get(&format!("ends/{pilot}/{number}"))
    }

    /// The jobs whose end nobody has taken over, by pilot and number.
    pub fn endings(&self) -> Result<Vec<(String, u64)>> {
        self.numbered("ends")
    }

    /// The jobs that were given and are not forgotten, by pilot and number.
    pub fn jobs(&self) -> Result<Vec<(String, u64)>> {
        self.numbered("jobs")
    }

    fn numbered(&self, sort: &str) -> Result<Vec<(String, u64)>> {
        let prefix = format!("{}{sort}/", self.prefix);
        let parse = |name: &str| {
            let (pilot, number) = name.strip_prefix(&prefix)?.split_once('/')?;
            Some((pilot.to_owned(), number.parse().ok()?))
        };
        Ok(self.remote.list(&prefix)?.iter().filter_map(|listed| parse(&listed.name)).collect())
    }

    /// Takes away what was written about a job that is over.
    pub fn forget(&self, pilot: &str, number: u64) -> Result<()> {
        ["jobs", "stops", "ends"].iter().try_for_each(|sort| self.delete(&format!("{sort}/{pilot}/{number}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::spool::Claim;
    use crate::profile::RemoteSettings;

    #[test]
    fn what_is_written_is_known_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().display().to_string();
        let remote = Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap();
        let secret = Secret::new().unwrap();
        let session = format!("{}0", sessions_of(&secret, "a pipeline"));
        let mail = Mail::new(&remote, &session, &secret);
        for pilot in [crate::cluster::pilot::claim().pilot, "7_0-1".into(), "12-345".into()] {
            mail.put(&format!("pilots/{pilot}"), &()).unwrap();
            mail.stop(&pilot, 17, StopHow::Kill).unwrap();
        }
        let written = remote.list("cluster/").unwrap();
        assert!(written.len() == 6 && written.iter().all(|it| is_letter(&it.name)), "{written:?}");
        for name in ["pilots/7", "pilots/7_-1", "pilots/7_0-1/1", "jobs/7_0-1", "jobs/7_0-1/x", "notes/7_0-1/1"] {
            assert!(!is_letter(&format!("cluster/{session}/{name}")), "{name}");
        }
        for session in ["s", "0123456789AB-0123456789ab-0", "0123456789ab-0", "0123456789ab-0123456789ab-"] {
            assert!(!is_letter(&format!("cluster/{session}/pilots/7_0-1")), "{session}");
        }
    }

    #[test]
    fn a_pilot_is_seen_from_its_first_report_to_its_leave() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("remote").display().to_string();
        let remote = Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap();
        let secret = Secret::new().unwrap();
        let mail = Mail::new(&remote, "s", &secret);
        assert!(mail.pilots().unwrap().is_empty());
        let claim = Claim { pilot: "7_0-1".into(), slurm: "7_0".into(), node: "n".into(), served: 0 };
        let pilot = Pilot { claim, shape: "x".into(), stage: None, runner: None, fault: None };
        let (events, states) = (String::new(), Vec::new());
        mail.report(&Report { pilot, at: None, ended: 0, events_from: 0, events, states }).unwrap();
        let pilots = mail.pilots().unwrap();
        assert!(pilots.len() == 1 && pilots["7_0-1"] < SIGN_LOST);
        assert_eq!(mail.report_of("7_0-1").unwrap().unwrap().pilot.claim.node, "n");
        assert_eq!(mail.stop_asked("7_0-1", 1).unwrap(), None);
        mail.stop("7_0-1", 1, StopHow::Kill).unwrap();
        assert_eq!(mail.stop_asked("7_0-1", 1).unwrap(), Some(StopHow::Kill));
        mail.forget("7_0-1", 1).unwrap();
        assert_eq!(mail.stop_asked("7_0-1", 1).unwrap(), None);
        let other = Secret::new().unwrap();
        let error = Mail::new(&remote, "s", &other).report_of("7_0-1").unwrap_err();
        assert!(error.to_string().contains("written by somebody else"), "{error}");
        assert_ne!(secret.name(), other.name());
        assert_eq!(Secret::parse(&secret.reveal()).unwrap().name(), secret.name());
        // What is true under one name is not true under another.
        let pilots = folder.path().join("remote/cluster/s/pilots");
        std::fs::copy(pilots.join("7_0-1"), pilots.join("8_0-1")).unwrap();
        assert!(mail.report_of("8_0-1").is_err() && mail.report_of("7_0-1").is_ok());
        mail.leave_pilot("8_0-1").unwrap();
        mail.leave_pilot("7_0-1").unwrap();
        assert!(mail.pilots().unwrap().is_empty());
    }
}
