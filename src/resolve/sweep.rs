//! Reads `[stages.NAME.sweep]`: lists, `zip`, `points`, random draws and `where` become trials, each a value for every
//! swept parameter. Unaware of what becomes of them, and of graphs.

mod adaptive;
mod condition;
mod draws;

use std::collections::BTreeSet;

use crate::diagnostic::{Diagnostic, Place};
use crate::resolve::sweep::adaptive::{Asked, Way};
use crate::resolve::sweep::condition::{Condition, Misread, Value};
use crate::resolve::sweep::draws::Draw;
use crate::search::{EPOCHS, How, Point, Search};
use crate::spec::{Data, Entry, Node, Table};

/// The most stages that sweeps may make of a pipeline.
pub const MOST_STAGES: usize = 10_000;

/// Keys of a sweep that are no parameters.
const WORDS: [&str; 6] = ["zip", "points", "where", "trials", "draw_seed", "search"];

/// A sweep as it is written: parameters, and their values in each trial.
#[derive(Debug)]
pub struct Sweep {
    /// The swept parameters as they are written, with their places, in the order of the file.
    pub keys: Vec<(String, Place)>,
    /// The trials: a value for each key.
    pub trials: Vec<Vec<Node>>,
    /// Where the sweep is written.
    pub place: Place,
    /// The search that goes on from these trials.
    pub search: Option<Search>,
}

/// A stage whose sweep is read.
pub struct Swept<'a> {
    /// Its name.
    pub stage: &'a str,
    /// The epochs that it trains, where it says so.
    pub epochs: Option<u64>,
    /// What its search has decided so far.
    pub points: &'a [Point],
}

/// Keys that take their values together, and those values.
struct Dimension {
    keys: Vec<(String, Place)>,
    values: Vec<Vec<Node>>,
}

/// What is written in a sweep, sorted.
#[derive(Default)]
struct Written {
    lists: Vec<(String, Place, Node)>,
    draws: Vec<(String, Place, Draw)>,
}

/// Reads the sweep of a stage; `None` where it has faults, each of which is told.
pub fn read(swept: &Swept<'_>, entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<Sweep> {
    let stage = swept.stage;
    let before = faults.len();
    let Data::Table(table) = &entry.value.data else {
        let fault = Diagnostic::new(format!("`sweep` is {}", entry.value.data.sort())).place(&entry.value.place);
        faults.push(fault.label("must be a table").help("write `batch_size = [8, 16]` under `[stages.NAME.sweep]`"));
        return None;
    };
    let mut written = Written::default();
    gather("", table, &mut written, faults);
    let asked = table.get("search").map(|entry| adaptive::read(entry, faults));
    let asked = asked.flatten();
    let draws = written.draws.clone();
    let mut dimensions = dimensions(table, written, faults);
    let mut search = None;
    if let Some(Asked { way: Way::Parzen { startup, round }, .. }) = &asked {
        search = parzen(&draws, (*startup, *round), table, &mut dimensions, swept.points);
        if search.is_none() {
            let fault = Diagnostic::new("a search by tpe draws, and nothing is drawn here").place(&entry.key);
            faults
                .push(fault.help("draw a parameter: `learning_rate = { log_uniform = [1e-4, 1e-2] }`, `trials = 40`"));
        }
    }
    let starts_at = |(_, place): &(String, Place)| match place {
        Place::File(span) => span.start,
        Place::Argument { .. } | Place::Whole => 0,
    };
    dimensions.sort_by_key(|dimension| dimension.keys.first().map(starts_at));
    refuse_doubles(&dimensions, faults);
    if faults.len() == before && dimensions.is_empty() {
        let fault = Diagnostic::new(format!("the sweep of `{stage}` names no parameter")).place(&entry.key);
        faults.push(fault.help("give a parameter several values, `batch_size = [8, 16]`"));
    }
    let count = dimensions.iter().fold(1_usize, |count, dimension| count.saturating_mul(dimension.values.len()));
    if count > MOST_STAGES {
        faults.push(too_many(stage, count, &entry.key));
    }
    if faults.len() > before {
        return None;
    }
    let keys: Vec<_> = dimensions.iter().flat_map(|dimension| dimension.keys.clone()).collect();
    let mut trials = cross(&dimensions);
    if let Some(conditions) = table.get("where") {
        keep_where(&keys, &mut trials, &conditions.value, faults);
    }
    let mut keys = keys;
    if let Some(Asked { way: Way::Halving { min_epochs, eta }, place, .. }) = &asked {
        let how = halving((*min_epochs, *eta), swept, place, &keys, faults)?;
        keys.push((EPOCHS.to_owned(), place.clone()));
        add_rungs(&mut trials, *min_epochs, place, swept.points);
        search = Some((keys.iter().map(|(key, _)| key.clone()).collect(), how));
    }
    let search = asked.zip(search).map(|(asked, (keys, how))| Search {
        stage: stage.to_owned(),
        keys,
        how,
        metric: asked.metric,
        better: asked.better,
        place: asked.named,
        written: entry.value.json().to_string(),
        points: swept.points.to_vec(),
    });
    (faults.len() == before).then(|| Sweep { keys, trials, place: entry.key.clone(), search })
}

