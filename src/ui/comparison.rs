//! A comparison of configurations as text, Markdown and CSV. Unaware of how it was made.

use pacer_stages::comparison::verdict::{Judgement, Needs, Verdict};
use pacer_stages::comparison::{Comparison, Difference, Judged, PartDifference, Row, Unit};
use pacer_stages::inference::DRAWS;

use crate::compare::Answer;
use crate::compare::basis::Basis;
use crate::ui::output;
use crate::ui::section::{self, Section, optional};
use crate::ui::tables::Rows;

/// Beyond so many configurations what differs is told row by row.
const ABREAST: usize = 6;

/// A value of a parameter is shown up to so many characters.
const VALUE: usize = 40;

/// A comparison for people, as text.
pub fn text(answer: &Answer) -> String {
    section::text(&sections(answer))
}

/// A comparison for documents.
pub fn markdown(answer: &Answer) -> String {
    section::markdown(&sections(answer))
}

/// The configurations for spreadsheets.
pub fn csv(answer: &Answer) -> String {
    let mut rows = Rows::new([
        "configuration",
        "against",
        "seeds",
        "mae",
        "sd",
        "mae_points",
        "bias",
        "worst_tenth",
        "difference",
        "low",
        "high",
        "improved",
        "p_units",
        "p_seeds",
        "p_holm",
        "verdict",
        "data",
        "split",
        "part",
        "notes",
    ]);
    // A row that is taken out of its file still says what it rests on.
    let (basis, notes) = (known(&answer.basis), answer.notes.join("; "));
    let number = |value: Option<f64>| optional(value, |value| format!("{value:.4}"));
    for row in &answer.comparison.rows {
        let it = row.difference.as_ref();
        let interval = it.and_then(|it| it.interval);
        rows.push([
            row.name.clone(),
            optional(it, |it| it.baseline.clone()),
            row.seeds.len().to_string(),
            number(Some(row.mae)),
            number(row.sd),
            number(Some(row.mae_points)),
            number(Some(row.bias)),
            number(Some(row.worst_tenth)),
            number(it.map(|it| it.mean)),
            number(interval.map(|[low, _]| low)),
            number(interval.map(|[_, high]| high)),
            number(it.map(|it| it.improved)),
            number(it.and_then(|it| it.p_units)),
            number(it.and_then(|it| it.p_seeds)),
            number(it.and_then(|it| it.p_holm)),
            optional(it, |it| it.judgement.verdict.name().to_owned()),
            basis[0].clone(),
            basis[1].clone(),
            basis[2].clone(),
            notes.clone(),
        ]);
    }
    rows.csv()
}

/// The data, the split and the part, in words.
fn known(Basis { data, split, part }: &Basis) -> [String; 3] {
    [data, split, part].map(|values| if values.is_empty() { "unknown".to_owned() } else { values.join(" and ") })
}

/// Its parts, for pages.
pub fn sections(answer: &Answer) -> Vec<Section> {
    let comparison = &answer.comparison;
    let mut notes = Section { lines: answer.notes.clone(), ..Section::default() };
    notes.lines.push(basis(answer));
    let mut sections = vec![notes, Section { rows: figures(comparison), ..Section::default() }];
    let reasons: Vec<String> = comparison.rows.iter().filter_map(|row| reason(row, comparison.unit)).collect();
    sections.push(Section { lines: reasons, ..Section::default() });
    sections.push(differing(answer));
    sections.extend(losses(comparison));
    sections.push(Section { lines: legend(comparison), ..Section::default() });
    sections.retain(|section| !section.rows.rows.is_empty() || !section.lines.is_empty());
    sections
}

fn basis(answer: &Answer) -> String {
    let comparison = &answer.comparison;
    let [data, split, part] = known(&answer.basis);
    let what = format!("part {part}, split by {split}, data {data}");
    let sizes = format!(
        "{} of {}, {} samples",
        Unit::Workout.count(comparison.workouts),
        Unit::User.count(comparison.users),
        output::count(comparison.points)
    );
    format!("{what}: {sizes}; {} configurations here, {} tried on these workouts", comparison.rows.len(), answer.tried)
}

fn figures(comparison: &Comparison) -> Rows {
    let baselines: Vec<&str> =
        comparison.rows.iter().filter_map(|row| Some(row.difference.as_ref()?.baseline.as_str())).collect();
    let several = baselines.windows(2).any(|pair| pair[0] != pair[1]);
    let mut header =
        vec!["configuration", "seeds", "mae", "sd", "difference", "95 %", "improved", "worst tenth", "p", "verdict"];
    if several {
        header.insert(4, "against");
    }
    let row = |row: &Row| {
        let is_baseline = baselines.contains(&row.name.as_str());
        let seeds = if row.seeds.is_empty() { String::new() } else { row.seeds.len().to_string() };
        let mut cells =
            vec![row.name.clone(), seeds, format!("{:.2}", row.mae), optional(row.sd, |sd| format!("{sd:.2}"))];
        let difference = row.difference.as_ref();
        if several {
            cells.push(difference.map_or_else(String::new, |it| it.baseline.clone()));
        }
        let told = |of: &dyn Fn(&Difference) -> String| difference.map_or_else(String::new, of);
        cells.push(told(&|it| format!("{:+.2}", it.mean)));
        cells.push(told(&|it| optional(it.interval, |[low, high]| format!("{low:+.2} to {high:+.2}"))));
        cells.push(told(&|it| format!("{:.0} %", 100.0 * it.improved)));
        cells.push(format!("{:.2}", row.worst_tenth));
        cells.push(told(&|it| optional(it.p_holm, p)));
        cells.push(match difference {
            Some(difference) => difference.judgement.verdict.name().to_owned(),
            None if is_baseline => "baseline".to_owned(),
            None => String::new(),
        });
        cells
    };
    Rows { header: header.into_iter().map(str::to_owned).collect(), rows: comparison.rows.iter().map(row).collect() }
}

