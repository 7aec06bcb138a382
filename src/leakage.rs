//! Checks that no model has seen what it is scored on, as data: from the graph before anything runs, from splits and
//! sequences as soon as these are there. Unaware of schedules and of the terminal.
//!
//! Stages are known by what they read and write, not by their kinds: a stage that writes a split divides, one that
//! writes a model trains or chooses, one that reads models and a split and names a part scores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pacer_stages::artifact::ArtifactType;
use pacer_stages::leakage::{self as data, Finding};
use pacer_stages::sequences::Sequences;
use pacer_stages::split::{Part, Split};
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Input, Source, StageId};

/// Words that no input may be called by.
const TARGETS: [&str; 6] = ["heart_rate", "heartrate", "hr", "bpm", "pulse", "target"];

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// No user is in several parts, unless the split is by time.
    Users,
    /// In a split by time, each user's workouts train before they test.
    TimeOrder,
    /// No workout is in two parts under two numbers.
    Duplicates,
    /// Weights and scaler were fitted on nothing that is scored.
    Seen,
    /// The heart rate is not among the inputs.
    Target,
    /// What chooses does not read figures of the test part.
    TestChooses,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing leaks.
    Tight,
    /// Something leaks.
    Leak,
    /// What it takes to tell is not there yet.
    NotChecked,
}

/// One check of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is checked.
    pub name: Name,
    /// The stage that it is about; of a model that is scored, `STAGE:MODEL`.
    pub about: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found, or why it could not be looked for.
    pub words: String,
    /// Why the pipeline says that a leak is meant.
    pub allowed: Option<String>,
}

/// A look at where an artifact lies; none while it is not made.
pub type Locate<'a> = &'a dyn Fn(StageId, &str) -> Option<PathBuf>;

impl Name {
    /// Every check, in the order in which they are told.
    pub const ALL: [Self; 6] =
        [Self::Users, Self::TimeOrder, Self::Duplicates, Self::Seen, Self::Target, Self::TestChooses];

    /// The name used in pipelines and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::TimeOrder => "time_order",
            Self::Duplicates => "duplicates",
            Self::Seen => "seen",
            Self::Target => "target",
            Self::TestChooses => "test_chooses",
        }
    }
}

impl Check {
    fn new(name: Name, about: impl Into<String>, verdict: Verdict, words: impl Into<String>, graph: &Graph) -> Self {
        let allowed = graph.allowed_leaks.get(name.name()).cloned().filter(|_| verdict == Verdict::Leak);
        Self { name, about: about.into(), verdict, words: words.into(), allowed }
    }

    fn found(name: Name, about: impl Into<String>, finding: Finding, graph: &Graph) -> Self {
        match finding {
            Ok(words) => Self::new(name, about, Verdict::Tight, words, graph),
            Err(words) => Self::new(name, about, Verdict::Leak, words, graph),
        }
    }

    /// Whether it must stop a run: a leak that the pipeline does not say is meant.
    pub fn stops(&self) -> bool {
        self.verdict == Verdict::Leak && self.allowed.is_none()
    }
}

/// All checks of the needed stages, as far as they can be made with the artifacts that are there.
pub fn checks(graph: &Graph, needed: &[bool], locate: Locate<'_>) -> Vec<Check> {
    let ids = || graph.order.iter().copied().filter(|id| needed[id.index()]);
    let mut checks = of_graph(graph, needed);
    checks
        .extend(ids().filter(|id| writes(graph, *id, ArtifactType::Split)).flat_map(|id| of_split(graph, id, locate)));
    checks.extend(ids().flat_map(|id| of_scoring(graph, id, locate)));
    checks.sort_by(|a, b| (a.name, &a.about).cmp(&(b.name, &b.about)));
    checks
}

/// The checks that the graph alone decides.
pub fn of_graph(graph: &Graph, needed: &[bool]) -> Vec<Check> {
    let mut checks = Vec::new();
    for id in graph.order.iter().copied().filter(|id| needed[id.index()]) {
        let stage = &graph.stages[id];
        if writes(graph, id, ArtifactType::Split) && stage.params["by"] == "workout" {
            let words = "split by workout: runs of one user stand in several parts";
            checks.push(Check::new(Name::Users, &stage.name, Verdict::Leak, words, graph));
        }
        checks.extend(named_target(graph, id));
        if is_scoring(graph, id) {
            checks.push(test_chooses(graph, id));
        }
    }
    checks
}

