//! Blobs of a remote that were seen to be gone or wrong. The store keeps their names for a day, so that the next command
//! makes anew what it cannot have, and the next push puts them right. Unaware of how a blob is fetched.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;

use crate::cache::afar::blob_name;
use crate::cache::{Artifact, Cache};
use crate::digest::Digest;
use crate::remote::Remote;

/// So long nobody asks again for a blob that was refused; somebody else may have put it right.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

impl Cache {
    /// Recalls what of the remote was refused by earlier commands.
    #[must_use]
    pub fn recalling(self) -> Self {
        if let Some(remote) = &self.remote {
            for entry in fs::read_dir(self.refusals(remote)).into_iter().flatten().flatten() {
                let age = entry.metadata().ok().and_then(|metadata| metadata.modified().ok()?.elapsed().ok());
                match entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) {
                    Some(digest) if age.is_none_or(|age| age < REMEMBERED) => remote.refuse(&blob_name(&digest)),
                    _ => drop(fs::remove_file(entry.path())),
                }
            }
        }
        self
    }

    /// Where it is kept what of a remote was refused: an empty file for each.
    fn refusals(&self, remote: &Remote) -> PathBuf {
        self.store.path("refused").join(remote.id())
    }

    /// Notes that a blob of the remote is not what it should be, and says so.
    pub(super) fn refused(&self, remote: &Remote, digest: &Digest, why: &str) -> anyhow::Error {
        let name = blob_name(digest);
        remote.refuse(&name);
        // A store that takes no note finds it out again.
        let _ = self.store.write_lightly(&self.refusals(remote).join(digest.hex()), b"");
        anyhow!("`{name}` of the remote `{}` is refused: {why}", remote.url())
    }

    /// Forgets that a blob of the remote was refused, once it was put there anew.
    pub(super) fn put_right(&self, remote: &Remote, digest: &Digest) {
        let _ = fs::remove_file(self.refusals(remote).join(digest.hex()));
    }

    /// The first artifact whose blob was refused and is not here either.
    pub(super) fn refused_one<'a>(&self, artifacts: &'a [Artifact]) -> Option<&'a Artifact> {
        let remote = self.remote.as_ref()?;
        let is_refused = |artifact: &&Artifact| {
            remote.is_refused(&blob_name(&artifact.digest)) && !self.store.has(&artifact.digest, artifact.bytes)
        };
        artifacts.iter().find(is_refused)
    }
}
