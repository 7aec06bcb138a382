//! Arbitrary bytes as the files of a store that are read again: a result, an index, the stamps of inputs, a journal,
//! a summary.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use pacer::cache::{Cache, Found, StageResult};
use pacer::care;
use pacer::digest::Digest;
use pacer::event::Versioned;
use pacer::index::Index;
use pacer::journal::{self, Summary};
use pacer::stat_cache::StatCache;
use pacer::store::Store;

/// The content of the one blob of the store, which the corpus knows by its digest.
const BLOB: &[u8] = b"a\n";

/// The name of the pipeline that an index is of.
const PIPELINE: &str = "/p";

/// The name of the one run of the store.
const RUN: &str = "20260101-000000.000-1";

/// A store in the folder for temporary files; set TMPDIR to a file system in memory.
static CACHE: LazyLock<Cache> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("pacer-fuzz-{}", std::process::id()));
    let store = Store::open(&folder).expect("a store can be made");
    let blob = store.object_path(&Digest::of(BLOB));
    fs::create_dir_all(blob.parent().expect("blobs lie in folders")).expect("a folder can be made");
    fs::write(blob, BLOB).expect("a blob can be written");
    fs::create_dir_all(store.path("runs").join(RUN)).expect("a folder can be made");
    Cache::of(store)
});

/// Checks one input.
pub fn check(bytes: &[u8]) {
    result(&CACHE, bytes);
    run(&CACHE.store, bytes);
}

/// The bytes as the result of a key: served only when sound, and `verify` thinks as `find` does.
fn result(cache: &Cache, bytes: &[u8]) {
    let read: Option<StageResult> = serde_json::from_slice(bytes).ok();
    // Under its right sum, which no bytes would hit upon.
    let read = read.map(StageResult::summed);
    let summed = read.as_ref().map(|result| serde_json::to_vec(result).expect("a result is plain data"));
    let bytes = summed.as_deref().unwrap_or(bytes);
    let key = read.as_ref().map_or(Digest::of(b"another"), |result| result.key);
    let path = cache.store.result_path(&key);
    fs::create_dir_all(path.parent().expect("results lie in folders")).expect("a folder can be made");
    fs::write(&path, bytes).expect("a result can be written");
    let found = cache.find(&key);
    let verified = care::verify(cache).expect("a store can be verified");
    assert_eq!((verified.results, verified.blobs), (1, 1));
    match found {
        Found::Hit(hit) => {
            assert_eq!(verified.damage, []);
            let result = cache.result(&key).expect("a hit has a result");
            assert_eq!((hit.key, &hit.artifacts), (key, &result.artifacts));
            let again = serde_json::to_vec(&result).expect("a result is plain data");
            assert_eq!(serde_json::from_slice::<StageResult>(&again).ok(), read);
            assert_eq!(Some(result), read);
        }
        Found::Damaged(why) => assert!(!why.is_empty() && !verified.damage.is_empty(), "{why}"),
        Found::Absent => panic!("the result is there"),
    }
    index(cache, &key, bytes);
    // Gone where it was no result.
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir(path.parent().expect("results lie in folders"));
}

/// The bytes, under a right sum, as what is remembered to save time: it gives the answers of the cache and of files.
fn index(cache: &Cache, key: &Digest, bytes: &[u8]) {
    let store = &cache.store;
    fs::create_dir_all(store.path("index")).expect("a folder can be made");
    let summed = [Digest::of(bytes).bytes(), bytes].concat();
    for path in [Index::path_of(store, PIPELINE, Path::new(PIPELINE)), store.path("index/inputs")] {
        fs::write(path, &summed).expect("an index can be written");
    }
    let blob = StatCache::load(&cache.store).digest(&cache.store.object_path(&Digest::of(BLOB)));
    assert_eq!(blob.expect("the blob can be read").0, Digest::of(BLOB));
    let mut index = Index::load(store, PIPELINE, Path::new(PIPELINE));
    assert_eq!(format!("{:?}", index.find("a", key, cache)), format!("{:?}", cache.find(key)));
    assert!(index.earlier("a", &cache.store).len() <= bytes.len() + 1);
}

/// The bytes as the journal and the summary of a run.
fn run(store: &Store, bytes: &[u8]) {
    let folder = store.path("runs").join(RUN);
    for name in ["journal.jsonl", "summary.json"] {
        fs::write(folder.join(name), bytes).expect("a file of a run can be written");
    }
    let events = journal::events(store, RUN).expect("the journal is there");
    for event in &events {
        let again: Versioned = serde_json::from_str(&event.line()).expect("an event is read as it was written");
        assert_eq!(again.event, *event);
    }
    assert!(journal::keys(store, RUN).len() <= events.len());
    assert!(journal::touched(store, RUN).len() <= events.len());
    if let Some(summary) = journal::summary(store, RUN) {
        let again = serde_json::to_vec(&summary).expect("a summary is plain data");
        assert_eq!(serde_json::from_slice::<Summary>(&again).ok().as_ref(), Some(&summary));
        assert!(journal::unwritten_keys(store, &summary.path, "").len() <= events.len());
    }
}
