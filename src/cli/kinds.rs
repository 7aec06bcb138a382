//! `pacer stages`: the kinds, described from the same declarations that pipelines are checked against.

use anyhow::{Result, bail};
use clap::Args;
use pacer_stages::artifact::{Arity, InputPort};
use pacer_stages::kind::{Kind, Place};
use pacer_stages::kinds;
use serde_json::{Value, json};

use crate::cli::plan::in_format;
use crate::cli::{Exit, Format, Session};
use crate::diagnostic::nearest;
use crate::ui::output;
use crate::ui::tables::Rows;

/// The arguments of `pacer stages`.
#[derive(Debug, Args)]
pub struct StagesArgs {
    /// The kind to describe [default: list all]
    kind: Option<String>,
}

/// Lists or describes kinds.
pub fn stages(args: &StagesArgs, session: &Session) -> Result<Exit> {
    match &args.kind {
        None => list(session.format)?,
        Some(name) => match kinds::find(name) {
            Some(kind) => describe(kind, session.format)?,
            None => {
                let near = nearest(name, kinds::shown().map(|kind| kind.name));
                let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                bail!("there is no kind `{name}`{hint} (`pacer stages` lists them)");
            }
        },
    }
    Ok(Exit::Done)
}

fn list(format: Format) -> Result<()> {
    if format == Format::Json {
        return output::print_json(&json!({"v": 1, "kinds": kinds::shown().map(as_json).collect::<Vec<_>>()}));
    }
    let mut rows = Rows::new(["kind", "runs", "does"]);
    for kind in kinds::shown() {
        rows.push([kind.name.to_owned(), place(kind).to_owned(), summary(kind)]);
    }
    output::print(&in_format(&rows, format));
    Ok(())
}

fn as_json(kind: &Kind) -> Value {
    let describe =
        |port: &InputPort| json!({"name": port.name, "accepts": port.accepts, "arity": arity(port), "doc": port.doc});
    let ports: Vec<_> = kind.inputs.iter().map(describe).collect();
    json!({"kind": kind.name, "inputs": ports, "outputs": outputs(kind), "parameters": (kind.schema)()})
}

fn outputs(kind: &Kind) -> Vec<Value> {
    let outputs = kind.outputs.iter();
    outputs.map(|port| json!({"name": port.name, "type": port.artifact, "doc": port.doc})).collect()
}

fn summary(kind: &Kind) -> String {
    let schema = (kind.schema)().to_value();
    schema["description"].as_str().and_then(|text| text.lines().next()).unwrap_or_default().to_owned()
}

const fn place(kind: &Kind) -> &'static str {
    match kind.place {
        Place::Here(_) => "here",
        Place::Worker => "in a worker",
    }
}

const fn arity(port: &InputPort) -> &'static str {
    match port.arity {
        Arity::One => "one",
        Arity::Optional => "one or none",
        Arity::Named => "a table of names",
        Arity::NamedOptional => "a table of names or none",
        Arity::Files => "one, a folder or a glob",
    }
}

fn describe(kind: &Kind, format: Format) -> Result<()> {
    if format == Format::Json {
        return output::print_json(&json!({"v": 1, "kinds": [as_json(kind)]}));
    }
    let schema = (kind.schema)().to_value();
    let mut text = format!("{} (runs {})\n\n", kind.name, place(kind));
    text.push_str(schema["description"].as_str().unwrap_or_default());
    text.push_str("\n\nInputs\n");
    let mut rows = Rows::new(["slot", "takes", "how many", "what for"]);
    for port in kind.inputs {
        let types: Vec<_> = port.accepts.iter().map(ToString::to_string).collect();
        rows.push([port.name.into(), types.join(", "), arity(port).into(), port.doc.into()]);
    }
    text.push_str(&if rows.rows.is_empty() { "none\n".to_owned() } else { in_format(&rows, format) });
    text.push_str("\nOutputs\n");
    let mut rows = Rows::new(["artifact", "type", "what it holds"]);
    for port in kind.outputs {
        rows.push([port.name.to_string(), port.artifact.to_string(), port.doc.to_string()]);
    }
    text.push_str(&if rows.rows.is_empty() {
        "as its parameters declare\n".to_owned()
    } else {
        in_format(&rows, format)
    });
    text.push_str("\nParameters\n");
    let mut rows = Rows::new(["parameter", "type", "default", "meaning"]);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let required = schema["required"].as_array().is_some_and(|names| names.iter().any(|it| it == name));
        let default = match (required, property.get("default")) {
            (true, _) => "required".to_owned(),
            (false, None | Some(Value::Null)) => "none".to_owned(),
            (false, Some(value)) => value.to_string(),
        };
        let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        rows.push([name.clone(), type_name(property, &schema), default, meaning]);
    }
    text.push_str(&if rows.rows.is_empty() { "none\n".to_owned() } else { in_format(&rows, format) });
    output::print(&text);
    Ok(())
}

/// The type of a property in a few words: the choices of an enum, or the JSON type.
fn type_name(property: &Value, schema: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return type_name(&schema["$defs"][name], schema);
    }
    for alternatives in ["oneOf", "anyOf"] {
        if let Some(options) = property[alternatives].as_array() {
            let names = options.iter().map(|option| type_name(option, schema)).filter(|name| name != "null");
            return names.collect::<Vec<_>>().join(" | ");
        }
    }
    if let Some(choice) = property["const"].as_str() {
        return choice.to_owned();
    }
    if let Some(choices) = property["enum"].as_array() {
        let choices: Vec<_> = choices.iter().filter_map(Value::as_str).collect();
        return choices.join(" | ");
    }
    match &property["type"] {
        Value::String(name) if name == "array" => format!("list of {}", type_name(&property["items"], schema)),
        Value::String(name) if name == "object" => match property["properties"].as_object() {
            Some(fields) => format!("{{ {} }}", fields.keys().cloned().collect::<Vec<_>>().join(", ")),
            None => "table".to_owned(),
        },
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect::<Vec<_>>().join(" | ")
        }
        _ => "any".to_owned(),
    }
}
