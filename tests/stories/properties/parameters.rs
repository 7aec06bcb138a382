//! Every parameter of every kind belongs to the key. Takes the parameters from the kinds' own schemas, so that a
//! new one is tried as soon as it is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use pacer::digest::Digest;
use pacer::key::{Record, RecordParts};
use pacer_stages::fingerprint;
use pacer_stages::kind::Kind;
use pacer_stages::kinds::KINDS;
use serde_json::{Value, json};

/// Parameters to start from, where a kind has no defaults for all or where one choice hides another's parameters.
fn starts(kind: &str) -> Vec<Value> {
    match kind {
        "resample" => [json!({"by": "index"}), json!({"by": "time"})]
            .map(|grid| json!({"features": ["speed", "grade"], "grid": grid}))
            .to_vec(),
        "split" => vec![json!({"by": "user"}), json!({"by": "time"}), json!({"by": "user", "train": 0.5, "test": 0.5})],
        "baseline" => vec![json!({"model": "ridge", "features": ["speed", "grade"]}), json!({"model": "constant"})],
        "pretrain" => vec![json!({"layers": 2, "dropout": 0.25})],
        "command" => vec![json!({"run": ["true", "x"], "outputs": {"a": "file"}})],
        _ => vec![json!({})],
    }
}

/// Parameters that differ in one which cannot be varied blindly, by kind and parameter.
fn by_hand(kind: &str, path: &str) -> Vec<Value> {
    match (kind, path) {
        ("synthesize", "/start") => vec![json!({"start": "2013-02-28"})],
        ("synthesize", "/view") => vec![json!({"view": "apple"})],
        ("synthesize", "/apple/density") => vec![json!({"apple": {"density": [1.0, 12.0]}})],
        ("synthesize", "/apple/units") => vec![json!({"apple": {"units": "imperial"}})],
        ("synthesize", "/apple/offset_at_export") => vec![json!({"apple": {"offset_at_export": "-0500"}})],
        ("import", "/columns/speed_unit") => vec![json!({"columns": {"speed_unit": "km/h"}})],
        ("import", "/columns/start") => vec![json!({"columns": {"start": "2021-03-25T10:40:55Z"}})],
        ("import", "/doubles") => vec![json!({"doubles": "keep"})],
        ("density", "/time_zone") => vec![json!({"time_zone": "utc"})],
        ("filter", "/heart_rate_bpm") => vec![json!({"heart_rate_bpm": [50.0, 221.0]})],
        ("filter", "/duration_minutes") => vec![json!({"duration_minutes": [1.0, 2.0]})],
        ("filter", "/distance_m") => vec![json!({"distance_m": [1.0, 2.0]})],
        ("filter", "/off") => vec![json!({"off": ["flat"]})],
        ("inspect", "/ids") => vec![json!({"ids": [7]})],
        ("inspect", "/dates") => vec![json!({"dates": ["2025-11-23"]})],
        ("inspect", "/worst") => vec![json!({"worst": 3})],
        ("resample", "/grid/by") => {
            vec![json!({"grid": {"by": "index", "length": 7}}), json!({"grid": {"by": "time", "step_s": 7}})]
        }
        ("split", "/validation") => vec![json!({"validation": 0.0})],
        ("split", "/explicit/train") => vec![json!({"explicit": {"train": [7]}})],
        ("split", "/explicit/validation") => vec![json!({"explicit": {"validation": [7]}})],
        ("split", "/explicit/test") => vec![json!({"explicit": {"test": [7]}})],
        ("split", "/test_users") => vec![json!({"test_users": [7]})],
        ("pretrain" | "finetune", "/batches/precision") => vec![json!({"batches": {"precision": "mixed"}})],
        ("pretrain", "/head/quantiles") => vec![json!({"head": {"quantiles": [0.1, 0.5, 0.9]}})],
        ("choose", "/better") => vec![json!({"better": "highest"})],
        ("choose", "/pick") => vec![json!({"pick": "best"})],
        ("pretrain", "/features") => vec![json!({"features": ["speed"]})],
        ("command", "/outputs") => vec![json!({"outputs": {"a": "table"}}), json!({"outputs": {"b": "file"}})],
        _ => Vec::new(),
    }
}

