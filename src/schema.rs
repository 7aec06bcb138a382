//! The JSON Schema of a pipeline, for editors: made from the same declarations that pipelines are checked against.
//! Unaware of any one pipeline.
//!
//! In the words of draft 7, which the editors' plug-ins for TOML know. A value may stand as it is or come from
//! `[params]`, so that wherever another type than text is due a text with `${name}` fits too.

use pacer_stages::artifact::{Arity, InputPort};
use pacer_stages::kind::{Kind, Place};
use pacer_stages::kinds;
use serde_json::{Map, Value, json};

/// The schema of a pipeline.
pub fn pipeline() -> Value {
    let mut definitions = Map::new();
    definitions.insert("reference".into(), reference());
    definitions.insert("input".into(), input());
    definitions.insert("resources".into(), resources());
    definitions.insert("checkpoints".into(), checkpoints());
    definitions.insert("sweep".into(), sweep());
    let mut names = Vec::new();
    for kind in kinds::shown() {
        add_kind(kind, &mut definitions);
        names.push(json!({"$ref": format!("#/definitions/{}", kind.name)}));
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A pipeline of pacer",
        "description": "A graph of stages. `pacer stages KIND` tells of a kind what its editor's help tells.",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": false,
        "properties": {
            "pipeline": {
                "description": "What holds for the whole pipeline.",
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "name": {"description": "Its name; else that of the file.", "type": "string"},
                    "description": {"description": "What it is for, in a sentence.", "type": "string"},
                    "seed": {"description": "Seed of stages that name none.", "type": "integer", "minimum": 0},
                    "allow_leak": {
                        "description": "Leaks that are meant: the check's name with the reason.",
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                    },
                },
            },
            "params": {
                "description": "Values that stages take by \"${name}\" and that `--set name=value` changes.",
                "type": "object",
            },
            "stages": {
                "description": "The stages by name: letters, digits, `_` and `-`.",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": {"oneOf": names},
            },
        },
        "definitions": definitions,
    })
}

fn reference() -> Value {
    json!({
        "description": "A value of [params], whole or within a text.",
        "type": "string",
        "pattern": "\\$\\{[^}]+\\}",
    })
}

fn input() -> Value {
    json!({
        "anyOf": [
            {"description": "STAGE, or STAGE.ARTIFACT where several fit.", "type": "string"},
            {
                "description": "A file that no stage made, relative to the pipeline.",
                "type": "object",
                "required": ["path"],
                "additionalProperties": false,
                "properties": {"path": {"description": "Its path; `import` takes a folder or a glob too.", "type": "string"}},
            },
        ],
    })
}

fn resources() -> Value {
    with_references(json!({
        "description": "What the stage asks of the machine. It is in no key.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "threads": {"description": "Processor slots.", "type": "integer", "minimum": 1},
            "gpus": {"description": "The share of a GPU: 1, or 0.5 to run two side by side.", "type": "number", "minimum": 0},
            "device": {"description": "Where to compute.", "type": "string", "enum": ["auto", "cpu", "gpu"]},
        },
    }))
}

fn checkpoints() -> Value {
    with_references(json!({
        "description": "How often a training keeps its state. It is in no key.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "seconds": {"description": "Seconds between two states.", "type": "number", "minimum": 0},
            "steps": {"description": "Steps between two states.", "type": "integer", "minimum": 1},
            "keep": {"description": "How many of the latest stay.", "type": "integer", "minimum": 1},
        },
    }))
}

