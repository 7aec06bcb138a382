//! Makes a stage for each trial of a sweep, and for each value that reaches a stage from above or below; what does not
//! depend on a swept value stays one stage. Works on stages as they are written, so that all that follows checks
//! trials like any other stage. Unaware of kinds' parameters.
//!
//! A swept parameter is an *axis*. A *variant* of a stage is a value for each axis that it depends on: those that it
//! sweeps itself, those of the sweeps below it that change it or what it reads, and those of the stages that it reads
//! one by one. Variants join naturally: two stages go together where they agree on all axes that both have.

mod axes;
mod reads;

use std::collections::{BTreeMap, HashMap};

use pacer_stages::kind::Kind;
use pacer_stages::kinds;

use crate::diagnostic::{Diagnostic, Place};
use crate::graph::Trial;
use crate::resolve::expand::axes::{Axes, Variant, join, project};
use crate::resolve::expand::reads::{Read, Way};
use crate::resolve::sweep::{self, MOST_STAGES, Sweep, Swept};
use crate::search::{EPOCHS, How, Point, Search};
use crate::spec::{Data, Entry, Node, Table};

/// A stage as it is written, its parameters put in.
pub struct Template {
    /// Its name.
    pub name: String,
    /// Where the name is written.
    pub place: Place,
    /// Its table.
    pub node: Node,
    /// The pipeline's parameters that it uses.
    pub uses: Vec<String>,
}

/// Inputs that a gathering entry was made into: by slot and name, the name of the entry as it is written.
pub type Gathered = HashMap<(String, String), String>;

/// A stage that is to be made of a template.
pub struct Expanded {
    /// The template, with the values of this stage.
    pub template: Template,
    /// Its own name.
    pub name: String,
    /// Which trial it is, if any.
    pub trial: Option<Trial>,
    /// What it gathers.
    pub gathered: Gathered,
}

impl Expanded {
    /// A stage that no sweep reaches.
    pub fn plain(template: Template) -> Self {
        Self { name: template.name.clone(), template, trial: None, gathered: Gathered::new() }
    }
}

/// Keys of a stage that change no result, or what it is.
const NO_PARAMETERS: [&str; 5] = ["kind", "inputs", "resources", "checkpoints", "sweep"];

/// Makes the stages of templates, in their order.
pub fn expand(
    mut templates: Vec<Template>,
    points: &BTreeMap<String, Vec<Point>>,
    faults: &mut Vec<Diagnostic>,
) -> (Vec<Expanded>, Vec<Search>) {
    let mut sweeps: Vec<_> = templates.iter_mut().map(|template| take_sweep(template, points, faults)).collect();
    let mut searches = sweeps.iter_mut().flatten().filter_map(|sweep| sweep.search.take()).collect::<Vec<_>>();
    if sweeps.iter().all(Option::is_none) {
        return (templates.into_iter().map(Expanded::plain).collect(), searches);
    }
    let by_name = templates.iter().enumerate().map(|(at, template)| (template.name.clone(), at)).collect();
    let reads: Vec<Vec<Read>> = templates.iter().map(|template| reads::of(template, &by_name)).collect();
    let mut whole = Whole { templates, by_name, reads, axes: Axes::default(), variants: Vec::new(), rungs: Vec::new() };
    searches.iter_mut().for_each(|search| search.written += &whole.written(&search.stage));
    let before = faults.len();
    let reached = whole.reached(&sweeps, faults);
    whole.rungs = rungs(&whole, &searches);
    if !whole.find_variants(reached, &sweeps, faults) || faults.len() > before {
        return (whole.templates.into_iter().map(Expanded::plain).collect(), searches);
    }
    (whole.make(faults), searches)
}

fn take_sweep(
    template: &mut Template,
    points: &BTreeMap<String, Vec<Point>>,
    faults: &mut Vec<Diagnostic>,
) -> Option<Sweep> {
    let Data::Table(table) = &mut template.node.data else { return None };
    let entry = table.shift_remove("sweep")?;
    let epochs = match table.get(EPOCHS).map(|entry| &entry.value.data) {
        Some(Data::Integer(epochs)) => u64::try_from(*epochs).ok(),
        _ => None,
    };
    let points = points.get(&template.name).map(Vec::as_slice).unwrap_or_default();
    sweep::read(&Swept { stage: &template.name, epochs, points }, &entry, faults)
}