/// Whether a stage that names its inputs names the target.
fn named_target(graph: &Graph, id: StageId) -> Option<Check> {
    let stage = &graph.stages[id];
    let features = stage.params.get("features")?.as_array().filter(|features| !features.is_empty())?;
    let names = features.iter().filter_map(|feature| feature.as_str());
    let is_target = |name: &&str| {
        let word = |part: &str| TARGETS.contains(&part.to_lowercase().as_str());
        name.split(|c: char| !c.is_alphanumeric() && c != '_').any(word)
    };
    let finding = match names.clone().find(is_target) {
        Some(name) => Err(format!("the input `{name}` is the heart rate")),
        None => Ok(format!("none of {} inputs is named after the heart rate", names.count())),
    };
    Some(Check::found(Name::Target, &stage.name, finding, graph))
}

/// Whether something that trains or divides reads, through any stages, what a stage found on the test part.
fn test_chooses(graph: &Graph, id: StageId) -> Check {
    let stage = &graph.stages[id];
    if part(graph, id) != Part::Test {
        return Check::new(
            Name::TestChooses,
            &stage.name,
            Verdict::Tight,
            "it scores another part than the test",
            graph,
        );
    }
    let (mut seen, mut queue) = (BTreeSet::new(), vec![id]);
    let mut choosing = None;
    while let Some(at) = queue.pop() {
        for next in graph.consumers(at).filter(|next| seen.insert(*next)) {
            if writes(graph, next, ArtifactType::Model) || writes(graph, next, ArtifactType::Split) {
                choosing = choosing.or(Some(next));
            }
            queue.push(next);
        }
    }
    let finding = match choosing {
        Some(next) => Err(format!(
            "`{}` makes a model or a split of what was found on the test part: let it read the validation part",
            graph.stages[next].name
        )),
        None => Ok("nothing that trains or divides reads its figures".to_owned()),
    };
    Check::found(Name::TestChooses, &stage.name, finding, graph)
}

/// The checks of a split, from its file and that of the sequences that it divides.
pub fn of_split(graph: &Graph, id: StageId, locate: Locate<'_>) -> Vec<Check> {
    let name = &graph.stages[id].name;
    let rest = [Name::TimeOrder, Name::Duplicates, Name::Target];
    let not_checked = |names: &[Name], words: &str| {
        names.iter().map(|check| Check::new(*check, name, Verdict::NotChecked, words, graph)).collect::<Vec<_>>()
    };
    let Some(path) = output(graph, id, ArtifactType::Split).and_then(|artifact| locate(id, artifact)) else {
        return not_checked(&[&[Name::Users], rest.as_slice()].concat(), "the split is not made yet");
    };
    let split = match Split::read(&path) {
        Ok(split) => split,
        Err(error) => return not_checked(&[&[Name::Users], rest.as_slice()].concat(), &format!("{error:#}")),
    };
    let mut checks = vec![Check::found(Name::Users, name, data::users(&split), graph)];
    match sequences_of(graph, id, locate) {
        Ok(sequences) => {
            checks.push(Check::found(Name::TimeOrder, name, data::time_order(&split, &sequences), graph));
            checks.push(Check::found(Name::Duplicates, name, data::duplicates(&split, &sequences), graph));
            checks.push(Check::found(Name::Target, name, data::target(&sequences), graph));
        }
        Err(words) => checks.extend(not_checked(&rest, &words)),
    }
    checks
}

/// The checks of a stage that scores models: whether any of them has seen what it is scored on.
pub fn of_scoring(graph: &Graph, id: StageId, locate: Locate<'_>) -> Vec<Check> {
    if !is_scoring(graph, id) {
        return Vec::new();
    }
    let own = splits_of(graph, id);
    let mut checks = Vec::new();
    // Models that share their trainings' splits are looked at once.
    let mut known: BTreeMap<StageId, (Verdict, String)> = BTreeMap::new();
    for input in inputs(graph, id, ArtifactType::Model) {
        let Source::Output(model, _) = &input.source else { continue };
        let about = format!("{}:{}", graph.stages[id].name, input.name.as_deref().unwrap_or(input.slot));
        let others: Vec<StageId> = trained_under(graph, *model).difference(&own).copied().collect();
        let mut verdict =
            (Verdict::Tight, "trained, and its scaler fitted, under the split that it is scored under".to_owned());
        for other in others {
            let found = known.entry(other).or_insert_with(|| seen(graph, other, id, &own, locate));
            if verdict.0 != Verdict::Leak {
                verdict = found.clone();
            }
        }
        checks.push(Check::new(Name::Seen, about, verdict.0, verdict.1, graph));
    }
    checks
}

