//! The run's side: a cluster as one run uses it. Unaware of stages and of where results go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use pacer_stages::job::Job;
use pacer_stages::worker::{Failure, Probe};

use crate::cache::Cache;
use crate::cluster::batch::quoted;
use crate::cluster::code;
use crate::cluster::mail::{self, Secret};
use crate::cluster::outpost::SECRET;
use crate::cluster::policy::{INTERVAL, SILENT};
use crate::cluster::relay::Relay;
use crate::cluster::slurm::{self, Trouble};
use crate::cluster::spool::{Attempt, Spool};
use crate::cluster::supply::Supply;
use crate::digest::Digest;
use crate::executor::{Output, Surroundings};
use crate::lock::Lock;
use crate::profile::{RemoteSettings, Slurm};
use crate::remote::Remote;
use crate::stat_cache::Stamp;

/// How often the run looks whether pilots are wanted; jobs that become ready together are asked for together.
const DEMAND_INTERVAL: Duration = Duration::from_millis(40);

/// A cluster as one run uses it.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    jobs: usize,
    cpus: usize,
    threads: Vec<JoinHandle<()>>,
    _away: Option<Away>,
}

/// What a run has that reaches its pilots by way of the remote.
#[derive(Debug)]
struct Away {
    /// The name of its objects there, which the next run takes over.
    session: String,
    secret: Secret,
    settings: RemoteSettings,
    /// Held so that no two runs have the same.
    _lock: Lock,
}

/// What the threads of a run know.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) spool: Spool,
    pub(super) supply: Supply,
    pub(super) runner: String,
    /// The order of offers.
    pub(super) place: AtomicU64,
    /// What distant pilots were found to be at, where there are such.
    pub(super) adopted: OnceLock<BTreeSet<Attempt>>,
    ended: AtomicBool,
    /// The time of the store's file system.
    now: Mutex<SystemTime>,
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It waits for a pilot, for this reason.
    Queued(String),
    /// A pilot serves it.
    On {
        /// The node.
        node: String,
        /// The pilot's job, as Slurm counts.
        job: String,
    },
}

impl Cluster {
    /// Opens the cluster of a profile for one run; `whose` is the same for runs that take over from each other. Beside the store and the environment that stages declare, whatever
    /// differs between two runs makes their pilots differ.
    pub fn open(
        profile: &Slurm,
        whose: &str,
        cache: &Cache,
        probe: Option<&Probe>,
        environment: &BTreeMap<String, Option<String>>,
        interrupted: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self> {
        if slurm::find().is_none() {
            bail!("`sbatch` is not on the PATH: run where Slurm is installed, or without --executor");
        }
        let store = std::path::absolute(cache.store.root())?;
        let spool = Spool::open(&store).with_context(|| format!("`{}` cannot be written", store.display()))?;
        let away = if profile.shared { None } else { Some(Away::take(cache, whose)?) };
        let supply = supply(profile, &spool, &store, away.as_ref(), probe, environment)?;
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let runner = format!("{}-{}", started.as_millis(), std::process::id());
        let now = spool.beat_runner(&runner, 0).with_context(|| format!("`{}` cannot be written", store.display()))?;
        spool.tidy(now);
        let (place, ended, now) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(now));
        let shared = Arc::new(Shared { spool, supply, runner, place, adopted: OnceLock::new(), ended, now });
        let relay =
            away.as_ref().map(|away| Relay::open(cache, &shared.spool, &away.session, &away.secret)).transpose()?;
        if let Some(relay) = &relay {
            let _ = shared.adopted.set(relay.at_work());
        }
        let [beating, asking, relaying] = [(); 3].map(|()| Arc::clone(&shared));
        // Apart, for a controller that is down takes seconds to say so.
        let mut threads =
            vec![std::thread::spawn(move || beating.beat()), std::thread::spawn(move || asking.ask(&interrupted))];
        let relay = relay.map(|relay| std::thread::spawn(move || relay.work(|| relaying.now(), &relaying.ended)));
        threads.extend(relay);
        Ok(Self { shared, jobs: profile.max_jobs, cpus: profile.cpus, threads, _away: away })
    }

    /// Jobs at once.
    pub fn jobs(&self) -> usize {
        self.jobs
    }

    /// Threads of a job.
    pub fn threads(&self) -> usize {
        self.cpus
    }

