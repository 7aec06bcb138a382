//! Settings of a stage that change no result and so are in no key: what it asks of the machine, and how often a
//! training keeps its state. Unaware of parameters.

use std::collections::BTreeMap;

use pacer_stages::job::Checkpoints;
use pacer_stages::kind::{Kind, Place as KindPlace};

use crate::diagnostic::Diagnostic;
use crate::graph::{DeviceWish, Resources};
use crate::leakage::Name;
use crate::resolve::{known_keys, table_of};
use crate::spec::{Data, Entry, Node, Table};

/// How often a training keeps its state: `checkpoints = { seconds = 30, steps = 500, keep = 2 }`.
pub fn checkpoints(table: &Table, faults: &mut Vec<Diagnostic>) -> Checkpoints {
    let mut wanted = Checkpoints::default();
    let Some(entry) = table.get("checkpoints") else { return wanted };
    let Some(table) = table_of(&entry.value, "checkpoints", faults) else { return wanted };
    known_keys(table, &["seconds", "steps", "keep"], "`checkpoints`", faults);
    for (key, Entry { value, .. }) in table {
        let expected = match (key.as_str(), &value.data) {
            ("seconds", Data::Integer(seconds)) if *seconds >= 0 => {
                wanted.seconds = *seconds as f64;
                continue;
            }
            ("seconds", Data::Float(seconds)) if *seconds >= 0.0 => {
                wanted.seconds = *seconds;
                continue;
            }
            ("steps", Data::Integer(steps)) if *steps > 0 => {
                wanted.steps = Some(steps.unsigned_abs());
                continue;
            }
            ("keep", Data::Integer(keep)) if *keep > 0 => {
                wanted.keep = usize::try_from(*keep).unwrap_or(usize::MAX);
                continue;
            }
            ("seconds", _) => "a number of seconds from 0",
            ("steps" | "keep", _) => "a whole number from 1",
            _ => continue,
        };
        let fault = Diagnostic::new(format!("`{key}` of `checkpoints` cannot be this")).place(&value.place);
        faults.push(fault.label(format!("must be {expected}")));
    }
    wanted
}

/// Leaks that are meant: `allow_leak = { duplicates = "why" }`, by the check's name.
pub fn allowed_leaks(node: &Node, faults: &mut Vec<Diagnostic>) -> BTreeMap<String, String> {
    let Some(table) = table_of(node, "allow_leak", faults) else { return BTreeMap::new() };
    known_keys(table, &Name::ALL.map(Name::name), "`allow_leak`", faults);
    let mut allowed = BTreeMap::new();
    for (key, Entry { value, .. }) in table {
        match &value.data {
            Data::Text(reason) if !reason.trim().is_empty() => {
                allowed.insert(key.clone(), reason.clone());
            }
            _ => faults.push(
                Diagnostic::new(format!("`{key}` of `allow_leak` gives no reason"))
                    .place(&value.place)
                    .label("must say why this leak is meant"),
            ),
        }
    }
    allowed
}

/// What a stage asks of the machine.
pub fn resources(table: &Table, kind: Option<&Kind>, faults: &mut Vec<Diagnostic>) -> Resources {
    let on_worker = kind.is_some_and(|kind| matches!(kind.place, KindPlace::Worker));
    let device = if on_worker { DeviceWish::Auto } else { DeviceWish::Cpu };
    let threads = if kind.is_some_and(|kind| kind.parallel) { None } else { Some(1) };
    let mut wanted = Resources { threads, gpus: if on_worker { 1.0 } else { 0.0 }, device, executor: None };
    let Some(entry) = table.get("resources") else { return wanted };
    let Some(table) = table_of(&entry.value, "resources", faults) else { return wanted };
    known_keys(table, &["threads", "gpus", "device", "executor"], "`resources`", faults);
    for (key, Entry { value, .. }) in table {
        let expected = match (key.as_str(), &value.data) {
            ("threads", Data::Integer(threads)) if *threads > 0 => {
                wanted.threads = Some(usize::try_from(*threads).unwrap_or(usize::MAX));
                continue;
            }
            ("gpus", Data::Integer(gpus)) if *gpus >= 0 => {
                wanted.gpus = *gpus as f64;
                continue;
            }
            ("gpus", Data::Float(gpus)) if *gpus >= 0.0 => {
                wanted.gpus = *gpus;
                continue;
            }
            ("device", Data::Text(text)) if ["auto", "cpu", "gpu"].contains(&text.as_str()) => {
                wanted.device = match text.as_str() {
                    "auto" => DeviceWish::Auto,
                    "gpu" => DeviceWish::Gpu,
                    _ => DeviceWish::Cpu,
                };
                continue;
            }
            ("executor", Data::Text(text)) if !text.is_empty() => {
                wanted.executor = Some(text.clone());
                continue;
            }
            ("executor", _) => "the name of an executor of the profile, or \"here\"",
            ("threads", _) => "a whole number from 1",
            ("gpus", _) => "a number from 0, such as 1 or 0.5",
            ("device", _) => "\"auto\", \"cpu\" or \"gpu\"",
            _ => continue,
        };
        let fault = Diagnostic::new(format!("`{key}` of `resources` cannot be this")).place(&value.place);
        faults.push(fault.label(format!("must be {expected}")));
    }
    if !on_worker && wanted.device == DeviceWish::Gpu {
        let fault = Diagnostic::new("this kind does not compute on a GPU").place(&entry.value.place);
        faults.push(fault.help("leave out `device`"));
    }
    wanted
}
