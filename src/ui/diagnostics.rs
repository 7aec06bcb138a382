//! Draws the faults of a pipeline: file, line, column, a caret under the exact value, a suggestion.
//! Unaware of how faults are found.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Place};

/// The most faults that are drawn: nobody reads more, and each costs a walk through the whole file.
const DRAWN: usize = 50;

/// The longest message that is drawn whole; it may quote what stands in the file.
const MESSAGE_CHARS: usize = 500;

/// The first faults as one text, and how many there are; `path` and `text` are those of the pipeline.
pub fn render(faults: &[Diagnostic], path: &str, text: &str, styled: bool) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for fault in faults.iter().take(DRAWN) {
        let shortened = shortened(fault);
        let fault = shortened.as_ref().unwrap_or(fault);
        out.push_str(&renderer.render(&[group(fault, path, text)]));
        out.push_str("\n\n");
    }
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        many => format!("{many} faults"),
    };
    let rest = match faults.len().saturating_sub(DRAWN) {
        0 => String::new(),
        _ => format!(", the first {DRAWN} above"),
    };
    out.push_str(&format!("{count} in {path}{rest}; nothing was run\n"));
    out
}

/// The fault with long texts cut; `None` where none is long.
fn shortened(fault: &Diagnostic) -> Option<Diagnostic> {
    let is_long = |text: &String| text.len() > MESSAGE_CHARS;
    let cut = |text: &String| match is_long(text) {
        true => text.chars().take(MESSAGE_CHARS).chain(['…']).collect(),
        false => text.clone(),
    };
    let texts = [Some(&fault.message), Some(&fault.label), fault.help.as_ref()];
    texts.into_iter().flatten().any(is_long).then(|| Diagnostic {
        message: cut(&fault.message),
        place: fault.place.clone(),
        label: cut(&fault.label),
        help: fault.help.as_ref().map(cut),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_faults_the_first_are_drawn_and_all_are_counted() {
        let faults: Vec<_> = (0..60).map(|number| Diagnostic::at(0..1, format!("fault {number}"))).collect();
        let drawn = render(&faults, "p.toml", "x", false);
        assert!(drawn.contains("error: fault 49\n") && !drawn.contains("error: fault 50\n"), "{drawn}");
        assert!(drawn.ends_with("60 faults in p.toml, the first 50 above; nothing was run\n"), "{drawn}");
    }

    #[test]
    fn a_name_without_end_is_drawn_from_its_beginning() {
        let drawn = render(&[Diagnostic::at(0..1, "x".repeat(1_000_000))], "p.toml", "x", false);
        assert!(drawn.len() < 1000 && drawn.contains("xxx…"), "{}", drawn.len());
    }
}
