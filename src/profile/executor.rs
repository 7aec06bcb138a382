//! The tables `[executor.NAME]` of a profile: clusters that stages can run on. Unaware of how anything is run there.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::graph::HERE;
use crate::spec::{Data, Entry, Node, Table};

/// Seconds that a stage has at least before it is asked to stop; Slurm may signal a minute sooner than it was told to.
const LEAST_WORK: u64 = 60;

/// Keys of an executor.
const KEYS: [&str; 17] = [
    "type",
    "partition",
    "account",
    "time",
    "cpus",
    "memory",
    "most_memory",
    "gpus",
    "arguments",
    "setup",
    "max_jobs",
    "pilot_idle",
    "pilot",
    "stop_before",
    "shared",
    "program",
    "node_store",
];

/// Arguments of `sbatch` with which a job is not found again, or none comes to be, each as long and as short as it can be
/// written.
const MISLEADING: [(&str, &str); 4] = [("--clusters", "-M"), ("--wait", "-W"), ("--test-only", ""), ("--wrap", "")];

/// Executors by name.
pub type Executors = BTreeMap<String, Slurm>;

/// A Slurm cluster, and what one job asks of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slurm {
    /// The partition; Slurm's default where none is named.
    pub partition: Option<String>,
    /// The account that is charged.
    pub account: Option<String>,
    /// Minutes that a job may take; the partition's limit where none is given.
    pub minutes: Option<u64>,
    /// Processor threads of a job.
    pub cpus: usize,
    /// Memory of a job in megabytes.
    pub memory: Option<u64>,
    /// Memory in megabytes up to which it is doubled for a stage that ran out of it.
    pub most_memory: Option<u64>,
    /// GPUs of a job, as Slurm names them: `1`, `a100:1`.
    pub gpus: Option<String>,
    /// Further arguments of `sbatch`.
    pub arguments: Vec<String>,
    /// Lines of shell that run on the node before the job, such as `module load`.
    pub setup: Vec<String>,
    /// Jobs at once.
    pub max_jobs: usize,
    /// Seconds that a job waits for another stage before it ends.
    pub pilot_idle: f64,
    /// Whether a job is a pilot, which takes one stage after another.
    pub pilot: bool,
    /// Seconds before the end of its time at which a stage is asked to stop and keep its state.
    pub stop_before: u64,
    /// Whether nodes see the store; where not, all goes through the remote.
    pub shared: bool,
    /// The program on the nodes, where it lies elsewhere than here.
    pub program: Option<String>,
    /// The folder of a store on the nodes, where they do not see the one here.
    pub node_store: Option<String>,
}

impl Default for Slurm {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            minutes: None,
            cpus: 1,
            memory: None,
            most_memory: None,
            gpus: None,
            arguments: Vec::new(),
            setup: Vec::new(),
            max_jobs: 16,
            pilot_idle: 20.0,
            pilot: true,
            stop_before: 60,
            shared: true,
            program: None,
            node_store: None,
        }
    }
}

impl Slurm {
    /// Whether a job may be asked to stop as soon as it begins.
    fn leaves_no_time(&self) -> bool {
        let least = self.stop_before.saturating_add(LEAST_WORK);
        self.minutes.is_some_and(|minutes| minutes.saturating_mul(60) < least)
    }

    /// Whether its arguments make jobs that nobody finds again, or none.
    fn misleads(&self) -> bool {
        let is = |argument: &str, (long, short): (&str, &str)| {
            argument.split('=').next() == Some(long) || (!short.is_empty() && argument.starts_with(short))
        };
        self.arguments.iter().any(|argument| MISLEADING.iter().any(|misleading| is(argument, *misleading)))
    }
}

/// The executors of one profile.
pub(super) fn executors(tables: &Table, faults: &mut Vec<Diagnostic>) -> Executors {
    let mut executors = Executors::new();
    for (name, entry) in tables {
        if name == HERE {
            let fault = Diagnostic::new("`here` is this machine, and needs no executor").place(&entry.key);
            faults.push(fault.label("give it another name"));
        } else if let Data::Table(table) = &entry.value.data {
            executors.insert(name.clone(), slurm(table, entry, faults));
        } else {
            let fault = Diagnostic::new(format!("`{name}` is {}", entry.value.data.sort())).place(&entry.value.place);
            faults.push(fault.label("must be a table").help(format!("write `[executor.{name}]`")));
        }
    }
    executors
}

