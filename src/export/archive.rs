//! A run with all that it reached as one zip archive, and such an archive put into a store. Unaware of what results
//! mean.
//!
//! An archive holds files under their paths in the store: `runs/RUN/…`, `results/…`, `objects/…`. What comes out of one
//! is believed no more than what comes off a damaged disk: a blob goes in under the hash of its bytes, a result only
//! where its sum is right, and neither takes the place of what is there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use pacer_stages::artifact::ArtifactType;
use walkdir::WalkDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::cache::{Cache, read_result};
use crate::export::reached::Reached;
use crate::store::Store;

/// Files larger than this need the wide form of the format.
const WIDE_BYTES: u64 = u32::MAX as u64 - 1;

/// Files of a run's folder that are of this machine and this moment.
const LOCAL: [&str; 2] = ["alive", "pinned"];

/// Which artifacts go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of them.
    All,
    /// Those that reports are made of: no raw files, workouts and sequences, which are most of the bytes.
    Light,
}

/// What was put in or taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Results.
    pub results: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes of the blobs.
    pub bytes: u64,
}

/// Writes a run as an archive; the same run gives the same bytes.
pub fn pack(cache: &Cache, run: &Reached, extent: Extent, path: &Path) -> Result<Moved> {
    let store = &cache.store;
    let mut files = BTreeSet::new();
    let folder = store.path("runs").join(&run.summary.run);
    for entry in WalkDir::new(&folder) {
        let entry = entry?;
        if entry.file_type().is_file() && !LOCAL.iter().any(|name| entry.file_name() == *name) {
            files.insert(entry.into_path());
        }
    }
    let mut moved = Moved::default();
    let mut blobs = BTreeSet::new();
    for (_, result) in &run.stages {
        let going = result.artifacts.iter().filter(|artifact| goes_along(artifact.artifact, extent));
        going.into_iter().try_for_each(|artifact| cache.blob(artifact).map(drop))?;
        cache.keep(&result.key)?;
        moved.results += usize::from(files.insert(store.result_path(&result.key)));
        let artifacts = result.artifacts.iter().filter(|artifact| goes_along(artifact.artifact, extent));
        for artifact in artifacts.filter(|artifact| store.has(&artifact.digest, artifact.bytes)) {
            if blobs.insert(store.object_path(&artifact.digest)) {
                moved.blobs += 1;
                moved.bytes += artifact.bytes;
            }
        }
    }
    let file = File::create(path).with_context(|| format!("`{}` cannot be written", path.display()))?;
    let mut zip = ZipWriter::new(BufWriter::new(file));
    for file in &files {
        add(&mut zip, store, file, CompressionMethod::Deflated)?;
    }
    for blob in &blobs {
        // Most are packed already.
        add(&mut zip, store, blob, CompressionMethod::Stored)?;
    }
    let mut file = zip.finish().with_context(|| format!("`{}` cannot be written", path.display()))?;
    io::Write::flush(&mut file)?;
    Ok(moved)
}

const fn goes_along(artifact: ArtifactType, extent: Extent) -> bool {
    let is_heavy = matches!(artifact, ArtifactType::Workouts | ArtifactType::Sequences | ArtifactType::File);
    !is_heavy || matches!(extent, Extent::All)
}

fn add(zip: &mut ZipWriter<BufWriter<File>>, store: &Store, path: &Path, method: CompressionMethod) -> Result<()> {
    let unreadable = || format!("`{}` cannot be put into the archive", path.display());
    let name = path.strip_prefix(store.root()).ok().and_then(Path::to_str).with_context(unreadable)?;
    let mut file = File::open(path).with_context(unreadable)?;
    let is_wide = file.metadata().with_context(unreadable)?.len() > WIDE_BYTES;
    // No date, no owner: the same run is the same archive.
    let options = SimpleFileOptions::default().compression_method(method).last_modified_time(DateTime::default());
    zip.start_file(name, options.large_file(is_wide).unix_permissions(0o644)).with_context(unreadable)?;
    io::copy(&mut file, zip).with_context(unreadable)?;
    Ok(())
}