/// The draws of a search by Parzen estimators: the first blindly, then what was decided.
fn parzen(
    draws: &[(String, Place, Draw)],
    (startup, round): (u64, u64),
    table: &Table,
    dimensions: &mut [Dimension],
    points: &[Point],
) -> Option<(Vec<String>, How)> {
    let keys: Vec<String> = draws.iter().map(|(name, _, _)| name.clone()).collect();
    let is_drawn = |it: &&mut Dimension| !keys.is_empty() && it.keys.iter().map(|(key, _)| key).eq(&keys);
    let drawn = dimensions.iter_mut().find(is_drawn)?;
    let trials = drawn.values.len();
    drawn.values.truncate(usize::try_from(startup).unwrap_or(usize::MAX));
    let nodes =
        |point: &Point| point.iter().zip(draws).map(|(value, (_, place, _))| Node::of_json(value, place)).collect();
    drawn.values.extend(points.iter().filter(|point| point.len() == keys.len()).map(nodes));
    let draw_seed = match table.get("draw_seed").map(|entry| &entry.value.data) {
        Some(Data::Integer(seed)) => seed.unsigned_abs(),
        _ => 0,
    };
    let space = draws.iter().map(|(_, _, draw)| draw.dimension()).collect();
    let round = usize::try_from(round).unwrap_or(usize::MAX);
    Some((keys, How::Parzen { space, trials, round, draw_seed }))
}

/// The rungs of a search by halving, up to the epochs of the stage.
fn halving(
    (min_epochs, eta): (u64, u64),
    swept: &Swept<'_>,
    place: &Place,
    keys: &[(String, Place)],
    faults: &mut Vec<Diagnostic>,
) -> Option<How> {
    let fault = match swept.epochs {
        _ if keys.iter().any(|(key, _)| key == EPOCHS) => {
            Diagnostic::new("`epochs` is swept, and a search by halving gives it").help("leave it out of the sweep")
        }
        None => Diagnostic::new(format!("the search needs the most `epochs` that `{}` may train", swept.stage))
            .help("write `epochs = 30` in the stage"),
        Some(epochs) if epochs <= min_epochs => Diagnostic::new(format!(
            "the first rung has {min_epochs} epochs, and no trial may train more than {epochs}"
        ))
        .help("give it fewer, `min_epochs = 3`, or the stage more `epochs`"),
        Some(epochs) => return Some(How::Halving { min_epochs, eta, epochs }),
    };
    faults.push(fault.place(place));
    None
}

/// Lets every trial stand on the first rung, and those that were promoted on theirs.
fn add_rungs(trials: &mut Vec<Vec<Node>>, min_epochs: u64, place: &Place, points: &[Point]) {
    let first = Node::of_json(&min_epochs.into(), place);
    trials.iter_mut().for_each(|trial| trial.push(first.clone()));
    let known = |point: &Point| {
        let (epochs, rest) = point.split_last()?;
        let is_same = |trial: &&Vec<Node>| {
            trial.len() == point.len() && trial.iter().map(Node::json).take(rest.len()).eq(rest.iter().cloned())
        };
        let mut trial = trials.iter().find(is_same)?.clone();
        trial.pop();
        trial.push(Node::of_json(epochs, place));
        Some(trial)
    };
    let promoted: Vec<_> = points.iter().filter_map(known).collect();
    trials.extend(promoted);
}

/// The fault of a sweep that makes more stages than anybody meant.
pub fn too_many(stage: &str, count: usize, place: &Place) -> Diagnostic {
    let fault = Diagnostic::new(format!("the sweep of `{stage}` makes {count} stages")).place(place);
    fault.label(format!("at most {MOST_STAGES}")).help("draw some at random: `{ choice = […] }` with `trials = 100`")
}