/// The stages that are searched by halving, each with the axis of its rungs.
fn rungs(whole: &Whole, searches: &[Search]) -> Vec<(usize, usize)> {
    let halved = searches.iter().filter(|search| matches!(search.how, How::Halving { .. }));
    let axis = |search: &Search| {
        let stage = *whole.by_name.get(&search.stage)?;
        Some((stage, whole.axes.find(stage, EPOCHS)?))
    };
    halved.filter_map(axis).collect()
}

/// All templates and what reaches them.
struct Whole {
    templates: Vec<Template>,
    by_name: HashMap<String, usize>,
    reads: Vec<Vec<Read>>,
    axes: Axes,
    variants: Vec<Vec<Variant>>,
    /// Stages that are searched by halving, and their axes of epochs: who reads them reads the highest rung.
    rungs: Vec<(usize, usize)>,
}

/// Variants that sweeps ask of a stage, by the axes that they have.
type Asked = BTreeMap<Vec<usize>, Vec<Variant>>;

impl Whole {
    /// A stage and those above it as they are written, but for what changes no result.
    fn written(&self, stage: &str) -> String {
        let Some(above) = self.by_name.get(stage).map(|at| self.above(*at)) else { return String::new() };
        let mut written = String::new();
        for (template, _) in self.templates.iter().zip(above).filter(|(_, above)| *above) {
            let Data::Table(table) = &template.node.data else { continue };
            let counts = |(key, _): &(&String, &Entry)| !["resources", "checkpoints"].contains(&key.as_str());
            for (key, entry) in table.iter().filter(counts) {
                written.push_str(&format!("\n{}.{key} = {}", template.name, entry.value.json()));
            }
        }
        written
    }

    /// What each stage is asked for by the sweeps at it and below it.
    fn reached(&mut self, sweeps: &[Option<Sweep>], faults: &mut Vec<Diagnostic>) -> Vec<Asked> {
        let mut asked: Vec<Asked> = self.templates.iter().map(|_| Asked::new()).collect();
        for (owner, sweep) in sweeps.iter().enumerate() {
            let Some(sweep) = sweep else { continue };
            let above = self.above(owner);
            let targets: Vec<_> =
                sweep.keys.iter().filter_map(|(key, place)| self.target(owner, key, place, &above, faults)).collect();
            if targets.len() < sweep.keys.len() {
                continue;
            }
            let axes: Vec<_> = targets.iter().map(|(stage, path)| self.axes.axis(*stage, path)).collect();
            let trial = |trial: &Vec<Node>, all: &mut Axes| -> Variant {
                let mut variant: Variant =
                    axes.iter().zip(trial).map(|(axis, node)| (*axis, all.value(*axis, node))).collect();
                variant.sort_unstable();
                variant
            };
            let trials: Vec<Variant> = sweep.trials.iter().map(|it| trial(it, &mut self.axes)).collect();
            let below: Vec<_> = targets.iter().map(|(stage, _)| self.below(*stage)).collect();
            for stage in (0..self.templates.len()).filter(|at| above[*at]) {
                let depends = |(_, below): &(&usize, &Vec<bool>)| below[stage];
                let mut kept: Vec<_> = axes.iter().zip(&below).filter(depends).map(|(axis, _)| *axis).collect();
                kept.sort_unstable();
                if !kept.is_empty() {
                    project(&trials, &kept, asked[stage].entry(kept.clone()).or_default());
                }
            }
        }
        asked
    }

    /// The stage and the parameter of it that a key of a sweep means.
    fn target(
        &self,
        owner: usize,
        key: &str,
        place: &Place,
        above: &[bool],
        faults: &mut Vec<Diagnostic>,
    ) -> Option<(usize, String)> {
        let own = &self.templates[owner];
        let (stage, path) = match key.split_once('.') {
            Some((first, _)) if is_parameter(own, first) => (owner, key),
            Some((first, path)) if self.by_name.contains_key(first) => (self.by_name[first], path),
            _ => (owner, key),
        };
        let first = path.split('.').next().unwrap_or(path);
        let fault = if !above[stage] {
            let name = &self.templates[stage].name;
            let message = format!("`{}` does not read from `{name}`, so that its trials cannot vary it", own.name);
            Diagnostic::new(message).help(format!("sweep it in a stage that reads from `{name}`"))
        } else if NO_PARAMETERS.contains(&first) {
            Diagnostic::new(format!("`{first}` is no parameter that a sweep can vary"))
        } else {
            return Some((stage, path.to_owned()));
        };
        faults.push(fault.place(place).label("cannot be swept here"));
        None
    }

