//! What the files of a run on a cluster cost at that size, on the file system of the temporary folder: the spool with as
//! many offers, heartbeats and open jobs, and results put into one store by many processes at once.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Instant, SystemTime};

use pacer::cache::{Cache, Claim as Right, Claimant, Produced};
use pacer::cluster::spool::{Attempt, Claim, Offer, Outcome, Pilot, Spool};
use pacer::digest::Digest;
use pacer::key::{Record, RecordParts};
use pacer::store::Store;
use pacer_stages::artifact::{ArtifactType, OutputPort};
use pacer_stages::job::{Checkpoints, Device, JOB_VERSION, Job};
use pacer_stages::stage::Metrics;
use serde_json::{Value, json};

use crate::tell;

const OFFERS: usize = 10_000;
const PILOTS: usize = 1_000;
const OPEN: usize = 1_000;
/// Pilots that look at once, each on a thread of its own.
const AT_ONCE: usize = 100;
const SHAPE: &str = "shape";
const RUNNER: &str = "runner";

/// Tells what each costs.
pub fn measure() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let spool = Spool::open(folder.path()).expect("a spool can be made");
    let now = spool.beat_runner(RUNNER, PILOTS).expect("the spool can be written");
    offers(&spool, now);
    pilots(&spool);
    open_jobs(&spool);
    publications(folder.path());
}

/// The median of some calls in microseconds.
fn median(calls: usize, mut call: impl FnMut(usize)) -> f64 {
    let mut times: Vec<f64> = (0..calls)
        .map(|at| {
            let began = Instant::now();
            call(at);
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[calls / 2]
}

fn line(microseconds: f64, what: &str) {
    tell(&format!("{microseconds:12.0} µs  {what}"));
}

fn attempt(at: usize) -> Attempt {
    Attempt { key: Digest::of(&at.to_le_bytes()), number: 1 }
}

fn claim(at: usize) -> Claim {
    Claim { pilot: format!("17_{at}-4711"), slurm: format!("17_{at}"), node: format!("node{at}"), served: 0 }
}

fn offer(spool: &Spool, at: usize) {
    let attempt = attempt(at);
    spool.prepare(&attempt).expect("a folder can be made");
    let job = Job {
        v: JOB_VERSION,
        kind: "command".into(),
        code: String::new(),
        params: json!({"run": ["sh", "-c", "echo 1 > {outputs.x}"], "outputs": {"x": "file"}}),
        inputs: std::collections::BTreeMap::new(),
        out: spool.out(&attempt),
        partial: spool.out(&attempt),
        checkpoints: Checkpoints::default(),
        seed: 0,
        device: Device::Cpu,
        threads: 1,
    };
    let (runner, stage, log) = (RUNNER.into(), format!("train[{at}]"), spool.logs());
    let offer = Offer { runner, stage, job, read: Vec::new(), log, raised: 0 };
    spool.offer(SHAPE, at as u64, &attempt, &offer).expect("an offer can be written");
}

fn offers(spool: &Spool, now: SystemTime) {
    offer(spool, OFFERS);
    assert!(spool.take(SHAPE, &claim(0), now).is_some());
    line(median(1_001, |_| drop(spool.take(SHAPE, &claim(0), now))), "a look of an idle pilot, no offers");
    line(median(OFFERS, |at| offer(spool, at)), &format!("an offer, up to {OFFERS}"));
    line(median(101, |_| drop(spool.take(SHAPE, &claim(0), now))), &format!("a pilot takes one of {OFFERS} offers"));
    line(
        median(101, |at| spool.withdraw_all(&attempt(OFFERS + at).key)),
        &format!("a key is looked for in {OFFERS} offers"),
    );
    let (taken, most) = (AtomicUsize::new(0), OFFERS / 5);
    let barrier = Barrier::new(AT_ONCE);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for pilot in 0..AT_ONCE {
            let (taken, barrier) = (&taken, &barrier);
            scope.spawn(move || {
                barrier.wait();
                while taken.fetch_add(1, Ordering::Relaxed) < most {
                    spool.take(SHAPE, &claim(pilot), now).expect("there are more offers");
                }
            });
        }
    });
    let each = began.elapsed().as_secs_f64() * 1e6 / most as f64;
    line(each, &format!("of all per job, where {AT_ONCE} pilots at once take {most} of the rest"));
}