/// Sorts the parameters of a sweep; a table that is no draw holds parameters below its own name.
fn gather(prefix: &str, table: &Table, written: &mut Written, faults: &mut Vec<Diagnostic>) {
    for (key, entry) in table.iter().filter(|(key, _)| !prefix.is_empty() || !WORDS.contains(&key.as_str())) {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match &entry.value.data {
            Data::List(items) if items.is_empty() => {
                faults.push(Diagnostic::new(format!("`{name}` has no value to try")).place(&entry.value.place));
            }
            Data::List(_) => written.lists.push((name, entry.key.clone(), entry.value.clone())),
            Data::Table(draw) if draws::is_draw(draw) => {
                written.draws.extend(Draw::read(draw, faults).map(|draw| (name, entry.key.clone(), draw)));
            }
            Data::Table(below) if !below.is_empty() => gather(&name, below, written, faults),
            other => {
                let fault = Diagnostic::new(format!("`{name}` of a sweep is {}", other.sort()));
                let fault = fault.place(&entry.value.place).label("must be a list of values, or a draw");
                let help = format!(
                    "`[1, 2]` or `{{ {} = [1, 2] }}`; what is the same in all trials is written in the stage",
                    draws::WORDS[0]
                );
                faults.push(fault.help(help).did_you_mean(&name, WORDS));
            }
        }
    }
}

fn dimensions(table: &Table, written: Written, faults: &mut Vec<Diagnostic>) -> Vec<Dimension> {
    let Written { lists, draws } = written;
    let mut dimensions: Vec<_> = lists
        .into_iter()
        .map(|(name, key, list)| {
            let Data::List(items) = list.data else { unreachable!("only lists were gathered") };
            Dimension { keys: vec![(name, key)], values: items.into_iter().map(|item| vec![item]).collect() }
        })
        .collect();
    if let Some(zip) = table.get("zip") {
        zipped(&zip.value, &mut dimensions, faults);
    }
    if let Some(points) = table.get("points") {
        dimensions.extend(self::points(&points.value, faults));
    }
    dimensions.extend(drawn(table, draws, faults));
    dimensions
}

/// Lets lists go together: `zip = [["batch_size", "learning_rate"]]`.
fn zipped(node: &Node, dimensions: &mut Vec<Dimension>, faults: &mut Vec<Diagnostic>) {
    let groups = match &node.data {
        Data::List(groups) if !groups.is_empty() => groups,
        other => {
            let fault = Diagnostic::new(format!("`zip` is {}", other.sort())).place(&node.place);
            faults.push(fault.help("write `zip = [[\"batch_size\", \"learning_rate\"]]`"));
            return;
        }
    };
    for group in groups {
        let Data::List(names) = &group.data else {
            let fault = Diagnostic::new("`zip` holds lists of names").place(&group.place).label(group.data.sort());
            faults.push(fault.help("write `zip = [[\"batch_size\", \"learning_rate\"]]`"));
            continue;
        };
        let mut together: Option<Dimension> = None;
        for name in names {
            let Data::Text(text) = &name.data else {
                faults.push(Diagnostic::new("`zip` names parameters").place(&name.place).label(name.data.sort()));
                continue;
            };
            let found = dimensions.iter().position(|dimension| matches!(&*dimension.keys, [(key, _)] if key == text));
            let Some(found) = found else {
                let fault = Diagnostic::new(format!("`{text}` is no list of this sweep, or goes with others already"));
                let known = dimensions.iter().flat_map(|dimension| &dimension.keys).map(|(key, _)| key.as_str());
                faults.push(fault.place(&name.place).label("unknown here").did_you_mean(text, known));
                continue;
            };
            let next = dimensions.remove(found);
            together = Some(match together {
                None => next,
                Some(first) if first.values.len() == next.values.len() => together_with(first, next),
                Some(first) => {
                    let (one, other) = (&first.keys[0].0, &next.keys[0].0);
                    let (a, b) = (first.values.len(), next.values.len());
                    let message =
                        format!("`{one}` has {a} values and `{other}` has {b}, so that they cannot go together");
                    let fault = Diagnostic::new(message).place(&name.place);
                    faults
                        .push(fault.label("another length").help("give them lists of one length, or do not zip them"));
                    first
                }
            });
        }
        dimensions.extend(together);
    }
}