fn p(p: f64) -> String {
    if p < 0.001 { "< 0.001".to_owned() } else { format!("{p:.3}") }
}

/// Why nothing can be said of a configuration, and what would decide it.
fn reason(row: &Row, unit: Unit) -> Option<String> {
    let difference = row.difference.as_ref()?;
    let Judgement { verdict: Verdict::CannotTell, because, needs } = &difference.judgement else { return None };
    let lean = match difference.interval {
        Some([_, high]) if high < 0.0 => "; the trainings here are better",
        Some([low, _]) if low > 0.0 => "; the trainings here are worse",
        _ => "",
    };
    let Needs { units, seeds } = needs;
    let wanted: Vec<String> = [units.map(|units| unit.count(units)), seeds.map(|seeds| format!("{seeds} seeds"))]
        .into_iter()
        .flatten()
        .collect();
    let wanted = match wanted.is_empty() {
        true => String::new(),
        false => format!("; about {} may decide", wanted.join(" and ")),
    };
    Some(format!("{}: {}{lean}{wanted}", row.name, because.join("; ")))
}

fn differing(answer: &Answer) -> Section {
    let names: Vec<&str> = answer.comparison.rows.iter().map(|row| row.name.as_str()).collect();
    let (mut rows, mut lines) = (Rows::default(), Vec::new());
    if answer.differs.is_empty() {
        return Section::default();
    }
    if names.len() <= ABREAST {
        rows.header = std::iter::once("what differs").chain(names.iter().copied()).map(str::to_owned).collect();
        for (path, values) in &answer.differs {
            let cells = names.iter().map(|name| values.get(*name).map(|value| short(value)).unwrap_or_default());
            rows.rows.push(std::iter::once(path.clone()).chain(cells).collect());
        }
    } else {
        lines.push("what differs".to_owned());
        for name in names {
            let own =
                answer.differs.iter().filter_map(|(path, values)| Some(format!("{path} {}", short(values.get(name)?))));
            let own: Vec<String> = own.collect();
            if !own.is_empty() {
                lines.push(format!("{name}: {}", own.join(", ")));
            }
        }
    }
    Section { rows, lines, ..Section::default() }
}

/// A value on one line: a digest by its first digits, a long text by its beginning.
fn short(value: &str) -> String {
    let bare = value.trim_matches('"');
    if bare.len() == 64 && bare.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return bare[..12].to_owned();
    }
    match value.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Where the better of the best candidate and its baseline is the worse one.
fn losses(comparison: &Comparison) -> Option<Section> {
    let candidates = comparison.rows.iter().filter_map(|row| Some((row, row.difference.as_ref()?)));
    let (row, difference) = candidates.min_by(|a, b| a.1.mean.total_cmp(&b.1.mean))?;
    let wins = difference.mean < 0.0;
    let [winner, other] = if wins { [&row.name, &difference.baseline] } else { [&difference.baseline, &row.name] };
    let loss = |part: &PartDifference| if wins { part.difference() } else { -part.difference() };
    let mut lost: Vec<&PartDifference> = difference.parts.iter().filter(|part| loss(part) > 0.0).collect();
    lost.sort_by(|a, b| loss(b).total_cmp(&loss(a)));
    let of = difference.parts.len();
    if lost.is_empty() {
        let line = format!("`{winner}` is ahead of `{other}` in each of {of} zones, phases and groups of users");
        return Some(Section { lines: vec![line], ..Section::default() });
    }
    let units = if comparison.unit == Unit::User { "users" } else { "workouts" };
    let mut rows = Rows::new(["where", winner.as_str(), other.as_str(), "loses by", units, "samples"]);
    for part in lost {
        let [own, their] = if wins { [part.mae, part.baseline] } else { [part.baseline, part.mae] };
        let figures = [own, their, loss(part)].map(|figure| format!("{figure:.2}"));
        let [own, their, by] = figures;
        rows.push([part.name.clone(), own, their, by, part.units.to_string(), output::count(part.points as usize)]);
    }
    let title =
        format!("where `{winner}` loses to `{other}`: {} of {of} zones, phases and groups of users", rows.rows.len());
    Some(Section { title, rows, ..Section::default() })
}

fn legend(comparison: &Comparison) -> Vec<String> {
    let unit = if comparison.unit == Unit::User { "user" } else { "workout" };
    let about = match comparison.judged {
        Judged::Configurations => "p: the larger of that over their resamples and that of the signs over seeds",
        Judged::Trainings => "p: over their resamples; of these very trainings, which says nothing of other seeds",
    };
    let holm = match comparison.tests {
        0 | 1 => String::new(),
        tests => format!(", by Holm for {tests} candidates"),
    };
    vec![
        format!(
            "mae: mean over {unit}s of each {unit}'s mean absolute error, BPM; sd: over seeds; difference: negative is better"
        ),
        format!("95 %: {} resamples of {unit}s; {about}{holm}; margin {} BPM", output::count(DRAWS), comparison.margin),
    ]
}
