//! `pacer check` and `pacer schema`: whether a pipeline is right, and what is right. Unaware of stores and of running.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::cli::project;
use crate::cli::{Exit, Format, PipelineArgs, Session};
use crate::diagnostic::{Diagnostic, Lines, Place};
use crate::schema;
use crate::ui::output::{self, GOOD, paint};

/// The arguments of `pacer check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

/// Tells every fault of a pipeline, and does nothing else.
pub fn check(args: &CheckArgs, session: &Session) -> Result<Exit> {
    let (text, resolved) = project::resolved(&args.pipeline, session)?;
    let file = args.pipeline.file.display().to_string();
    let faults = resolved.as_ref().err().map_or(&[][..], Vec::as_slice);
    if session.format == Format::Json {
        let lines = Lines::of(&text);
        let faults: Vec<_> = faults.iter().map(|fault| as_json(fault, &text, &lines)).collect();
        output::print_json(&json!({"v": 1, "file": file, "faults": faults}))?;
    } else if let Ok(graph) = &resolved {
        let stages = match graph.order.len() {
            1 => "1 stage".to_owned(),
            many => format!("{} stages", output::count(many)),
        };
        output::print(&format!("{} {file}: {stages}\n", paint(GOOD, "✓ right")));
    } else {
        project::draw(faults, &args.pipeline.file, &text);
    }
    Ok(if faults.is_empty() { Exit::Done } else { Exit::Fault })
}

/// A fault for programs: line and column from 1, columns in characters; neither for a fault of the whole file.
fn as_json(fault: &Diagnostic, text: &str, lines: &Lines) -> Value {
    let (argument, span) = match &fault.place {
        Place::File(span) => (None, Some(span)),
        Place::Argument { text, .. } => (Some(text), None),
        Place::Whole => (None, None),
    };
    let place = |at: usize| {
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        json!({"line": lines.line(at), "column": text[start..at].chars().count() + 1})
    };
    json!({
        "message": fault.message,
        "label": fault.label,
        "help": fault.help,
        "argument": argument,
        "start": span.map(|span| place(span.start)),
        "end": span.map(|span| place(span.end)),
    })
}

/// Prints the JSON Schema of a pipeline.
pub fn schema() -> Result<Exit> {
    output::print_json(&schema::pipeline())?;
    Ok(Exit::Done)
}
