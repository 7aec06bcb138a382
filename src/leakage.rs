//! Checks that no model has seen what it is scored on, as data: from the graph before anything runs, from splits and
//! sequences as soon as these are there. Unaware of schedules and of the terminal.
//!
//! Stages are known by what they read and write, not by their kinds: a stage that writes a split divides, one that
//! writes a model trains or chooses, one that reads models and a split and names a part scores. [`lineage`] knows who
//! was trained under what, [`evidence`] what lies in the files.

pub mod evidence;
pub mod lineage;

use std::collections::{BTreeMap, BTreeSet};

use pacer_stages::artifact::ArtifactType;
use pacer_stages::leakage::{Finding, Saw};
use pacer_stages::split::Part;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Input, Source, StageId};
use crate::leakage::evidence::{Divided, Evidence, Found};
use crate::leakage::lineage::{
    Division, Lineage, division, divisions, inputs, is_scoring, is_searched, part, producer, writes,
};

/// Words that no input may be called by.
const TARGETS: [&str; 6] = ["heart_rate", "heartrate", "hr", "bpm", "pulse", "target"];

/// What is checked of a split.
const SPLIT: [Name; 4] = [Name::Users, Name::TimeOrder, Name::Duplicates, Name::Target];

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
    /// What it takes to tell is not there.
    NotChecked,
}

/// What it takes to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Files that are not made yet, or not here.
    Data,
    /// How a model was made, which no file tells.
    Lineage,
}

/// One check of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is checked.
    pub name: Name,
    /// The stage that it is about; of a model that is scored, `STAGE:MODEL`; of an input that no split of a stage
    /// covers, `STAGE.INPUT`.
    pub about: String,
    /// What it came to.
    pub verdict: Verdict,
    /// What was found, or why it could not be looked for.
    pub words: String,
    /// What it takes to tell, where it was not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Lack>,
    /// Why the pipeline says that a leak is meant.
    pub allowed: Option<String>,
}

/// What is checked by its data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A split with the sequences that it divides.
    Split(Division),
    /// Sequences that a stage reads beside a split that divides others.
    Sequences(Source),
    /// A stage that scores models.
    Scoring(StageId),
}

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
        Self { name, about: about.into(), verdict, words: words.into(), lacks: None, allowed }
    }

    fn found(name: Name, about: impl Into<String>, finding: Finding, graph: &Graph) -> Self {
        match finding {
            Ok(words) => Self::new(name, about, Verdict::Tight, words, graph),
            Err(words) => Self::new(name, about, Verdict::Leak, words, graph),
        }
    }

    /// A check by data, which may lack it.
    fn looked(name: Name, about: &str, found: Found, graph: &Graph) -> Self {
        match found {
            Ok(finding) => Self::found(name, about, finding, graph),
            Err(words) => Self { lacks: Some(Lack::Data), ..Self::new(name, about, Verdict::NotChecked, words, graph) },
        }
    }

    /// Whether it must stop a run: a leak that the pipeline does not say is meant.
    pub fn stops(&self) -> bool {
        self.verdict == Verdict::Leak && self.allowed.is_none()
    }

    /// The gravest of several checks of one thing is what they come to.
    const fn gravity(&self) -> u8 {
        match (self.verdict, self.lacks) {
            (Verdict::Tight, _) => 0,
            (Verdict::NotChecked, None | Some(Lack::Data)) => 1,
            (Verdict::NotChecked, Some(Lack::Lineage)) => 2,
            (Verdict::Leak, _) => 3,
        }
    }
}

/// All checks of the needed stages, as far as they can be made with the artifacts that are there.
pub fn checks(graph: &Graph, needed: &[bool], evidence: &Evidence<'_>) -> Vec<Check> {
    let mut checks = of_graph(graph, needed);
    for (subject, about) in all_subjects(graph, needed) {
        checks.extend(of_subject(graph, &subject, &about, evidence));
    }
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
    let (mut seen, mut queue) = (BTreeSet::from([id]), vec![id]);
    let mut choosing = None;
    while let Some(at) = queue.pop() {
        choosing = choosing.or_else(|| chooses(graph, at));
        queue.extend(graph.consumers(at).filter(|next| seen.insert(*next)));
    }
    let finding = match choosing {
        Some(words) => Err(format!("{words} of what was found on the test part: let it read the validation part")),
        None => Ok("nothing that trains or divides reads its figures".to_owned()),
    };
    Check::found(Name::TestChooses, &stage.name, finding, graph)
}

/// How a stage uses figures to choose, where it does.
fn chooses(graph: &Graph, id: StageId) -> Option<String> {
    let name = &graph.stages[id].name;
    let makes = writes(graph, id, ArtifactType::Model) || writes(graph, id, ArtifactType::Split);
    let makes = makes.then(|| format!("`{name}` makes a model or a split"));
    let searched = graph.stages[id].written_name();
    makes.or_else(|| is_searched(graph, id).then(|| format!("the search of `{searched}` makes further trials")))
}

/// What is checked by its data of the needed stages, each once, with what its checks are about.
pub fn all_subjects(graph: &Graph, needed: &[bool]) -> BTreeMap<Subject, String> {
    let mut all = BTreeMap::new();
    for id in graph.order.iter().copied().filter(|id| needed[id.index()]) {
        for (subject, about) in made_by(graph, id).into_iter().chain(subjects(graph, id)) {
            all.entry(subject).or_insert(about);
        }
    }
    all
}

/// The splits that a stage makes, whoever reads them.
fn made_by(graph: &Graph, id: StageId) -> Vec<(Subject, String)> {
    let stage = &graph.stages[id];
    let splits = stage.outputs.iter().filter(|port| port.artifact == ArtifactType::Split);
    let split = |name: &str| division(graph, id, &Source::Output(id, name.to_owned()));
    splits.map(|port| (Subject::Split(split(&port.name)), stage.name.clone())).collect()
}

