//! Two artifacts side by side as text, Markdown and CSV. Unaware of how they were compared.

use crate::compare::artifacts::{Artifacts, Cells, Content, Figure, Lines, Statistics, Tensor};
use crate::compare::traces::{Trace, Traced, Traces};
use crate::ui::chart::{Line, chart};
use crate::ui::section::{self, Section, optional};
use crate::ui::tables::Rows;

/// Two artifacts for people, as text.
pub fn text(artifacts: &Artifacts) -> String {
    section::text(&sections(artifacts))
}

/// Two artifacts for documents.
pub fn markdown(artifacts: &Artifacts) -> String {
    section::markdown(&sections(artifacts))
}

/// What differs between two artifacts, for spreadsheets.
pub fn csv(artifacts: &Artifacts) -> String {
    let sections = sections(artifacts);
    sections.iter().filter(|section| !section.rows.header.is_empty()).map(|section| section.rows.csv()).collect()
}

fn sections(artifacts: &Artifacts) -> Vec<Section> {
    let [one, other] = &artifacts.names;
    let Some(difference) = &artifacts.difference else {
        let line = format!("`{one}` and `{other}` are the same, byte for byte");
        return vec![Section { lines: vec![line], ..Section::default() }];
    };
    let first = Section {
        title: format!("`{one}` → `{other}`"),
        lines: difference.to_string().lines().map(str::to_owned).collect(),
        ..Section::default()
    };
    let mut sections = vec![first];
    sections.extend(content(&artifacts.content));
    sections
}

fn content(content: &Content) -> Vec<Section> {
    match content {
        Content::Bytes => Vec::new(),
        Content::Drawings(_) => vec![Section {
            lines: vec!["to see both side by side, add: --page both.html".into()],
            ..Section::default()
        }],
        Content::Figures(figures) => vec![figure_section(figures)],
        Content::Cells(cells) => vec![cell_section(cells)],
        Content::Tensors(tensors) => vec![tensor_section(tensors)],
        Content::Lines(lines) => vec![line_section(lines)],
        Content::Traces(traces) => trace_sections(traces),
    }
}

fn figure_section(figures: &[Figure]) -> Section {
    let mut rows = Rows::new(["figure", "first", "second", "change"]);
    for figure in figures {
        let value = |side: usize| figure.values[side].as_ref().map_or_else(String::new, plain);
        let change = optional(figure.change, |change| format!("{change:+.4}"));
        rows.push([figure.path.clone(), value(0), value(1), change]);
    }
    Section { rows, ..Section::default() }
}

fn tensor_section(tensors: &[Tensor]) -> Section {
    let header = ["tensor", "shape", "mean", "sd", "shape after", "mean after", "sd after", "largest difference"];
    let mut rows = Rows::new(header);
    for tensor in tensors {
        let told = |side: &Option<Statistics>| match side {
            Some(side) => [format!("{:?}", side.shape), format!("{:.5}", side.mean), format!("{:.5}", side.sd)],
            None => ["", "", ""].map(str::to_owned),
        };
        let ([shape, mean, sd], [shape_b, mean_b, sd_b]) = (told(&tensor.sides[0]), told(&tensor.sides[1]));
        let largest = optional(tensor.largest, |largest| format!("{largest:.3e}"));
        rows.push([tensor.name.clone(), shape, mean, sd, shape_b, mean_b, sd_b, largest]);
    }
    Section { rows, ..Section::default() }
}

fn line_section(lines: &Lines) -> Section {
    let told = format!("{} lines only in the first, {} only in the second", lines.removed, lines.added);
    Section { lines: vec![told], drawn: lines.told.clone(), ..Section::default() }
}

fn trace_sections(traces: &Traces) -> Vec<Section> {
    let header = ["model", "workouts", "samples", "mae, first", "mae, second", "change", "apart"];
    let mut all = Section { rows: Rows::new(header), ..Section::default() };
    for traced in &traces.both {
        let Traced { workouts, samples, mae: [first, second], apart, .. } = traced;
        let figures = [format!("{first:.3}"), format!("{second:.3}"), format!("{:+.3}", second - first)];
        let [first, second, change] = figures;
        let counts = [workouts.to_string(), samples.to_string()];
        let [workouts, samples] = counts;
        all.rows.push([paired(traced), workouts, samples, first, second, change, format!("{apart:.3}")]);
    }
    all.lines.push("at the samples that both scored; apart: mean absolute difference between the two; BPM".into());
    for (side, which) in ["first", "second"].into_iter().enumerate() {
        if !traces.only[side].is_empty() {
            all.lines.push(format!("models only in the {which}: {}", traces.only[side].join(", ")));
        }
    }
    let drawn = traces.both.iter().filter_map(|traced| Some(trace_section(traced, traced.furthest.first()?)));
    std::iter::once(all).chain(drawn).collect()
}

fn paired(traced: &Traced) -> String {
    let [one, other] = &traced.models;
    if one == other { one.clone() } else { format!("{one} → {other}") }
}

fn trace_section(traced: &Traced, trace: &Trace) -> Section {
    let Trace { workout, user, apart, .. } = trace;
    let title =
        format!("{}: furthest apart in workout {workout} of user {user}, {apart:.1} BPM on average", paired(traced));
    let minutes: Vec<f32> = trace.time_s.iter().map(|seconds| seconds / 60.0).collect();
    let lines = [('·', &trace.truth), ('1', &trace.predicted[0]), ('2', &trace.predicted[1])];
    let drawn = chart(&minutes, &lines.map(|(letter, values)| Line { letter, values }), "min");
    let legend = "·: recorded, 1: first, 2: second, BPM; what lies beneath another is hidden".to_owned();
    Section { title, drawn: drawn.into_iter().chain([legend]).collect(), ..Section::default() }
}

fn cell_section(cells: &Cells) -> Section {
    let paired = if cells.key.is_empty() { "their place".to_owned() } else { cells.key.join(", ") };
    let mut lines = vec![format!(
        "{} and {} rows, paired by {paired}; {} cells differ",
        cells.rows[0], cells.rows[1], cells.differing
    )];
    for (side, which) in ["first", "second"].into_iter().enumerate() {
        let few = |names: &[String]| {
            let rest = names.len().saturating_sub(3);
            let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            format!("{}{more}", names.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
        };
        if !cells.columns[side].is_empty() {
            lines.push(format!("columns only in the {which}: {}", few(&cells.columns[side])));
        }
        if !cells.only[side].is_empty() {
            lines.push(format!("rows only in the {which}: {}", few(&cells.only[side])));
        }
    }
    let mut rows = Rows::default();
    if !cells.told.is_empty() {
        rows = Rows::new(["row", "column", "first", "second"]);
    }
    for cell in &cells.told {
        rows.push([cell.row.clone(), cell.column.clone(), cell.values[0].clone(), cell.values[1].clone()]);
    }
    Section { rows, lines, ..Section::default() }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
