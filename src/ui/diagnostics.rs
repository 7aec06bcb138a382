//! Draws the faults of a pipeline: file, line, column, a caret under the exact value, a suggestion.
//! Unaware of how faults are found.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Place};

/// All faults as one text; `path` and `text` are those of the pipeline.
pub fn render(faults: &[Diagnostic], path: &str, text: &str, styled: bool) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for fault in faults {
        out.push_str(&renderer.render(&[group(fault, path, text)]));
        out.push_str("\n\n");
    }
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        many => format!("{many} faults"),
    };
    out.push_str(&format!("{count} in {path}; nothing was run\n"));
    out
}

fn group<'a>(fault: &'a Diagnostic, path: &'a str, text: &'a str) -> Group<'a> {
    let title = Level::ERROR.primary_title(fault.message.as_str());
    let (source, name, span) = match &fault.place {
        Place::File(span) => (text, path, span.clone()),
        Place::Argument { text, span } => (text.as_str(), "command line", span.clone()),
        Place::Whole => (text, path, 0..0),
    };
    // A span past the end, as of a text that stops too early, would be drawn nowhere.
    let span = span.start.min(source.len())..span.end.min(source.len());
    let mut annotation = AnnotationKind::Primary.span(span);
    if !fault.label.is_empty() {
        annotation = annotation.label(fault.label.as_str());
    }
    let group = title.element(Snippet::source(source).path(name).annotation(annotation));
    match &fault.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}