/// Its other keys are parameters of the kind, also dotted ones, each with a list of values or a draw.
fn sweep() -> Value {
    json!({
        "description": "Makes a trial of the stage for each combination of these values, and of all that read from it.",
        "type": "object",
        "properties": {
            "zip": {
                "description": "Lists that go together, such as [[\"batch_size\", \"learning_rate\"]].",
                "type": "array",
                "items": {"type": "array", "items": {"type": "string"}},
            },
            "points": {"description": "Trials written out.", "type": "array", "items": {"type": "object"}},
            "where": {
                "description": "Conditions that a trial must meet, such as \"batch_size * learning_rate < 0.1\".",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
            "trials": {"description": "How often to draw.", "type": "integer", "minimum": 1},
            "draw_seed": {"description": "Seed of the draws.", "type": "integer", "minimum": 0},
        },
    })
}

fn add_kind(kind: &Kind, definitions: &mut Map<String, Value>) {
    let mut schema = (kind.schema)().to_value();
    for (name, definition) in take_object(&mut schema, "$defs") {
        definitions.insert(format!("{}.{name}", kind.name), with_references(for_toml(definition, kind.name)));
    }
    let needed: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
    let documentation = schema["description"].take();
    let params = json!({"properties": take_object(&mut schema, "properties")});
    let mut params = with_references(for_toml(params, kind.name));
    let mut properties = Map::new();
    properties.insert("kind".into(), json!({"description": documentation, "const": kind.name}));
    properties.insert("inputs".into(), inputs(kind));
    properties.extend(take_object(&mut params, "properties"));
    properties.extend(settings(kind, properties.contains_key("epochs")));
    let reads = kind.inputs.iter().any(is_needed);
    let mut whole = json!({
        "description": documentation,
        "type": "object",
        "required": if reads { json!(["kind", "inputs"]) } else { json!(["kind"]) },
        "additionalProperties": false,
        "properties": properties,
    });
    if !needed.is_empty() {
        // A parameter that is swept has no value of its own.
        whole["anyOf"] = json!([{"required": needed}, {"required": ["sweep"]}]);
    }
    definitions.insert(kind.name.into(), whole);
}

/// The keys of a stage that are no parameters of its kind.
fn settings(kind: &Kind, trains: bool) -> Map<String, Value> {
    let mut settings = Map::new();
    let seed = json!({"description": "Seed of this stage.", "type": "integer", "minimum": 0});
    settings.insert("seed".into(), or_reference(seed));
    settings.insert("resources".into(), json!({"$ref": "#/definitions/resources"}));
    settings.insert("sweep".into(), json!({"$ref": "#/definitions/sweep"}));
    if trains && matches!(kind.place, Place::Worker) {
        settings.insert("checkpoints".into(), json!({"$ref": "#/definitions/checkpoints"}));
    }
    settings
}

const fn is_needed(port: &InputPort) -> bool {
    matches!(port.arity, Arity::One | Arity::Named | Arity::Files)
}

fn inputs(kind: &Kind) -> Value {
    let slot = |port: &InputPort| {
        let types: Vec<_> = port.accepts.iter().map(ToString::to_string).collect();
        let one = json!({"$ref": "#/definitions/input"});
        let mut schema = match port.arity {
            Arity::One | Arity::Optional | Arity::Files => json!({"allOf": [one]}),
            Arity::Named | Arity::NamedOptional => {
                json!({"type": "object", "minProperties": 1, "additionalProperties": one})
            }
        };
        schema["description"] = format!("{} ({})", port.doc, types.join(" or ")).into();
        (port.name.to_owned(), schema)
    };
    let slots: Map<String, Value> = kind.inputs.iter().map(slot).collect();
    let needed: Vec<_> = kind.inputs.iter().filter(|port| is_needed(port)).map(|port| port.name).collect();
    json!({
        "description": "What the stage reads, slot by slot.",
        "type": "object",
        "required": needed,
        "additionalProperties": false,
        "properties": slots,
    })
}

/// A schema in the words of draft 7 and without what TOML has not: null.
fn for_toml(schema: Value, kind: &str) -> Value {
    match schema {
        Value::Array(items) => items.into_iter().map(|item| for_toml(item, kind)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(key, value)| !is_of_no_use(key, value));
            let adapt = |(key, value): (String, Value)| match (key.as_str(), value) {
                ("$ref", Value::String(path)) => {
                    let name = path.rsplit('/').next().unwrap_or_default();
                    (key, format!("#/definitions/{kind}.{name}").into())
                }
                ("type", Value::Array(types)) => (key, without_null(types)),
                // Its keys are names of parameters, whatever they are called.
                ("properties", Value::Object(properties)) => {
                    let properties = properties.into_iter().map(|(name, value)| (name, for_toml(value, kind)));
                    (key, Value::Object(properties.collect()))
                }
                // One of several is any of them as soon as a `${name}` may stand for each.
                ("oneOf" | "anyOf", Value::Array(options)) => {
                    let options = options.into_iter().filter(|option| option["type"] != "null");
                    ("anyOf".to_owned(), options.map(|option| for_toml(option, kind)).collect())
                }
                // Defaults and choices are values, not schemas.
                ("default" | "const" | "enum", value) => (key, value),
                (_, value) => (key, for_toml(value, kind)),
            };
            Value::Object(fields.map(adapt).collect())
        }
        other => other,
    }
}