    /// Runs a job to its end, or takes over what an earlier run left of it; `read` are the stamps of the files that it
    /// reads and no stage made.
    pub fn run(
        &self,
        key: Digest,
        stage: &str,
        job: &Job,
        read: &[Stamp],
        around: &Surroundings<'_>,
        tell: &dyn Fn(Whereabouts),
    ) -> Result<Output, Failure> {
        self.shared.run(key, stage, job, read, around, tell)
    }

    /// Ends the run's part. Pilots end by themselves when they have been idle; those that give no sign of life, and after
    /// an interruption all, are cancelled. Slurm may take one for running that waits on a lost node, to begin later.
    pub fn finish(self, interrupted: bool) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if interrupted {
            slurm::hurry();
        }
        for thread in self.threads {
            let _ = thread.join();
        }
        let Shared { spool, runner, supply, .. } = &*self.shared;
        spool.leave(runner);
        let now = self.shared.now();
        // Another run of the same shape lives on the same pilots.
        let pilots = spool.pilots(now).into_iter().filter(|(_, silent)| *silent < SILENT);
        let alive: Vec<_> = pilots.map(|(pilot, _)| pilot.claim.slurm).filter(|_| !interrupted).collect();
        if supply.cancel(&alive, |shape| spool.has_offers(shape, now)).is_err() {
            tracing::warn!("Slurm does not answer; pilots on the cluster end by themselves when idle");
        }
    }
}

impl Away {
    /// A session of its own among those of runs that take over from each other, one that an earlier run left if there is.
    fn take(cache: &Cache, whose: &str) -> Result<Self> {
        let remote = cache.remote.as_ref().context(
            "nodes of the executor do not see the store (shared = false), so a remote must carry jobs and results: \
             describe it in `pacer.toml` as [remote]",
        )?;
        let secret = secret(&cache.store.root().join("cluster/secret"))?;
        let name = mail::sessions_of(&secret, whose);
        for number in left_sessions(remote, &name).into_iter().chain(0..) {
            let session = format!("{name}{number}");
            if let Some(lock) = Lock::try_take(&cache.store.owner_lock_path(&format!("cluster-{session}")))? {
                return Ok(Self { session, secret, settings: remote.settings().clone(), _lock: lock });
            }
        }
        unreachable!("there are more numbers than runs")
    }
}

/// The numbers of the sessions of a name that have objects in the remote; those with jobs first, for others may have
/// but idle pilots.
fn left_sessions(remote: &Remote, name: &str) -> Vec<u32> {
    // Where it cannot be asked now, whoever needs it next says so.
    let listed = remote.list("cluster/").unwrap_or_default();
    let number = |object: &str| {
        let (session, of_it) = object.strip_prefix("cluster/")?.split_once('/')?;
        let has_jobs = ["jobs/", "ends/"].iter().any(|sort| of_it.starts_with(sort));
        Some((!has_jobs, session.strip_prefix(name)?.parse().ok()?))
    };
    let numbers: BTreeSet<(bool, u32)> = listed.iter().filter_map(|listed| number(&listed.name)).collect();
    numbers.into_iter().map(|(_, number)| number).collect()
}

