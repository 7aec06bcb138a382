//! The tables `[executor.NAME]` of a profile: clusters that stages can run on. Unaware of how anything is run there.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::spec::{Data, Entry, Node, Table};

/// Keys of an executor.
const KEYS: [&str; 12] = [
    "type",
    "partition",
    "account",
    "time",
    "cpus",
    "memory",
    "arguments",
    "setup",
    "max_jobs",
    "pilot_idle",
    "share",
    "stop_before",
];

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
    /// Further arguments of `sbatch`.
    pub arguments: Vec<String>,
    /// Lines of shell that run on the node before the job, such as `module load`.
    pub setup: Vec<String>,
    /// Jobs at once.
    pub max_jobs: usize,
    /// Seconds that a job waits for another stage before it ends.
    pub pilot_idle: f64,
    /// Whether a job takes one stage after another.
    pub share: bool,
    /// Seconds before the end of its time at which a stage is asked to stop and keep its state.
    pub stop_before: u64,
}

impl Default for Slurm {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            minutes: None,
            cpus: 1,
            memory: None,
            arguments: Vec::new(),
            setup: Vec::new(),
            max_jobs: 16,
            pilot_idle: 20.0,
            share: true,
            stop_before: 60,
        }
    }
}

/// The executors of one profile.
pub(super) fn executors(tables: &Table, faults: &mut Vec<Diagnostic>) -> Executors {
    let mut executors = Executors::new();
    for (name, entry) in tables {
        if let Data::Table(table) = &entry.value.data {
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
    wanted
}

/// Sets one key; else what its value must be.
fn set(wanted: &mut Slurm, key: &str, value: &Node) -> Result<(), &'static str> {
    const TEXT: &str = "a text without line breaks";
    const SIZE: &str = "a size such as \"4GB\" or \"500MB\"";
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
        "arguments" => wanted.arguments = texts(value).ok_or("a list of texts, one for each argument of `sbatch`")?,
        "setup" => wanted.setup = texts(value).ok_or("a list of texts, one for each line of shell")?,
        "max_jobs" => wanted.max_jobs = count(value).ok_or("a whole number from 1")?,
        "pilot_idle" => wanted.pilot_idle = seconds(value).ok_or("a number of seconds from 0")?,
        "share" => wanted.share = truth(value).ok_or("true or false")?,
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
            arguments = ["--qos=low"]
            setup = ["module load x"]
            max_jobs = 3
            pilot_idle = 0.5
            share = false
            stop_before = 30
        "#;
        let (executors, faults) = parse(text);
        let lab = &executors["lab"];
        assert_eq!((lab.minutes, lab.cpus, lab.memory, faults.len()), (Some(90), 4, Some(2000), 0));
        assert_eq!((lab.max_jobs, lab.share, lab.stop_before, lab.pilot_idle), (3, false, 30, 0.5));
    }

    #[test]
    fn what_an_executor_cannot_mean_is_a_fault() {
        let (_, faults) = parse("[executor.lab]\ntype = \"pbs\"\ncpu = 2\ntime = 90\n[executor.b]\nshare = 1\n");
        assert_eq!(faults.len(), 5, "{faults:?}");
        assert!(faults.contains(&"the executor does not say its `type`".to_owned()));
    }
}