#[test]
fn every_parameter_of_every_kind_changes_the_key() {
    let mut faults = Vec::new();
    for kind in KINDS {
        let starts: Vec<Value> =
            starts(kind.name).iter().map(|start| decoded(kind, start).expect("a start is right")).collect();
        let mut paths = BTreeSet::new();
        let schema = (kind.schema)().to_value();
        leaves(&schema, &schema, String::new(), &mut paths);
        for path in paths {
            let tried: Vec<Tried> = starts.iter().flat_map(|start| vary(kind, start, &path)).collect();
            if tried.is_empty() {
                faults.push(format!("`{}` {path}: no second value was found, write one into `by_hand`", kind.name));
            }
            let same = tried.iter().filter(|tried| tried.key == tried.key_before);
            faults.extend(same.map(|tried| format!("`{}` {path}: {} keeps the key", kind.name, tried.params)));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_seed_changes_the_key_of_kinds_that_draw_and_of_no_other() {
    for kind in KINDS {
        let params = decoded(kind, &starts(kind.name)[0]).expect("a start is right");
        let with = |seed: u64| digest(kind, &params, kind.seeded.then_some(seed));
        assert_eq!(with(1) != with(2), kind.seeded, "`{}`", kind.name);
    }
    assert!(KINDS.iter().any(|kind| kind.seeded) && KINDS.iter().any(|kind| !kind.seeded));
}

/// Parameters that were tried in place of others.
struct Tried {
    params: Value,
    key_before: Digest,
    key: Digest,
}

/// Gives a parameter each other value that the kind accepts.
fn vary(kind: &Kind, start: &Value, path: &str) -> Vec<Tried> {
    let before = start.pointer(path).cloned().unwrap_or_default();
    let guessed = candidates(&before).into_iter().filter(|value| *value != before);
    let guessed = guessed.filter_map(|value| put(start.clone(), path, value));
    let by_hand = by_hand(kind.name, path).into_iter().map(|other| replaced(start.clone(), other));
    let accepted = guessed.chain(by_hand).filter_map(|params| decoded(kind, &params).map(|decoded| (params, decoded)));
    let changed = accepted.filter(|(params, _)| params != start);
    let key_before = digest(kind, start, None);
    changed.map(|(params, decoded)| Tried { params, key_before, key: digest(kind, &decoded, None) }).collect()
}

/// Replaces the parameters that the other table names.
fn replaced(mut params: Value, other: Value) -> Value {
    for (name, value) in other.as_object().into_iter().flatten() {
        params[name] = value.clone();
    }
    params
}

/// Puts a value to where a JSON pointer leads; `None` where its table is not there.
fn put(mut params: Value, path: &str, value: Value) -> Option<Value> {
    let (table, name) = path.rsplit_once('/')?;
    params.pointer_mut(table)?.as_object_mut()?.insert(name.to_owned(), value);
    Some(params)
}

/// The parameters with their defaults; `None` where the kind finds a fault.
fn decoded(kind: &Kind, params: &Value) -> Option<Value> {
    (kind.decode)(params).ok().filter(|decoded| decoded.faults.is_empty()).map(|decoded| decoded.params)
}

fn digest(kind: &Kind, params: &Value, seed: Option<u64>) -> Digest {
    let parts = RecordParts {
        kind: kind.name,
        code: fingerprint::parts(kind.name),
        params: Arc::new(params.clone()),
        inputs: json!({}),
        seed,
        numeric: None,
        environment: None,
    };
    Record::new(parts).key()
}

/// Values that may well be right where this one is.
fn candidates(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(truth) => vec![json!(!truth)],
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().expect("it is an f64");
            [number * 0.5, number * 0.9, number + 0.25, 0.5, 1.0].map(Value::from).to_vec()
        }
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or_default();
            vec![json!(number + 1), json!(number / 2)]
        }
        Value::String(text) => {
            let words = "never missing always lstm gru l1 mse huber constant cosine step user time workout user_mean ridge \
                train validation test all head";
            words.split(' ').map(Value::from).chain([json!(format!("{text}x"))]).collect()
        }
        Value::Array(items) => {
            let shorter = items[..items.len().saturating_sub(1)].to_vec();
            let reversed = items.iter().rev().cloned().collect();
            vec![Value::from(shorter), reversed, json!(["x"])]
        }
        Value::Null => vec![json!(1), json!(2), json!(0.5), json!(0.75), json!("x")],
        Value::Object(_) => Vec::new(),
    }
}

/// The paths of all parameters that hold no others.
fn leaves(schema: &Value, root: &Value, path: String, paths: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        return leaves(&root["$defs"][name], root, path, paths);
    }
    let choices = ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|word| schema[word].as_array()).flatten();
    let holders: Vec<&Value> = choices.chain([schema]).filter(|schema| holds_others(schema, root)).collect();
    if holders.is_empty() {
        paths.insert(path);
        return;
    }
    for holder in holders {
        for (name, below) in holder["properties"].as_object().into_iter().flatten() {
            leaves(below, root, format!("{path}/{name}"), paths);
        }
        if holder["$ref"].is_string() {
            leaves(holder, root, path.clone(), paths);
        }
        if holds_others(&holder["items"], root) {
            leaves(&holder["items"], root, format!("{path}/0"), paths);
        }
    }
}

fn holds_others(schema: &Value, root: &Value) -> bool {
    let named = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
    let choices = || ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|word| schema[word].as_array()).flatten();
    schema["properties"].is_object()
        || named.is_some_and(|name| holds_others(&root["$defs"][name], root))
        || schema["items"].is_object() && holds_others(&schema["items"], root)
        || choices().any(|choice| holds_others(choice, root))
}