fn together_with(mut first: Dimension, next: Dimension) -> Dimension {
    first.keys.extend(next.keys);
    first.values.iter_mut().zip(next.values).for_each(|(values, more)| values.extend(more));
    first
}

/// Explicit trials: `points = [{ batch_size = 8, learning_rate = 0.001 }, …]`.
fn points(node: &Node, faults: &mut Vec<Diagnostic>) -> Option<Dimension> {
    let Data::List(items) = &node.data else {
        let fault = Diagnostic::new(format!("`points` is {}", node.data.sort())).place(&node.place);
        faults.push(fault.help("write `points = [{ batch_size = 8 }, { batch_size = 16 }]`"));
        return None;
    };
    let mut dimension: Option<Dimension> = None;
    for item in items {
        let mut point = Vec::new();
        match &item.data {
            Data::Table(table) => flatten("", table, &mut point),
            other => faults.push(Diagnostic::new(format!("a point is {}", other.sort())).place(&item.place)),
        }
        let values = |point: Vec<(String, Place, Node)>| point.into_iter().map(|(_, _, value)| value).collect();
        let first = dimension.get_or_insert_with(|| Dimension {
            keys: point.iter().map(|(name, key, _)| (name.clone(), key.clone())).collect(),
            values: Vec::new(),
        });
        point.sort_by_key(|(name, _, _)| first.keys.iter().position(|(key, _)| key == name));
        match point.iter().map(|(name, _, _)| name).eq(first.keys.iter().map(|(key, _)| key)) {
            true => first.values.push(values(point)),
            false => {
                let names: Vec<_> = first.keys.iter().map(|(key, _)| key.as_str()).collect();
                let fault = Diagnostic::new("a point has other parameters than the first").place(&item.place);
                faults.push(fault.label(format!("the first has {}", names.join(", "))));
            }
        }
    }
    if dimension.as_ref().is_none_or(|dimension| dimension.keys.is_empty()) {
        faults.push(Diagnostic::new("`points` holds no trial").place(&node.place));
        return None;
    }
    dimension
}

fn flatten(prefix: &str, table: &Table, out: &mut Vec<(String, Place, Node)>) {
    for (key, entry) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        out.push((name, entry.key.clone(), entry.value.clone()));
    }
}

/// The trials of the parameters that are drawn.
fn drawn(table: &Table, draws: Vec<(String, Place, Draw)>, faults: &mut Vec<Diagnostic>) -> Option<Dimension> {
    let whole = |key: &str, least: i64, faults: &mut Vec<Diagnostic>| match table.get(key).map(|entry| &entry.value) {
        None => None,
        Some(Node { data: Data::Integer(number), .. }) if *number >= least => Some(number.unsigned_abs()),
        Some(node) => {
            let fault = Diagnostic::new(format!("`{key}` of a sweep is no number of that sort")).place(&node.place);
            faults.push(fault.label(format!("must be a whole number from {least}")));
            None
        }
    };
    let before = faults.len();
    let trials = whole("trials", 1, faults);
    let seed = whole("draw_seed", 0, faults).unwrap_or(0);
    if faults.len() > before {
        return None;
    }
    match (draws.first(), trials) {
        (None, None) => return None,
        (Some((name, key, _)), None) => {
            let fault = Diagnostic::new(format!("`{name}` is drawn, but how often is not said")).place(key);
            faults.push(fault.help("add `trials = 20` to the sweep"));
            return None;
        }
        (None, Some(_)) => {
            let entry = table.get("trials").expect("it was read");
            let fault = Diagnostic::new("`trials` counts draws, and nothing is drawn here").place(&entry.key);
            faults.push(fault.help("lists are tried whole; draw a parameter with `{ choice = […] }`"));
            return None;
        }
        (Some(_), Some(_)) => {}
    }
    // More are refused by their number, for which they need not be drawn.
    let trials = trials.unwrap_or(0).min(MOST_STAGES as u64 + 1);
    let value = |trial: u64, (name, key, draw): &(String, Place, Draw)| {
        let data = draw.at(draws::place(seed, trial, name));
        Node { place: key.clone(), data }
    };
    let values = (0..trials).map(|trial| draws.iter().map(|draw| value(trial, draw)).collect()).collect();
    Some(Dimension { keys: draws.iter().map(|(name, key, _)| (name.clone(), key.clone())).collect(), values })
}