fn is_of_no_use(key: &str, value: &Value) -> bool {
    match key {
        "$schema" | "format" => true,
        "title" => value.is_string(),
        "default" => value.is_null(),
        _ => false,
    }
}

fn without_null(types: Vec<Value>) -> Value {
    let mut types: Vec<_> = types.into_iter().filter(|name| name != "null").collect();
    if types.len() == 1 { types.remove(0) } else { types.into() }
}

/// Lets a `${name}` stand for each value within a schema.
fn with_references(mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut() else { return schema };
    for (key, value) in fields.iter_mut() {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(|property| *property = or_reference(property.take()));
            }
            ("items" | "additionalProperties", value @ Value::Object(_)) => *value = or_reference(value.take()),
            ("anyOf" | "allOf" | "prefixItems", Value::Array(options)) => {
                options.iter_mut().for_each(|option| *option = with_references(option.take()));
            }
            _ => {}
        }
    }
    schema
}

/// A schema, or a `${name}`; texts take one anyway, and a constant is what tells alternatives apart.
fn or_reference(schema: Value) -> Value {
    let mut schema = with_references(schema);
    let is_text = schema["type"] == "string" && schema.get("enum").is_none();
    if is_text || schema.get("const").is_some() || schema == json!({}) {
        return schema;
    }
    let mut outer = Map::new();
    if let Some(fields) = schema.as_object_mut() {
        for key in ["description", "default"] {
            outer.extend(fields.remove(key).map(|value| (key.to_owned(), value)));
        }
    }
    outer.insert("anyOf".into(), json!([schema, {"$ref": "#/definitions/reference"}]));
    Value::Object(outer)
}