/// Puts an archive into a store; returns the runs that it held and what was new.
pub fn unpack(path: &Path, store: &Store) -> Result<(Vec<String>, Moved)> {
    let file = File::open(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let archive = ZipArchive::new(io::BufReader::new(file));
    let mut archive = archive.with_context(|| format!("`{}` is no archive of a run", path.display()))?;
    let _held_off = store.hold_off_collections()?;
    let scratch = store.scratch("unpack")?;
    let mut unpacking = Unpacking { store, scratch: scratch.path(), moved: Moved::default(), runs: BTreeSet::new() };
    // Blobs before results before runs, so that whatever names something finds it.
    for top in ["objects", "results", "runs"] {
        for place in 0..archive.len() {
            let mut entry = archive.by_index(place).with_context(|| format!("`{}` is damaged", path.display()))?;
            let name = entry.name().with_context(|| format!("`{}` is damaged", path.display()))?.into_owned();
            let parts =
                parts(&name).with_context(|| format!("`{}`: `{name}` is no file of a store", path.display()))?;
            if entry.is_file() && parts[0] == top {
                unpacking.take(&parts, &mut entry).with_context(|| format!("`{name}` of `{}`", path.display()))?;
            }
        }
    }
    if unpacking.runs.is_empty() {
        bail!("`{}` is no archive of a run", path.display());
    }
    Ok((unpacking.runs.into_iter().collect(), unpacking.moved))
}

/// The parts of a name that leads nowhere but down, from a folder of the store that archives hold.
fn parts(name: &str) -> Option<Vec<&str>> {
    let parts: Option<Vec<_>> = Path::new(name)
        .components()
        .map(|part| match part {
            Component::Normal(part) => part.to_str(),
            _ => None,
        })
        .collect();
    parts.filter(|parts| matches!(parts[..], ["objects" | "results", _, _] | ["runs", _, _] | ["runs", _, _, _]))
}

/// An archive on its way into a store.
struct Unpacking<'a> {
    store: &'a Store,
    scratch: &'a Path,
    moved: Moved,
    runs: BTreeSet<String>,
}

impl Unpacking<'_> {
    fn take(&mut self, parts: &[&str], entry: &mut impl Read) -> Result<()> {
        let path = self.scratch.join("file");
        io::copy(entry, &mut File::create(&path)?)?;
        match parts {
            ["objects", first, rest] => {
                let (digest, bytes) = self.store.adopt(&path)?;
                ensure!(digest.hex() == format!("{first}{rest}"), "its bytes are not those that its name says");
                self.store.sync_blob(&digest)?;
                self.moved.blobs += 1;
                self.moved.bytes += bytes;
            }
            ["results", _, name] => {
                let result = read_result(&path)?;
                let target = self.store.result_path(&result.key);
                let is_named = target.file_name().is_some_and(|own| own == *name);
                ensure!(is_named, "it is the result of another key than its name says");
                if !target.exists() {
                    self.store.write_json(&target, &result)?;
                    self.moved.results += 1;
                }
            }
            ["runs", run, below @ ..] => {
                let target: PathBuf =
                    below.iter().fold(self.store.path("runs").join(run), |path, part| path.join(part));
                self.runs.insert((*run).to_owned());
                if !target.exists() {
                    fs::create_dir_all(target.parent().expect("a run is a folder"))?;
                    fs::rename(&path, &target)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_a_store_are_none() {
        assert_eq!(parts("objects/ab/cd"), Some(vec!["objects", "ab", "cd"]));
        assert!(parts("runs/r/logs/s.log").is_some());
        for name in ["../x/y", "/objects/a/b", "objects/../../x", "locks/a/b", "runs/r", "results/a/b/c", "FORMAT", ""]
        {
            assert_eq!(parts(name), None, "{name}");
        }
    }
}