/// What must be checked by its data for what a stage makes to be believed, with what the checks are about.
pub fn subjects(graph: &Graph, id: StageId) -> Vec<(Subject, String)> {
    let name = &graph.stages[id].name;
    let of = |input: &Input| format!("{name}.{}", input.name.as_deref().unwrap_or(input.slot));
    let mut subjects = Vec::new();
    for input in inputs(graph, id, ArtifactType::Split) {
        let about = producer(&input.source).map_or_else(|| of(input), |id| graph.stages[id].name.clone());
        subjects.push((Subject::Split(division(graph, id, &input.source)), about));
    }
    if subjects.is_empty() {
        return subjects;
    }
    let divided: BTreeSet<Source> = divisions(graph, id).into_iter().filter_map(|it| it.sequences).collect();
    let others = inputs(graph, id, ArtifactType::Sequences).filter(|input| !divided.contains(&input.source));
    subjects.extend(others.map(|input| (Subject::Sequences(input.source.clone()), of(input))));
    subjects.extend(is_scoring(graph, id).then(|| (Subject::Scoring(id), name.clone())));
    subjects
}

/// The stages whose files the checks of something read: none is whole before these have results or are gone.
pub fn basis(graph: &Graph, subject: &Subject, gone: &BTreeSet<StageId>) -> BTreeSet<StageId> {
    let divisions: BTreeSet<Division> = match subject {
        Subject::Sequences(source) => return producer(source).into_iter().collect(),
        Subject::Split(division) => BTreeSet::from([division.clone()]),
        Subject::Scoring(id) => {
            let models = inputs(graph, *id, ArtifactType::Model);
            let saw = models.flat_map(|model| Lineage::of(graph, &model.source, gone).saw);
            saw.map(|(division, _)| division).chain(divisions(graph, *id)).collect()
        }
    };
    let sources = divisions.iter().flat_map(|it| std::iter::once(&it.split).chain(&it.sequences));
    sources.filter_map(producer).filter(|id| !gone.contains(id)).collect()
}

/// The checks of something by its data, each by its name and what it is about.
pub fn places(graph: &Graph, subject: &Subject, about: &str) -> BTreeSet<(Name, String)> {
    match subject {
        Subject::Split(_) => SPLIT.map(|name| (name, about.to_owned())).into(),
        Subject::Sequences(_) => BTreeSet::from([(Name::Target, about.to_owned())]),
        Subject::Scoring(id) => {
            scored_models(graph, *id, &BTreeSet::new()).map(|(_, about)| (Name::Seen, about)).collect()
        }
    }
}

/// The checks of something by its data.
pub fn of_subject(graph: &Graph, subject: &Subject, about: &str, evidence: &Evidence<'_>) -> Vec<Check> {
    match subject {
        Subject::Sequences(source) => vec![Check::looked(Name::Target, about, evidence.target(source), graph)],
        Subject::Scoring(id) => of_scoring(graph, *id, evidence),
        Subject::Split(division) => {
            let divided = evidence.divided(division);
            let found = [divided.users(), divided.time_order(), divided.duplicates(), divided.target()];
            SPLIT.into_iter().zip(found).map(|(name, found)| Check::looked(name, about, found, graph)).collect()
        }
    }
}

/// The checks of a stage that scores models: whether any of them has seen what it is scored on.
fn of_scoring(graph: &Graph, id: StageId, evidence: &Evidence<'_>) -> Vec<Check> {
    let own = divisions(graph, id);
    let scored = own.first().map(|own| evidence.divided(own));
    let own: BTreeSet<&Source> = own.iter().map(|own| &own.split).collect();
    // Models that share their trainings' splits are looked at once.
    let mut known = BTreeMap::new();
    let mut look = |saw: (Division, Saw), scored: &Divided<'_>| -> Found {
        let look = |(division, saw): &(Division, Saw)| evidence.divided(division).seen(*saw, scored, part(graph, id));
        known.entry(saw).or_insert_with_key(look).clone()
    };
    let mut checks = Vec::new();
    for (input, about) in scored_models(graph, id, evidence.gone) {
        let lineage = Lineage::of(graph, &input.source, evidence.gone);
        let tight = || "trained, and its scaler fitted, under the split that it is scored under".to_owned();
        let mut check = match lineage.untold {
            None => Check::new(Name::Seen, about, Verdict::Tight, tight(), graph),
            Some(words) => {
                Check { lacks: Some(Lack::Lineage), ..Check::new(Name::Seen, about, Verdict::NotChecked, words, graph) }
            }
        };
        for saw in lineage.saw.into_iter().filter(|(division, _)| !own.contains(&division.split)) {
            let Some(scored) = &scored else { continue };
            let found = Check::looked(Name::Seen, &check.about, look(saw, scored), graph);
            // Of two alike the later tells more.
            if found.gravity() >= check.gravity() {
                check = found;
            }
        }
        checks.push(check);
    }
    checks
}

/// The models that a stage scores, each with what its check is about.
fn scored_models<'a>(
    graph: &'a Graph,
    id: StageId,
    gone: &BTreeSet<StageId>,
) -> impl Iterator<Item = (&'a Input, String)> {
    // A trial that failed is gathered by nobody.
    let is_there = |input: &&Input| producer(&input.source).is_none_or(|id| !gone.contains(&id));
    let about =
        move |input: &Input| format!("{}:{}", graph.stages[id].name, input.name.as_deref().unwrap_or(input.slot));
    inputs(graph, id, ArtifactType::Model).filter(is_there).map(move |input| (input, about(input)))
}