fn refuse_doubles(dimensions: &[Dimension], faults: &mut Vec<Diagnostic>) {
    let mut seen = BTreeSet::new();
    for (name, place) in dimensions.iter().flat_map(|dimension| &dimension.keys) {
        if !seen.insert(name) {
            faults.push(Diagnostic::new(format!("`{name}` is swept twice")).place(place).label("once more here"));
        }
    }
    for dimension in dimensions.iter().filter(|dimension| dimension.keys.len() == 1) {
        let mut seen = BTreeSet::new();
        for value in dimension.values.iter().flatten().filter(|value| matches!(value.place, Place::File(_))) {
            // What is drawn twice is one trial; what is written twice is a mistake.
            let is_drawn = value.place == dimension.keys[0].1;
            if !seen.insert(value.json().to_string()) && !is_drawn {
                let fault = Diagnostic::new(format!("`{}` has this value twice", dimension.keys[0].0));
                faults.push(fault.place(&value.place).label("once more here"));
            }
        }
    }
}

/// Every combination, the first dimension slowest; each once.
fn cross(dimensions: &[Dimension]) -> Vec<Vec<Node>> {
    let mut trials = vec![Vec::new()];
    for dimension in dimensions {
        let extend = |trial: &Vec<Node>| -> Vec<Vec<Node>> {
            dimension.values.iter().map(|values| trial.iter().chain(values).cloned().collect()).collect()
        };
        trials = trials.iter().flat_map(extend).collect();
    }
    let mut seen = BTreeSet::new();
    trials.retain(|trial| seen.insert(trial.iter().map(|value| value.json().to_string()).collect::<Vec<_>>()));
    trials
}

/// Drops the trials that a condition does not hold for.
fn keep_where(keys: &[(String, Place)], trials: &mut Vec<Vec<Node>>, node: &Node, faults: &mut Vec<Diagnostic>) {
    let texts = match &node.data {
        Data::Text(_) => vec![node],
        Data::List(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    let before = faults.len();
    let mut conditions = Vec::new();
    for item in texts.iter().copied() {
        let Data::Text(text) = &item.data else {
            faults.push(Diagnostic::new("a condition must be a text").place(&item.place).label(item.data.sort()));
            continue;
        };
        match Condition::read(text) {
            Err(misread) => faults.push(misread_fault(&misread, item)),
            Ok(condition) => {
                for (name, span) in condition.names() {
                    if !keys.iter().any(|(key, _)| key == name) {
                        let message = format!("`{name}` is not swept here");
                        let fault = misread_fault(&Misread { span, message }, item).label("unknown name");
                        faults.push(fault.did_you_mean(name, keys.iter().map(|(key, _)| key.as_str())));
                    }
                }
                conditions.push((condition, item));
            }
        }
    }
    if texts.is_empty() {
        let fault = Diagnostic::new(format!("`where` is {}", node.data.sort())).place(&node.place);
        faults.push(fault.help("write `where = [\"batch_size * learning_rate < 0.1\"]`"));
    }
    if faults.len() > before {
        return;
    }
    trials.retain(|trial| {
        let value = |name: &str| {
            let at = keys.iter().position(|(key, _)| key == name)?;
            match &trial[at].data {
                Data::Integer(number) => Some(Value::Number(*number as f64)),
                Data::Float(number) => Some(Value::Number(*number)),
                Data::Text(text) => Some(Value::Text(text.clone())),
                Data::Bool(truth) => Some(Value::Truth(*truth)),
                Data::List(_) | Data::Table(_) => None,
            }
        };
        conditions.iter().all(|(condition, item)| {
            condition.holds(&value).unwrap_or_else(|misread| {
                faults.push(misread_fault(&misread, item));
                false
            })
        })
    });
    if faults.len() == before && trials.is_empty() {
        faults.push(Diagnostic::new("no trial is left").place(&node.place).label("holds for none of them"));
    }
}

/// The fault of a condition, with the caret under the faulty part where the text stands in the file as it is.
fn misread_fault(misread: &Misread, item: &Node) -> Diagnostic {
    let fault = Diagnostic::new(misread.message.clone()).label("in this condition");
    let length = if let Data::Text(text) = &item.data { text.len() } else { 0 };
    match &item.place {
        // Quotes alone are added: nothing was escaped.
        Place::File(span) if span.len() == length + 2 => {
            let start = span.start + 1;
            fault.place(&Place::File(start + misread.span.start..start + misread.span.end))
        }
        place => fault.place(place),
    }
}