fn pilots(spool: &Spool) {
    let pilot = |at: usize| {
        let (stage, runner) = (Some("train".into()), Some("runner".into()));
        Pilot { claim: claim(at), shape: SHAPE.into(), stage, runner, fault: None }
    };
    let mut now = SystemTime::UNIX_EPOCH;
    line(
        median(PILOTS, |at| now = spool.beat_pilot(&pilot(at)).expect("the spool can be written")),
        "a sign of life of a pilot",
    );
    line(median(21, |_| assert_eq!(spool.pilots(now).len(), PILOTS)), &format!("all signs of life of {PILOTS} pilots"));
    line(
        median(PILOTS, |at| assert_eq!(spool.stop_asked(&attempt(at)), None)),
        "a pilot looks whether its job shall stop",
    );
}

fn open_jobs(spool: &Spool) {
    let now = spool.beat_runner(RUNNER, PILOTS).expect("the spool can be written");
    line(median(OPEN, |at| drop(spool.outcome(&attempt(at)))), "a look for an outcome that is not there");
    line(
        median(OPEN, |at| {
            let claim = spool.claim(&attempt(at)).map_or_else(String::new, |claim| claim.pilot);
            let _ = spool.silence(&claim, now);
        }),
        "a look whether its pilot lives",
    );
    line(median(OPEN, |at| assert!(spool.latest(&attempt(at).key).is_some())), "the latest attempt of a key");
    let outcome =
        Outcome { claim: claim(0), result: Ok(Metrics::new()), peak_bytes: None, seconds: 0.0, stopped: None };
    line(
        median(OPEN, |at| spool.end(&attempt(at), &outcome).expect("an outcome can be written")),
        "an outcome, written",
    );
    line(median(OPEN, |at| drop(spool.outcome(&attempt(at)))), "an outcome, read");
    line(median(OPEN, |at| spool.forget(&attempt(at).key)), "a key, forgotten");
}

/// Results of a process, and that of all.
const EACH: usize = 100;

/// What this program is told when it is to publish: the word, the store, who it is, and whether all want the same keys.
const PUBLISHER: &str = "--publish";

fn publications(folder: &Path) {
    Store::open(folder).expect("a store can be made");
    for (processes, same) in [(1, false), (8, false), (64, false), (64, true)] {
        let root = folder.join(format!("store-{processes}-{same}"));
        let store = Store::open(&root).expect("a store can be made");
        let began = Instant::now();
        let children: Vec<Child> = (0..processes).map(|at| publisher(&root, if same { 0 } else { at })).collect();
        for mut child in children {
            assert!(child.wait().expect("it was started").success(), "every publisher comes to its end");
        }
        let seconds = began.elapsed().as_secs_f64();
        let keys = if same { EACH } else { EACH * processes };
        let cache = Cache::of(store);
        let whose = if same { "the same keys" } else { "keys of its own" };
        let there =
            (0..processes).flat_map(|at| (0..EACH).map(move |number| record(if same { 0 } else { at }, number)));
        let there = there.filter(|record| cache.result(&record.key()).is_ok()).count();
        assert_eq!(there, EACH * processes, "every result is there");
        line(seconds * 1e6 / keys as f64, &format!("a result, {processes} processes at once, each {EACH} of {whose}"));
    }
}

fn publisher(root: &Path, whose: usize) -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    let arguments = [PUBLISHER.into(), root.display().to_string(), whose.to_string()];
    Command::new(program).args(arguments).spawn().expect("it can be started")
}

fn record(whose: usize, number: usize) -> Record {
    Record::new(RecordParts {
        kind: "command",
        code: &[],
        params: Arc::new(json!({"whose": whose, "number": number})),
        inputs: Value::Null,
        seed: None,
        numeric: None,
        environment: None,
    })
}

/// Publishes results, if this program was started for that.
pub fn publish_if_told() -> bool {
    let words: Vec<String> = std::env::args().collect();
    let [_, word, root, whose] = words.as_slice() else { return false };
    if word != PUBLISHER {
        return false;
    }
    let cache = Cache::of(Store::open(Path::new(root)).expect("it is a store"));
    let whose = whose.parse().expect("it is a number");
    let claimant = Claimant { run: "run", forced: false, course: None, waiting: &|_| Ok(()) };
    for number in 0..EACH {
        let Right::Ticket(ticket) = cache.claim(record(whose, number), &claimant).expect("the store can be written")
        else {
            continue;
        };
        let outputs = [OutputPort::fixed("x", ArtifactType::File, "")];
        let file = ticket.out().join(outputs[0].file_name());
        std::fs::write(file, format!("{whose} {number}")).expect("the store can be written");
        let produced = Produced { metrics: Metrics::new(), warnings: Vec::new(), seconds: 0.0, peak_bytes: None };
        let committed = ticket.take_in(&outputs, produced).and_then(|pending| pending.publish());
        assert!(committed.expect("the store can be written").diverged.is_empty());
    }
    true
}