fn slurm(table: &Table, owner: &Entry, faults: &mut Vec<Diagnostic>) -> Slurm {
    let mut wanted = Slurm::default();
    if !table.contains_key("type") {
        let fault = Diagnostic::new("the executor does not say its `type`").place(&owner.key);
        faults.push(fault.help("add `type = \"slurm\"`"));
    }
    for (key, Entry { key: place, value }) in table {
        if !KEYS.contains(&key.as_str()) {
            let fault = Diagnostic::new(format!("an executor has no key `{key}`")).place(place).label("unknown key");
            let fault = fault.help(format!("known: {}", KEYS.join(", ")));
            faults.push(fault.did_you_mean(key, KEYS));
        } else if let Err(expected) = set(&mut wanted, key, value) {
            let fault = Diagnostic::new(format!("`{key}` of an executor cannot be this")).place(&value.place);
            faults.push(fault.label(format!("must be {expected}")));
        }
    }
    for (key, entry) in table {
        if let Some((message, help)) = contradiction(&wanted, key) {
            faults.push(Diagnostic::new(message).place(&entry.key).label("here").help(help));
        }
    }
    wanted
}

/// What a key cannot mean beside the others, and what to do about it.
fn contradiction(wanted: &Slurm, key: &str) -> Option<(&'static str, &'static str)> {
    match key {
        "most_memory" if wanted.memory.is_none_or(|memory| Some(memory) > wanted.most_memory) => {
            Some(("`most_memory` is what `memory` is raised to at most", "give a smaller `memory` beside it"))
        }
        "node_store" if wanted.shared => {
            Some(("nodes that see the store need no other", "add `shared = false`, or take `node_store` out"))
        }
        "shared" if !wanted.shared && wanted.node_store.is_none() => {
            Some(("nodes that do not see the store need one of their own", "add `node_store = \"/scratch/pacer\"`"))
        }
        "arguments" if wanted.misleads() => Some((
            "with one of these arguments jobs are not found again, or there are none: `--clusters`, `--wait`, \
             `--test-only`, `--wrap`",
            "take it out; of several clusters, the one that `sbatch` takes by itself, or by SLURM_CLUSTERS, is used",
        )),
        "time" if wanted.leaves_no_time() => Some((
            "`time` leaves a stage none before it is asked to stop, `stop_before` (60 seconds unless named) ahead of the end",
            "let `time` be a minute more than `stop_before` at least, or name a smaller `stop_before`",
        )),
        _ => None,
    }
}

/// Sets one key; else what its value must be.
fn set(wanted: &mut Slurm, key: &str, value: &Node) -> Result<(), &'static str> {
    const TEXT: &str = "a text without line breaks";
    const SIZE: &str = "a size such as \"4GB\" or \"500MB\"";
    const PATH: &str = "an absolute path on the nodes";
    match key {
        "type" => {
            let word = text(value).ok_or("\"slurm\"")?;
            if word != "slurm" {
                return Err("\"slurm\", the one type there is");
            }
        }
        "partition" => wanted.partition = Some(text(value).ok_or(TEXT)?),
        "account" => wanted.account = Some(text(value).ok_or(TEXT)?),
        "time" => wanted.minutes = Some(minutes(value).ok_or("a time such as \"90min\", \"2h\" or \"1d\"")?),
        "cpus" => wanted.cpus = count(value).ok_or("a whole number from 1")?,
        "memory" => wanted.memory = Some(megabytes(value).ok_or(SIZE)?),
        "most_memory" => wanted.most_memory = Some(megabytes(value).ok_or(SIZE)?),
        "gpus" => wanted.gpus = Some(gpus(value).ok_or("a number from 1, or a type with a number such as \"a100:1\"")?),
        "shared" => wanted.shared = truth(value).ok_or("true or false")?,
        "program" => wanted.program = Some(absolute(value).ok_or(PATH)?),
        "node_store" => wanted.node_store = Some(absolute(value).ok_or(PATH)?),
        "arguments" => wanted.arguments = texts(value).ok_or("a list of texts, one for each argument of `sbatch`")?,
        "setup" => wanted.setup = texts(value).ok_or("a list of texts, one for each line of shell")?,
        "max_jobs" => wanted.max_jobs = count(value).ok_or("a whole number from 1")?,
        "pilot_idle" => wanted.pilot_idle = seconds(value).ok_or("a number of seconds from 0")?,
        "pilot" => wanted.pilot = truth(value).ok_or("true or false")?,
        _ => wanted.stop_before = seconds(value).ok_or("a number of seconds from 0")?.ceil() as u64,
    }
    Ok(())
}

fn text(value: &Node) -> Option<String> {
    match &value.data {
        Data::Text(text) if !text.is_empty() && !text.contains(['\n', '\r', '\0']) => Some(text.clone()),
        _ => None,
    }
}

fn texts(value: &Node) -> Option<Vec<String>> {
    match &value.data {
        Data::List(items) => items.iter().map(text).collect(),
        _ => None,
    }
}

fn absolute(value: &Node) -> Option<String> {
    text(value).filter(|path| path.starts_with('/'))
}

