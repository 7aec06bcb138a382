//! Who divides, trains, chooses and scores, and what each model was trained and chosen under, by what stages read and
//! write. Unaware of what lies in the files and of what leaks.

use std::collections::BTreeSet;

use pacer_stages::artifact::ArtifactType;
use pacer_stages::leakage::Saw;
use pacer_stages::split::Part;

use crate::graph::{Graph, Input, Source, StageId};

/// A split and what it divides, by where they come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Division {
    /// The split.
    pub split: Source,
    /// The sequences: those that the stage reads that made the split; of a split from a file, those that its reader
    /// reads. None where nothing tells.
    pub sequences: Option<Source>,
}

/// How a model came to be, together with those that it went on from or was chosen among.
#[derive(Debug, Default)]
pub struct Lineage {
    /// What it saw of which splits.
    pub saw: BTreeSet<(Division, Saw)>,
    /// Why it may have seen more, where nobody can tell.
    pub untold: Option<String>,
}

impl Lineage {
    /// The lineage of a model, but for models that never came to be.
    pub fn of(graph: &Graph, model: &Source, gone: &BTreeSet<StageId>) -> Self {
        let mut lineage = Self::default();
        // Beyond what is gone there is nothing to follow, and nothing is followed twice.
        lineage.follow(graph, model, &mut gone.clone());
        lineage
    }

    fn follow(&mut self, graph: &Graph, model: &Source, done: &mut BTreeSet<StageId>) {
        let id = match model {
            Source::Output(id, _) => *id,
            Source::File(_) => return self.is_untold("nobody knows what a model from a file was trained on".into()),
        };
        if !done.insert(id) {
            return;
        }
        let divisions = divisions(graph, id);
        let before: Vec<&Input> = inputs(graph, id, ArtifactType::Model).collect();
        // What learns from sequences without a split may have learnt from any of them.
        let learns = before.is_empty() || inputs(graph, id, ArtifactType::Sequences).next().is_some();
        if divisions.is_empty() && learns {
            let name = &graph.stages[id].name;
            self.is_untold(format!("`{name}` makes a model and reads no split: nobody knows what it was trained on"));
        }
        self.saw.extend(divisions.into_iter().map(|division| (division, Saw::Training)));
        self.saw.extend(chosen_under(graph, id));
        before.into_iter().for_each(|input| self.follow(graph, &input.source, done));
    }

    fn is_untold(&mut self, why: String) {
        self.untold.get_or_insert(why);
    }
}

/// The splits whose figures a stage reads, through any stages that hand figures on.
fn chosen_under(graph: &Graph, id: StageId) -> BTreeSet<(Division, Saw)> {
    let is_data = |held: ArtifactType| {
        use ArtifactType::{Model, Sequences, Split, Workouts};
        matches!(held, Workouts | Sequences | Split | Model)
    };
    let figures = |id: StageId| {
        let inputs = graph.stages[id].inputs.iter();
        let inputs = inputs.filter(move |input| holds(graph, id, input).is_some_and(|held| !is_data(held)));
        inputs.filter_map(|input| producer(&input.source))
    };
    let (mut chosen, mut done, mut queue) = (BTreeSet::new(), BTreeSet::new(), figures(id).collect::<Vec<_>>());
    while let Some(at) = queue.pop() {
        if !done.insert(at) {
            continue;
        }
        match is_scoring(graph, at) {
            true => chosen.extend(divisions(graph, at).into_iter().map(|it| (it, Saw::Choice(part(graph, at))))),
            false => queue.extend(figures(at)),
        }
    }
    chosen
}

/// The splits that a stage reads.
pub fn divisions(graph: &Graph, id: StageId) -> BTreeSet<Division> {
    inputs(graph, id, ArtifactType::Split).map(|input| division(graph, id, &input.source)).collect()
}

/// A split that a stage reads.
pub fn division(graph: &Graph, reader: StageId, split: &Source) -> Division {
    let sequences = inputs(graph, producer(split).unwrap_or(reader), ArtifactType::Sequences).next();
    Division { split: split.clone(), sequences: sequences.map(|input| input.source.clone()) }
}

/// The stage behind a source; none behind a file.
pub const fn producer(source: &Source) -> Option<StageId> {
    match source {
        Source::Output(id, _) => Some(*id),
        Source::File(_) => None,
    }
}

/// The inputs of a stage that are of a type.
pub fn inputs(graph: &Graph, id: StageId, wanted: ArtifactType) -> impl Iterator<Item = &Input> {
    graph.stages[id].inputs.iter().filter(move |input| holds(graph, id, input) == Some(wanted))
}

/// What an input is; none of a file that may be anything.
fn holds(graph: &Graph, id: StageId, input: &Input) -> Option<ArtifactType> {
    match &input.source {
        Source::Output(producer, name) => {
            graph.stages[*producer].outputs.iter().find(|port| port.name == *name).map(|port| port.artifact)
        }
        Source::File(_) => match graph.stages[id].kind.input(input.slot)?.accepts {
            [only] => Some(*only),
            _ => None,
        },
    }
}

/// Whether a stage writes something of a type.
pub fn writes(graph: &Graph, id: StageId, wanted: ArtifactType) -> bool {
    graph.stages[id].outputs.iter().any(|port| port.artifact == wanted)
}

/// Whether a stage scores models.
pub fn is_scoring(graph: &Graph, id: StageId) -> bool {
    let reads = |wanted| inputs(graph, id, wanted).next().is_some();
    graph.stages[id].params.get("part").is_some() && reads(ArtifactType::Model) && reads(ArtifactType::Split)
}

/// Whether a search decides by the figures of a stage.
pub fn is_searched(graph: &Graph, id: StageId) -> bool {
    let written = graph.stages[id].written_name();
    graph.searches.iter().any(|search| search.stage == written)
}

/// The part that a stage scores; the test where it does not say.
pub fn part(graph: &Graph, id: StageId) -> Part {
    let named = graph.stages[id].params["part"].as_str();
    Part::ALL.into_iter().find(|part| Some(part.name()) == named).unwrap_or(Part::Test)
}
