//! A lock file: the key of each stage and the digests of its artifacts, as a text beside the pipeline, to be kept under
//! version control. Unaware of how results are made.
//!
//! Stages are sorted by name and every fact has a line of its own, so that two changed files merge like any text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cache::Hit;
use crate::digest::Digest;

/// A lock file larger than this is cut off, and then none.
const MOST_BYTES: u64 = 64 << 20;

/// Version of the file.
const VERSION: u32 = 1;

/// The results that a pipeline had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    version: u32,
    #[serde(default)]
    stages: BTreeMap<String, Locked>,
}

/// The result that a stage had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// Its key.
    pub key: Digest,
    /// The digests of its artifacts.
    #[serde(default)]
    pub artifacts: BTreeMap<String, Digest>,
}

/// A stage whose result is not the locked one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The lock file does not know the stage.
    Unlocked,
    /// Its key is another: something that its result depends on has changed.
    Key,
    /// The key is the same and this artifact is not: the stage is not deterministic.
    Artifact(String),
}

impl Default for LockFile {
    fn default() -> Self {
        Self::new()
    }
}

impl LockFile {
    /// A lock file that locks nothing yet.
    pub fn new() -> Self {
        Self { version: VERSION, stages: BTreeMap::new() }
    }

    /// The lock file of a pipeline: beside it, under its name.
    pub fn path_of(pipeline: &Path) -> PathBuf {
        pipeline.with_extension("lock")
    }

    /// Reads a lock file; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("`{}` cannot be read", path.display())),
        }
        let file: Self = toml::from_str(&text)
            .with_context(|| format!("`{}` is no lock file: mend it, or delete it and use --lock", path.display()))?;
        if file.version != VERSION {
            bail!("`{}` is of version {}, and this pacer knows {VERSION}", path.display(), file.version);
        }
        Ok(Some(file))
    }

    /// Sets what a stage has now.
    pub fn lock(&mut self, stage: &str, hit: &Hit) {
        let artifacts = hit.artifacts.iter().map(|artifact| (artifact.name.clone(), artifact.digest)).collect();
        self.stages.insert(stage.to_owned(), Locked { key: hit.key, artifacts });
    }

    /// The stages that it locks.
    pub fn stages(&self) -> impl Iterator<Item = &str> {
        self.stages.keys().map(String::as_str)
    }

    /// Forgets the stages that a pipeline no longer has.
    pub fn retain(&mut self, is_stage: impl Fn(&str) -> bool) {
        self.stages.retain(|stage, _| is_stage(stage));
    }

    /// Whether a stage with this key, and with these artifacts where it has a result, is as it was locked.
    pub fn drift(&self, stage: &str, key: &Digest, hit: Option<&Hit>) -> Option<Drift> {
        let Some(locked) = self.stages.get(stage) else { return Some(Drift::Unlocked) };
        if locked.key != *key {
            return Some(Drift::Key);
        }
        let differs = |name: &str, digest: &Digest| locked.artifacts.get(name) != Some(digest);
        let artifact = hit?.artifacts.iter().find(|artifact| differs(&artifact.name, &artifact.digest))?;
        Some(Drift::Artifact(artifact.name.clone()))
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = format!(
            "# The key of each stage and the digests of its artifacts, written by `pacer run --lock`.\n\
             # `pacer run --locked` fails where they drift.\nversion = {VERSION}\n"
        );
        for (stage, locked) in &self.stages {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let stage = if stage.chars().all(is_bare) { stage.clone() } else { format!("{stage:?}") };
            let _ = write!(text, "\n[stages.{stage}]\nkey = \"{}\"\n", locked.key);
            for (name, digest) in &locked.artifacts {
                let _ = writeln!(text, "artifacts.{name} = \"{digest}\"");
            }
        }
        text
    }

    /// Writes the file whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            // For everybody, as far as the user's mask allows: it belongs into version control.
            let everybody = Permissions::from_mode(0o666);
            let mut file = tempfile::Builder::new().permissions(everybody).tempfile_in(folder)?;
            file.write_all(self.text().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("`{}` cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Artifact;
    use pacer_stages::artifact::ArtifactType;

    fn hit(key: &str, content: &str) -> Hit {
        let digest = Digest::of(content.as_bytes());
        let artifact = Artifact { name: "model".into(), artifact: ArtifactType::Model, digest, bytes: 1 };
        Hit { key: Digest::of(key.as_bytes()), artifacts: vec![artifact], seconds: 1.0, stamp: None, afar: false }
    }

    #[test]
    fn what_was_locked_is_read_again_and_drift_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = LockFile::path_of(&folder.path().join("p.toml"));
        assert_eq!(LockFile::read(&path).unwrap(), None);
        let mut file = LockFile::new();
        file.lock("b", &hit("b", "x"));
        file.lock("a", &hit("a", "x"));
        file.write(&path).unwrap();
        let read = LockFile::read(&path).unwrap().unwrap();
        assert_eq!(read, file);
        assert!(read.text().find("[stages.a]") < read.text().find("[stages.b]"));
        let drift = |stage: &str, hit: &Hit| read.drift(stage, &hit.key, Some(hit));
        assert_eq!(drift("a", &hit("a", "x")), None);
        assert_eq!(drift("a", &hit("other", "x")), Some(Drift::Key));
        assert_eq!(drift("a", &hit("a", "y")), Some(Drift::Artifact("model".into())));
        assert_eq!(drift("c", &hit("c", "x")), Some(Drift::Unlocked));
    }

    #[test]
    fn a_text_that_is_no_lock_file_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.lock");
        for text in ["version = 7\n", "version = 1\n[stages.a]\nkey = \"zz\"\n", "<<<<<<< ours\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(LockFile::read(&path).unwrap_err().to_string().contains("p.lock"), "{text}");
        }
    }
}