    /// Whether each stage is read by another, directly or not, or is that one.
    fn above(&self, stage: usize) -> Vec<bool> {
        let mut above = vec![false; self.templates.len()];
        let mut queue = vec![stage];
        while let Some(at) = queue.pop() {
            if !std::mem::replace(&mut above[at], true) {
                queue.extend(self.reads[at].iter().map(|read| read.producer));
            }
        }
        above
    }

    /// Whether each stage reads from another, directly or not, or is that one.
    fn below(&self, stage: usize) -> Vec<bool> {
        let consumers = self.consumers();
        let mut below = vec![false; self.templates.len()];
        let mut queue = vec![stage];
        while let Some(at) = queue.pop() {
            if !std::mem::replace(&mut below[at], true) {
                queue.extend(&consumers[at]);
            }
        }
        below
    }

    fn consumers(&self) -> Vec<Vec<usize>> {
        let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); self.templates.len()];
        for (consumer, reads) in self.reads.iter().enumerate() {
            reads.iter().for_each(|read| consumers[read.producer].push(consumer));
        }
        consumers
    }

    /// Producers before consumers; stages of a cycle, which is a fault told elsewhere, come last.
    fn order(&self) -> Vec<usize> {
        let mut waits: Vec<usize> = self.reads.iter().map(Vec::len).collect();
        let consumers = self.consumers();
        let mut order: Vec<usize> = (0..waits.len()).filter(|at| waits[*at] == 0).collect();
        let mut next = 0;
        while let Some(at) = order.get(next).copied() {
            next += 1;
            for consumer in &consumers[at] {
                waits[*consumer] -= 1;
                if waits[*consumer] == 0 {
                    order.push(*consumer);
                }
            }
        }
        order.extend((0..waits.len()).filter(|at| waits[*at] > 0));
        order
    }

    /// Joins what is asked of each stage with the variants of what it reads; whether there are not too many.
    fn find_variants(&mut self, asked: Vec<Asked>, sweeps: &[Option<Sweep>], faults: &mut Vec<Diagnostic>) -> bool {
        self.variants = vec![vec![Variant::new()]; self.templates.len()];
        let mut asked: Vec<_> = asked.into_iter().map(Some).collect();
        let mut made = 0_usize;
        for at in self.order() {
            let mut joined = vec![Variant::new()];
            let own = asked[at].take().into_iter().flat_map(BTreeMap::into_values);
            let read: Vec<_> = self.reads[at].iter().filter(|read| read.way == Way::One).collect();
            let read: Vec<_> = read.into_iter().map(|read| self.selected(read)).collect();
            for variants in own.chain(read) {
                joined = match join(&joined, &variants, MOST_STAGES) {
                    Ok(joined) => joined,
                    Err(count) => {
                        faults.push(self.too_many(at, count, sweeps));
                        return false;
                    }
                };
            }
            if joined.is_empty() {
                let message =
                    format!("no trial is left of `{}`: what it reads has no values in common", self.templates[at].name);
                faults.push(Diagnostic::new(message).place(&self.templates[at].place));
                return false;
            }
            made += if joined[0].is_empty() { 0 } else { joined.len() };
            if made > MOST_STAGES {
                faults.push(self.too_many(at, made, sweeps));
                return false;
            }
            self.variants[at] = joined;
        }
        true
    }

    fn too_many(&self, at: usize, count: usize, sweeps: &[Option<Sweep>]) -> Diagnostic {
        let own = sweeps[at].as_ref();
        let any = sweeps.iter().enumerate().find_map(|(at, sweep)| Some((at, sweep.as_ref()?)));
        let (owner, sweep) = own.map(|sweep| (at, sweep)).or(any).expect("only sweeps make more than one");
        sweep::too_many(&self.templates[owner].name, count, &sweep.place)
    }

    /// The variants of a producer that a reference means.
    fn selected(&self, read: &Read) -> Vec<Variant> {
        let rung = self.rungs.iter().find(|(stage, _)| *stage == read.producer).map(|(_, axis)| *axis);
        let epochs = |variant: &Variant| rung.and_then(|axis| self.axes.whole(axis, variant));
        let highest = self.variants[read.producer].iter().filter_map(epochs).max();
        let all = self.variants[read.producer].iter().filter(|variant| rung.is_none() || epochs(variant) == highest);
        all.filter(|variant| self.axes.meets(&self.templates, read.producer, variant, &read.selection))
            .cloned()
            .collect()
    }

    /// The stages of all variants.
    fn make(self, faults: &mut Vec<Diagnostic>) -> Vec<Expanded> {
        let mut stages = Vec::new();
        for (at, template) in self.templates.iter().enumerate() {
            for variant in &self.variants[at] {
                let mut node = template.node.clone();
                let mut gathered = Gathered::new();
                if let Data::Table(table) = &mut node.data {
                    self.put_in(at, variant, table, faults);
                    self.wire(at, variant, table, &mut gathered, faults);
                }
                let copy = Template {
                    name: template.name.clone(),
                    place: template.place.clone(),
                    node,
                    uses: template.uses.clone(),
                };
                let name = self.axes.name(&self.templates, at, variant);
                let coordinates = self.axes.coordinates(&self.templates, at, variant);
                let trial = (!variant.is_empty()).then(|| Trial { group: template.name.clone(), coordinates });
                stages.push(Expanded { template: copy, name, trial, gathered });
            }
        }
        stages
    }

    /// Gives a stage the values of its own axes.
    fn put_in(&self, at: usize, variant: &Variant, table: &mut Table, faults: &mut Vec<Diagnostic>) {
        for (axis, value) in variant.iter().filter(|(axis, _)| self.axes.stage(*axis) == at) {
            let (path, node) = (self.axes.path(*axis), self.axes.node(*axis, *value));
            if put(table, path, node).is_none() {
                let fault =
                    Diagnostic::new(format!("`{path}` cannot be set: what stands before its last dot is no table"));
                faults.push(fault.place(&node.place));
            }
        }
    }

    /// Writes the names of trials where stages are named.
    fn wire(
        &self,
        at: usize,
        variant: &Variant,
        table: &mut Table,
        gathered: &mut Gathered,
        faults: &mut Vec<Diagnostic>,
    ) {
        let Some(Data::Table(slots)) = table.get_mut("inputs").map(|entry| &mut entry.value.data) else { return };
        for read in &self.reads[at] {
            let producer = &self.templates[read.producer].name;
            let found: Vec<_> = self.selected(read).into_iter().filter(|other| axes::agree(variant, other)).collect();
            let name = |other: &Variant| self.axes.name(&self.templates, read.producer, other) + &read.artifact;
            let Some(first) = found.first() else {
                let fault = Diagnostic::new(format!("no trial of `{producer}` is meant by this")).place(&read.place);
                faults.push(fault.help(format!("`pacer sweep status FILE {producer}` lists its trials")));
                continue;
            };
            let text = |name: String| Node { place: read.place.clone(), data: Data::Text(name) };
            let Some(slot) = slots.get_mut(&read.slot) else { continue };
            let (Some(entry), Data::Table(entries)) = (&read.entry, &mut slot.value.data) else {
                slot.value = text(name(first));
                continue;
            };
            let Some(Entry { key, .. }) = entries.get(entry).cloned() else { continue };
            if read.way == Way::One {
                entries.insert(entry.clone(), Entry { key, value: text(name(first)) });
                continue;
            }
            if !first.is_empty() {
                entries.shift_remove(entry);
                for other in &found {
                    let own = self.axes.rest(&self.templates, read.producer, other, variant);
                    let named = format!("{entry}{own}");
                    gathered.insert((read.slot.clone(), named.clone()), entry.clone());
                    entries.insert(named, Entry { key: key.clone(), value: text(name(other)) });
                }
            }
        }
    }
}

fn kind_of(template: &Template) -> Option<&'static Kind> {
    let Data::Table(table) = &template.node.data else { return None };
    match &table.get("kind")?.value.data {
        Data::Text(name) => kinds::find(name),
        _ => None,
    }
}

/// Whether the kind of a stage has a parameter of this name.
fn is_parameter(template: &Template, name: &str) -> bool {
    kind_of(template).is_some_and(|kind| (kind.schema)().to_value()["properties"].get(name).is_some())
}

/// Puts a value at a dotted path, making the tables before it; `None` where something else stands in the way.
fn put(table: &mut Table, path: &str, node: &Node) -> Option<()> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(rest) = rest else {
        table.insert(first.to_owned(), Entry { key: node.place.clone(), value: node.clone() });
        return Some(());
    };
    let empty = || Entry {
        key: node.place.clone(),
        value: Node { place: node.place.clone(), data: Data::Table(Table::new()) },
    };
    match &mut table.entry(first.to_owned()).or_insert_with(empty).value.data {
        Data::Table(below) => put(below, rest, node),
        _ => None,
    }
}