/// Whether what another split gave to training is scored here.
fn seen(
    graph: &Graph,
    other: StageId,
    scoring: StageId,
    own: &BTreeSet<StageId>,
    locate: Locate<'_>,
) -> (Verdict, String) {
    let read = |id: StageId| -> Result<(Split, Sequences), String> {
        let path = output(graph, id, ArtifactType::Split).and_then(|artifact| locate(id, artifact));
        let split = Split::read(&path.ok_or("a split is not made yet")?).map_err(|error| format!("{error:#}"))?;
        Ok((split, sequences_of(graph, id, locate)?))
    };
    let both = own
        .first()
        .ok_or_else(|| "it is scored under no split".to_owned())
        .and_then(|own| Ok((read(other)?, read(*own)?)));
    match both {
        Err(words) => (Verdict::NotChecked, words),
        Ok(((split, sequences), (own, own_sequences))) => {
            match data::seen((&split, &sequences), (&own, &own_sequences), part(graph, scoring)) {
                Ok(words) => (Verdict::Tight, words),
                Err(words) => (Verdict::Leak, words),
            }
        }
    }
}

/// The stages whose files the checks of a stage read: no check is whole before they have results.
pub fn basis(graph: &Graph, id: StageId) -> BTreeSet<StageId> {
    let mut splits = if divides(graph, id) { BTreeSet::from([id]) } else { splits_of(graph, id) };
    if is_scoring(graph, id) {
        splits.extend(producers(graph, id, ArtifactType::Model).flat_map(|model| trained_under(graph, model)));
    }
    let divided = splits.iter().flat_map(|split| producers(graph, *split, ArtifactType::Sequences));
    divided.chain(splits.iter().copied()).collect()
}

/// The splits behind the training of a model, also those of the models that it went on from.
fn trained_under(graph: &Graph, model: StageId) -> BTreeSet<StageId> {
    let mut splits = splits_of(graph, model);
    splits.extend(producers(graph, model, ArtifactType::Model).flat_map(|before| trained_under(graph, before)));
    splits
}

/// The stages whose splits a stage reads.
pub fn splits_of(graph: &Graph, id: StageId) -> BTreeSet<StageId> {
    producers(graph, id, ArtifactType::Split).collect()
}

fn sequences_of(graph: &Graph, id: StageId, locate: Locate<'_>) -> Result<Sequences, String> {
    let input = inputs(graph, id, ArtifactType::Sequences).next();
    let path = match input.map(|input| &input.source) {
        Some(Source::Output(producer, artifact)) => locate(*producer, artifact),
        Some(Source::File(path)) => Some(path.clone()),
        None => None,
    };
    let path = path.ok_or("the sequences that it divides are not at hand")?;
    Sequences::read(&path).map_err(|error| format!("{error:#}"))
}

/// The stages that a stage has its inputs of a type from.
fn producers(graph: &Graph, id: StageId, wanted: ArtifactType) -> impl Iterator<Item = StageId> {
    inputs(graph, id, wanted).filter_map(|input| match &input.source {
        Source::Output(producer, _) => Some(*producer),
        Source::File(_) => None,
    })
}

/// The inputs of a stage that are of a type.
fn inputs(graph: &Graph, id: StageId, wanted: ArtifactType) -> impl Iterator<Item = &Input> {
    graph.stages[id].inputs.iter().filter(move |input| match &input.source {
        Source::Output(producer, name) => {
            graph.stages[*producer].outputs.iter().any(|port| port.name == *name && port.artifact == wanted)
        }
        Source::File(_) => {
            graph.stages[id].kind.inputs.iter().any(|port| port.name == input.slot && port.accepts == [wanted])
        }
    })
}

/// Whether a stage divides workouts into parts.
pub fn divides(graph: &Graph, id: StageId) -> bool {
    writes(graph, id, ArtifactType::Split)
}

fn writes(graph: &Graph, id: StageId, wanted: ArtifactType) -> bool {
    output(graph, id, wanted).is_some()
}

fn output(graph: &Graph, id: StageId, wanted: ArtifactType) -> Option<&str> {
    graph.stages[id].outputs.iter().find(|port| port.artifact == wanted).map(|port| &*port.name)
}

/// Whether a stage scores models.
pub fn is_scoring(graph: &Graph, id: StageId) -> bool {
    let reads = |wanted| inputs(graph, id, wanted).next().is_some();
    graph.stages[id].params.get("part").is_some() && reads(ArtifactType::Model) && reads(ArtifactType::Split)
}

/// The part that a stage scores; the test where it does not say.
fn part(graph: &Graph, id: StageId) -> Part {
    let named = graph.stages[id].params["part"].as_str();
    Part::ALL.into_iter().find(|part| Some(part.name()) == named).unwrap_or(Part::Test)
}
