//! What splits and sequences show: each file is read when a check first needs it, and what was found is remembered by
//! the content that it was found in. Unaware of which stages read them.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pacer_stages::fingerprint;
use pacer_stages::leakage::{self as data, Finding, Saw};
use pacer_stages::sequences::Sequences;
use pacer_stages::split::{Part, Split};

use crate::digest::Digest;
use crate::graph::{Source, StageId};
use crate::leakage::lineage::Division;
use crate::store::Store;

/// Where a store keeps what was found.
const FILE: &str = "index/leaks";

/// Findings that are remembered; where there are more, those of earlier runs are forgotten.
const MOST: usize = 50_000;

/// A finding, or why it could not be looked for.
pub type Found = Result<Finding, String>;

/// A file by its content.
pub struct Content {
    /// The digest of its content.
    pub digest: Digest,
    /// Where it lies; who alone has it, where it is not here.
    pub path: Result<PathBuf, &'static str>,
}

/// Where checks look.
pub struct Evidence<'a> {
    /// The content behind a source; none while it is not made.
    pub find: &'a dyn Fn(&Source) -> Option<Content>,
    /// Stages of which nothing comes any more.
    pub gone: &'a BTreeSet<StageId>,
    /// What was found before.
    pub findings: &'a Findings,
}

/// A split with the sequences that it divides.
pub struct Divided<'a> {
    findings: &'a Findings,
    split: Lazy<Split>,
    sequences: Lazy<Sequences>,
}

/// A file that is read when it is needed.
struct Lazy<T> {
    content: Result<Content, String>,
    what: &'static str,
    read: fn(&Path) -> anyhow::Result<T>,
    value: OnceCell<Result<T, String>>,
}

impl Evidence<'_> {
    /// A split with the sequences that it divides.
    pub fn divided(&self, division: &Division) -> Divided<'_> {
        let split = Lazy::new((self.find)(&division.split), "the split", "is not made yet", Split::read);
        let sequences = division.sequences.as_ref().and_then(|source| (self.find)(source));
        let sequences = Lazy::new(sequences, "the sequences that it divides", "are not at hand", Sequences::read);
        Divided { findings: self.findings, split, sequences }
    }

    /// Whether a feature of some sequences is the heart rate.
    pub fn target(&self, sequences: &Source) -> Found {
        self.findings.target(&Lazy::new((self.find)(sequences), "the sequences", "are not made yet", Sequences::read))
    }
}

impl Divided<'_> {
    /// Whether users are kept apart.
    pub fn users(&self) -> Found {
        self.findings.look("users", &[self.split.digest()?], || Ok(data::users(self.split.value()?)))
    }

    /// Whether what trains is earlier than what tests.
    pub fn time_order(&self) -> Found {
        self.both("time_order", data::time_order)
    }

    /// Whether no run is in two parts.
    pub fn duplicates(&self) -> Found {
        self.both("duplicates", data::duplicates)
    }

    /// Whether no feature is the heart rate.
    pub fn target(&self) -> Found {
        self.findings.target(&self.sequences)
    }

    /// Whether nothing that was seen of it is scored in a part of another.
    pub fn seen(&self, saw: Saw, scored: &Self, part: Part) -> Found {
        let of = [self.split.digest()?, self.sequences.digest()?, scored.split.digest()?, scored.sequences.digest()?];
        self.findings.look(&format!("seen {saw:?} {part:?}"), &of, || {
            let before = (self.split.value()?, self.sequences.value()?);
            Ok(data::seen(before, saw, (scored.split.value()?, scored.sequences.value()?), part))
        })
    }

    fn both(&self, check: &str, look: fn(&Split, &Sequences) -> Finding) -> Found {
        let of = [self.split.digest()?, self.sequences.digest()?];
        self.findings.look(check, &of, || Ok(look(self.split.value()?, self.sequences.value()?)))
    }
}

impl<T> Lazy<T> {
    fn new(
        content: Option<Content>,
        what: &'static str,
        absent: &'static str,
        read: fn(&Path) -> anyhow::Result<T>,
    ) -> Self {
        Self { content: content.ok_or_else(|| format!("{what} {absent}")), what, read, value: OnceCell::new() }
    }

    fn digest(&self) -> Result<Digest, String> {
        self.content.as_ref().map(|content| content.digest).map_err(Clone::clone)
    }

    fn value(&self) -> Result<&T, String> {
        let read = || {
            let path = self.content.as_ref().map_err(Clone::clone)?.path.as_ref();
            let path = path.map_err(|who| format!("{who} {}", self.what))?;
            (self.read)(path).map_err(|error| format!("{error:#}"))
        };
        self.value.get_or_init(read).as_ref().map_err(Clone::clone)
    }
}

/// What checks found, by a digest of what they looked at.
#[derive(Default)]
pub struct Findings {
    known: RefCell<BTreeMap<Digest, Finding>>,
    news: RefCell<BTreeMap<Digest, Finding>>,
}

impl Findings {
    /// Reads what a store remembers; what is damaged is forgotten.
    pub fn load(store: &Store) -> Self {
        Self { known: RefCell::new(store.recall(&store.path(FILE)).unwrap_or_default()), ..Self::default() }
    }

    /// Keeps what was found, beside what others found meanwhile. It only saves time.
    pub fn save(&self, store: &Store) {
        let news = self.news.take();
        if news.is_empty() {
            return;
        }
        let mut all: BTreeMap<Digest, Finding> = store.recall(&store.path(FILE)).unwrap_or_default();
        if all.len() + news.len() > MOST {
            all.clear();
        }
        all.extend(news);
        store.remember(&store.path(FILE), &all);
    }

    fn target(&self, sequences: &Lazy<Sequences>) -> Found {
        self.look("target", &[sequences.digest()?], || Ok(data::target(sequences.value()?)))
    }

    /// What a check finds in some contents, which are looked at where that is not known.
    fn look(&self, check: &str, contents: &[Digest], look: impl FnOnce() -> Found) -> Found {
        let of: String = contents.iter().map(|digest| format!(" {digest}")).collect();
        let place = Digest::of(format!("{} {check}{of}", fingerprint::of_checks()).as_bytes());
        if let Some(known) = self.known.borrow().get(&place) {
            return Ok(known.clone());
        }
        let finding = look()?;
        self.known.borrow_mut().insert(place, finding.clone());
        self.news.borrow_mut().insert(place, finding.clone());
        Ok(finding)
    }
}