fn take_object(schema: &mut Value, key: &str) -> Map<String, Value> {
    match schema.get_mut(key).map(Value::take) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first place at which a value does not fit; knows as much of JSON Schema as stands in ours.
    fn misfit(value: &Value, schema: &Value, all: &Value) -> Option<String> {
        if let Some(path) = schema["$ref"].as_str() {
            let name = path.strip_prefix("#/definitions/").expect("all are there");
            return misfit(value, all["definitions"].get(name).unwrap_or_else(|| panic!("no `{name}`")), all);
        }
        let told = |what: &str| Some(format!("{value}: {what}"));
        let is = |name: &str| match name {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("the type `{other}`"),
        };
        let types = schema.get("type").map(|names| names.as_array().cloned().unwrap_or_else(|| vec![names.clone()]));
        if types.is_some_and(|names| !names.iter().any(|name| is(name.as_str().expect("a name")))) {
            return told("another type");
        }
        if schema.get("const").is_some_and(|it| it != value) {
            return told("another constant");
        }
        if schema["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
            return told("no choice");
        }
        if schema.get("pattern").is_some() && !value.as_str().is_some_and(|text| text.contains("${")) {
            return told("no reference");
        }
        let number = |key: &str| schema[key].as_f64().zip(value.as_f64());
        if number("minimum").is_some_and(|(least, value)| value < least) {
            return told("too small");
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            let Some(options) = schema[key].as_array() else { continue };
            let misfits: Vec<_> = options.iter().filter_map(|option| misfit(value, option, all)).collect();
            let fitting = options.len() - misfits.len();
            if (key == "anyOf" && fitting == 0)
                || (key == "oneOf" && fitting != 1)
                || (key == "allOf" && !misfits.is_empty())
            {
                return misfits.into_iter().max_by_key(String::len).or(told("fits several"));
            }
        }
        let items = value.as_array().into_iter().flatten();
        if let Some(found) = items.filter_map(|item| misfit(item, schema.get("items")?, all)).next() {
            return Some(found);
        }
        object_misfit(value.as_object()?, schema, all)
    }

    fn object_misfit(fields: &Map<String, Value>, schema: &Value, all: &Value) -> Option<String> {
        let lacking = |name: &&Value| !fields.contains_key(name.as_str().expect("a name"));
        if let Some(name) = schema["required"].as_array().into_iter().flatten().find(lacking) {
            return Some(format!("lacks {name}"));
        }
        fields.iter().find_map(|(key, value)| match (schema["properties"].get(key), &schema["additionalProperties"]) {
            (Some(property), _) => misfit(value, property, all),
            (None, Value::Bool(false)) => Some(format!("the key `{key}`")),
            (None, other @ Value::Object(_)) => misfit(value, other, all),
            (None, _) => None,
        })
    }

    fn fits(text: &str) -> Result<(), String> {
        let value: Value = toml::from_str::<Value>(text).map_err(|error| error.to_string())?;
        let schema = pipeline();
        misfit(&value, &schema, &schema).map_or(Ok(()), Err)
    }

    #[test]
    fn the_schema_beside_the_pipelines_is_the_one_of_this_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let written = std::fs::read_to_string(folder.join("schema.json")).unwrap_or_default();
        let written: Value = serde_json::from_str(&written).unwrap_or_default();
        assert!(written == pipeline(), "out of date: target/debug/pacer schema > pipelines/schema.json");
    }

    #[test]
    fn every_shipped_pipeline_names_the_schema_and_fits_it() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
        let mut pipelines = 0;
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let name = entry.file_name();
            assert!(text.starts_with("#:schema schema.json\n"), "{name:?} does not begin with `#:schema schema.json`");
            assert_eq!(fits(&text), Ok(()), "{name:?}");
            pipelines += 1;
        }
        assert!(pipelines >= 6, "{pipelines}");
    }

    #[test]
    fn what_is_wrong_does_not_fit() {
        let filter = "[stages.a]\nkind = \"filter\"\ninputs.workouts = \"b\"\n";
        assert_eq!(fits(filter), Ok(()));
        assert_eq!(fits(&format!("{filter}min_points = \"${{n}}\"")), Ok(()));
        for wrong in ["min_points = \"many\"", "min_pints = 3", "resources.device = \"tpu\"", "seed = -1"] {
            assert!(fits(&format!("{filter}{wrong}")).is_err(), "{wrong}");
        }
        assert!(fits("[stages.a]\nkind = \"filter\"").is_err(), "nothing is wired");
        assert!(fits("[stages.a]\nkind = \"filtre\"").is_err());
        assert!(fits("[pipelin]\n[stages.a]\nkind = \"synthesize\"").is_err());
    }

    #[test]
    fn every_key_that_a_stage_may_have_is_in_the_schema() {
        let schema = pipeline();
        let training = schema["definitions"]["pretrain"]["properties"].as_object().unwrap();
        for key in crate::resolve::STAGE_KEYS {
            assert!(training.contains_key(key), "`{key}`");
        }
    }
}