fn gpus(value: &Node) -> Option<String> {
    match count(value) {
        Some(count) => Some(count.to_string()),
        None => text(value).filter(|text| text.rsplit(':').next().is_some_and(|count| count.parse::<u32>().is_ok())),
    }
}

fn truth(value: &Node) -> Option<bool> {
    match value.data {
        Data::Bool(truth) => Some(truth),
        _ => None,
    }
}

fn count(value: &Node) -> Option<usize> {
    match value.data {
        Data::Integer(number) if number > 0 => usize::try_from(number).ok(),
        _ => None,
    }
}

fn seconds(value: &Node) -> Option<f64> {
    match value.data {
        Data::Integer(number) if number >= 0 => Some(number as f64),
        Data::Float(number) if number >= 0.0 => Some(number),
        _ => None,
    }
}

/// Whole minutes, for Slurm knows no finer grain.
fn minutes(value: &Node) -> Option<u64> {
    let text = text(value)?;
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic())?);
    let number: f64 = number.trim().parse().ok()?;
    let factor = match unit {
        "min" | "m" => 1.0,
        "h" => 60.0,
        "d" => 1440.0,
        _ => return None,
    };
    (number > 0.0 && number.is_finite()).then(|| (number * factor).ceil() as u64)
}

fn megabytes(value: &Node) -> Option<u64> {
    let text = text(value)?;
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic())?);
    let number: f64 = number.trim().parse().ok()?;
    let factor = match unit.to_ascii_uppercase().as_str() {
        "MB" => 1.0,
        "GB" => 1000.0,
        "TB" => 1_000_000.0,
        _ => return None,
    };
    (number > 0.0 && number.is_finite()).then(|| (number * factor).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    fn parse(text: &str) -> (Executors, Vec<String>) {
        let mut faults = Vec::new();
        let tables = spec::parse(text).unwrap();
        let Data::Table(table) = &tables["executor"].value.data else { panic!("it is a table") };
        let executors = executors(table, &mut faults);
        (executors, faults.into_iter().map(|fault| fault.message).collect())
    }

    #[test]
    fn every_key_of_an_executor_is_read() {
        let text = r#"
            [executor.lab]
            type = "slurm"
            partition = "main"
            time = "1.5h"
            cpus = 4
            memory = "2GB"
            most_memory = "8GB"
            gpus = "a100:1"
            arguments = ["--qos=low"]
            setup = ["module load x"]
            max_jobs = 3
            pilot_idle = 0.5
            pilot = false
            stop_before = 30
            shared = false
            program = "/opt/pacer"
            node_store = "/scratch/pacer"
        "#;
        let (executors, faults) = parse(text);
        let lab = &executors["lab"];
        assert_eq!((lab.minutes, lab.cpus, lab.memory, faults.len()), (Some(90), 4, Some(2000), 0));
        assert_eq!((lab.most_memory, lab.gpus.as_deref(), lab.shared), (Some(8000), Some("a100:1"), false));
        assert_eq!((lab.program.as_deref(), lab.node_store.as_deref()), (Some("/opt/pacer"), Some("/scratch/pacer")));
        assert_eq!((lab.max_jobs, lab.pilot, lab.stop_before, lab.pilot_idle), (3, false, 30, 0.5));
    }

    #[test]
    fn what_an_executor_cannot_mean_is_a_fault() {
        let (_, faults) = parse("[executor.lab]\ntype = \"pbs\"\ncpu = 2\ntime = 90\n[executor.b]\nshare = 1\n");
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults.contains(&"the executor does not say its `type`".to_owned()));
        let contradict = |text: &str| parse(&format!("[executor.lab]\ntype = \"slurm\"\n{text}")).1.len();
        assert_eq!(contradict("most_memory = \"2GB\""), 1);
        assert_eq!(contradict("memory = \"3GB\"\nmost_memory = \"2GB\""), 1);
        assert_eq!(contradict("node_store = \"/x\""), 1);
        assert_eq!(contradict("shared = false"), 1);
        assert_eq!(contradict("time = \"1min\""), 1, "the signal would come as it begins");
        assert_eq!(contradict("time = \"10min\"\nstop_before = 600"), 1);
        assert_eq!(contradict("time = \"2min\"") + contradict("time = \"11min\"\nstop_before = 600"), 0);
        assert_eq!(contradict("gpus = 0"), 1);
        for misleading in ["--clusters=a", "--clusters", "-Ma", "-W", "--wait", "--test-only", "--wrap=x"] {
            assert_eq!(contradict(&format!("arguments = [\"--qos=low\", \"{misleading}\"]")), 1, "{misleading}");
        }
        assert_eq!(contradict("arguments = [\"--wait-all-nodes=1\", \"--mail-type=END\", \"-m x\"]"), 0);
        assert_eq!(contradict("program = \"pacer\""), 1);
    }
}