/// The secret of this store, made once.
fn secret(path: &Path) -> Result<Secret> {
    let folder = path.parent().context("the store lies in a folder")?;
    // Readable by its owner alone, as such files are made.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut file, Secret::new()?.reveal().as_bytes())?;
    // Whoever was first has made it.
    let _ = file.persist_noclobber(path);
    let text = std::fs::read_to_string(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    Secret::parse(&text).with_context(|| format!("`{}` is damaged: remove it", path.display()))
}

/// The pilots that a profile means.
fn supply(
    profile: &Slurm,
    spool: &Spool,
    store: &Path,
    away: Option<&Away>,
    probe: Option<&Probe>,
    environment: &BTreeMap<String, Option<String>>,
) -> Result<Supply> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path of the cluster is not UTF-8");
    let folder = text(&std::env::current_dir().context("the current folder is gone")?)?;
    let here = text(&std::env::current_exe().context("this program cannot be found")?)?;
    let program = profile.program.clone().unwrap_or(here);
    let (store, code, session) = (text(store)?, code(), away.map(|away| &away.session));
    let architecture = probe.and_then(|probe| probe.cuda.first()).map(|gpu| &gpu.architecture);
    // Where the program is the same file, LibTorch is the same too.
    let is_elsewhere = profile.program.is_some() || away.is_some() || architecture.is_some();
    let libtorch = probe.map(|probe| &probe.libtorch).filter(|_| is_elsewhere);
    let identity = (&code, &folder, &program, architecture, libtorch, environment, session);
    let settings = away.map(|away| serde_json::to_string(&away.settings)).transpose()?;
    // Nodes that do not see the store work in one of their own.
    let (on_node, folder, logs) = match &profile.node_store {
        Some(own) if away.is_some() => (own.clone(), own.clone(), "/tmp/pacer-".to_owned()),
        _ => (store.clone(), folder.clone(), text(&spool.logs())? + "/"),
    };
    // To the nodes it goes in the batch script, which others cannot read, and not in a command line, which they can.
    let export = away.map(|away| format!("export {SECRET}={}", away.secret.reveal()));
    let declared = environment.iter().filter(|(name, _)| !is_of_slurm(name)).map(|(name, value)| set(name, value));
    let setup = profile.setup.iter().cloned().chain(declared).chain(export).collect();
    let profile = Slurm { setup, ..profile.clone() };
    Supply::new(&profile, &store, logs, &identity, |shape| {
        let idle = profile.pilot_idle.to_string();
        let mut command = vec![program.clone(), "--store".into(), on_node.clone(), "node".into()];
        let mail = session.zip(settings.as_ref()).into_iter();
        let mail = mail.flat_map(|(session, settings)| ["--session", session, "--remote", settings]);
        command.extend(mail.map(str::to_owned));
        for (name, value) in [("shape", shape), ("code", &code), ("folder", &folder), ("idle", &idle)] {
            command.extend([format!("--{name}"), value.to_owned()]);
        }
        for (name, value) in [("architecture", architecture), ("libtorch", libtorch)] {
            command.extend(value.into_iter().flat_map(|value| [format!("--{name}"), value.clone()]));
        }
        command.extend(profile.pilot.then(|| "--share".to_owned()));
        command
    })
}

/// Whether Slurm says on the node what a variable is.
fn is_of_slurm(name: &str) -> bool {
    name.starts_with("SLURM_") || ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"].contains(&name)
}

/// A line of shell that gives a declared variable the value that stands in keys, whatever it is on the node.
fn set(name: &str, value: &Option<String>) -> String {
    match value {
        Some(value) => format!("export {name}={}", quoted(value)),
        None => format!("unset {name}"),
    }
}

impl Shared {
    /// The time of the store's file system.
    pub(super) fn now(&self) -> SystemTime {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beat(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            match self.spool.beat_runner(&self.runner, self.supply.alive()) {
                Ok(now) => *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now,
                Err(error) => tracing::warn!("the store cannot be written: {error}"),
            }
            let began = Instant::now();
            while began.elapsed() < INTERVAL && !self.ended.load(Ordering::Relaxed) {
                std::thread::sleep(DEMAND_INTERVAL);
            }
        }
    }

    /// Keeps the pilots as many as there are jobs.
    fn ask(&self, interrupted: &dyn Fn() -> bool) {
        let mut asked: Option<Instant> = None;
        let mut warned = false;
        while !self.ended.load(Ordering::Relaxed) {
            std::thread::sleep(DEMAND_INTERVAL);
            if self.supply.open() == 0 || interrupted() || asked.is_some_and(|asked| asked.elapsed() < INTERVAL) {
                continue;
            }
            let outcome = self.supply.renew(&self.spool, &self.runner, self.now());
            asked = Some(Instant::now());
            match outcome {
                Ok(()) => warned = false,
                Err(Trouble::Unreachable(message)) if !warned => {
                    warned = true;
                    tracing::warn!("{message}; the run goes on with the pilots that it has, and asks again");
                }
                // Of what is refused, the jobs tell.
                Err(Trouble::Unreachable(_) | Trouble::Refused(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_run_takes_the_session_that_an_earlier_one_of_the_same_pipeline_left() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("remote").display().to_string();
        let remote = Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap();
        let cache = Cache { store: Store::open(&folder.path().join("store")).unwrap(), remote: Some(Arc::new(remote)) };
        Spool::open(cache.store.root()).unwrap();
        let take = |whose| Away::take(&cache, whose).unwrap();
        let (first, second, other) = (take("a"), take("a"), take("b"));
        assert!(first.session != second.session && first.session != other.session);
        let left = second.session.clone();
        for object in [format!("{}/pilots/p", first.session), format!("{left}/ends/p/1")] {
            let path = folder.path().join("remote/cluster").join(object);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        assert!(![&first.session, &left, &other.session].contains(&&take("a").session), "another run has it");
        drop((first, second));
        assert_eq!(take("a").session, left);
        assert_ne!(take("b").session, left);
    }
}
