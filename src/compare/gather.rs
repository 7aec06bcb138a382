//! From results to configurations: which predictions belong together, what they are called, what each is held against.
//! Unaware of figures.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use pacer_stages::artifact::ArtifactType;
use pacer_stages::comparison::points::{self, Scored};
use pacer_stages::comparison::{Candidate, Training};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use serde_json::Value;

use crate::compare::basis::Figures;
use crate::compare::provenance::{Configuration, Provenance};
use crate::compare::{Question, Source};
use crate::digest::Digest;
use crate::key::encode;

/// Configurations that can be compared.
pub struct Candidates {
    /// The configurations with their predictions.
    pub candidates: Vec<Candidate>,
    /// The leaves of the records behind each, by its name.
    pub leaves: Vec<(String, BTreeMap<String, String>)>,
    /// What the figures of each training rest on.
    pub figures: Vec<Figures>,
    /// Where artifacts of each store come from.
    pub stores: Stores,
    /// What has to be said about the gathering.
    pub notes: Vec<String>,
}

/// The provenance of each store.
pub struct Stores(BTreeMap<PathBuf, Provenance>);

/// A model of a source.
struct Found {
    source: usize,
    model: String,
    configuration: Configuration,
    figures: Figures,
}

/// A configuration on its way to a candidate.
struct Group {
    found: Vec<Found>,
    name: String,
}

impl Stores {
    fn of(sources: &[Source]) -> Self {
        let mut beside: BTreeMap<PathBuf, (&Source, BTreeSet<Digest>)> = BTreeMap::new();
        for source in sources {
            let root = source.cache.store.root().to_owned();
            beside.entry(root).or_insert_with(|| (source, BTreeSet::new())).1.extend(&source.beside);
        }
        let read = |(root, (source, beside)): (PathBuf, (&Source, BTreeSet<Digest>))| {
            (root, Provenance::of(&source.cache, &beside))
        };
        Self(beside.into_iter().map(read).collect())
    }

    fn of_source(&self, source: &Source) -> &Provenance {
        &self.0[source.cache.store.root()]
    }

    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &Provenance> {
        self.0.values()
    }
}

/// Gathers configurations from results and the predictions of each by model.
pub fn gather(
    sources: &[Source],
    mut predictions: Vec<HashMap<String, Scored>>,
    question: &Question,
) -> Result<Candidates> {
    let stores = Stores::of(sources);
    let mut groups: Vec<Group> = Vec::new();
    // How often a training was found again, by where it stands first.
    let mut again: BTreeMap<String, usize> = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        let mut models: Vec<String> = predictions[at].keys().cloned().collect();
        models.sort_by_key(|model| natural(model));
        if let Some(asked) = &source.model {
            if !models.contains(asked) {
                bail!("`{}` scored no model `{asked}`; it scored: {}", source.label, models.join(", "));
            }
            models.retain(|model| model == asked);
        }
        for model in models {
            let found = found(at, source, model, stores.of_source(source));
            match groups.iter_mut().find(|group| group.found[0].configuration.id == found.configuration.id) {
                None => groups.push(Group { found: vec![found], name: String::new() }),
                Some(group) => group.take(found, &mut again),
            }
        }
    }
    let stands_once =
        |(model, n): (String, usize)| format!("`{model}` is the same in {} results, and stands here once", n + 1);
    let mut notes: Vec<String> = again.into_iter().map(stands_once).collect();
    name(&mut groups, sources);
    let against = against(&groups, sources, question)?;
    for (group, against) in groups.iter().zip(&against) {
        if against.is_none() && sources[group.found[0].source].operand > 0 && question.baseline.is_none() {
            notes.push(format!("`{}` has no namesake in `{}` and stands for itself", group.name, sources[0].label));
        }
    }
    let leaves = groups.iter().map(|group| (group.name.clone(), group.found[0].configuration.leaves.clone()));
    let leaves = leaves.collect();
    let figures = groups.iter().flat_map(|group| &group.found).map(|found| found.figures.clone()).collect();
    let candidates = groups.into_iter().zip(against).map(|(group, against)| {
        let training = |found: &Found| Training {
            name: found.figures.name.clone(),
            seed: found.configuration.seed,
            scored: predictions[found.source].remove(&found.model).expect("each model is found once"),
        };
        Candidate { trainings: group.found.iter().map(training).collect(), name: group.name, against }
    });
    Ok(Candidates { candidates: candidates.collect(), leaves, figures, stores, notes })
}

impl Group {
    /// Takes a training of the same configuration, unless it is one that is there already.
    fn take(&mut self, found: Found, again: &mut BTreeMap<String, usize>) {
        match self.found.iter().find(|other| other.configuration.seed == found.configuration.seed) {
            None => self.found.push(found),
            Some(other) => *again.entry(other.model.clone()).or_default() += 1,
        }
    }
}

/// The predictions of each source by model; a file that several share is read once for each.
///
/// Fails where a source holds none, or they cannot be read.
pub fn read_all(sources: &[Source]) -> Result<Vec<HashMap<String, Scored>>> {
    let read = |source: &Source| -> Result<HashMap<String, Scored>> {
        let of_type = |artifact: &&crate::cache::Artifact| artifact.artifact == ArtifactType::Predictions;
        let artifact = source.result.artifacts.iter().find(of_type);
        let artifact = artifact.with_context(|| format!("`{}` holds no predictions", source.label))?;
        let scored = points::read(&source.cache.blob(artifact)?)?;
        Ok(scored.into_iter().map(|scored| (scored.model.clone(), scored)).collect())
    };
    sources.into_par_iter().map(read).collect()
}

fn found(at: usize, source: &Source, model: String, provenance: &Provenance) -> Found {
    let record = &source.result.record;
    let digest = record["inputs"]["models"][&model].as_str().and_then(|digest| digest.parse::<Digest>().ok());
    let known = digest.and_then(|digest| provenance.configuration(&digest));
    let metrics = source.result.metrics.get(&model);
    let seed_told = metrics.and_then(|metrics| metrics["seed"].as_u64()).or_else(|| seed_of(&model));
    let is_added = metrics.is_some_and(|metrics| metrics["architecture"] == "constant");
    let mut configuration = known.unwrap_or_else(|| match is_added {
        // The constant that `evaluate` adds is that of the split, whatever the models beside it.
        true => Configuration { id: Digest::of(b"constant"), seed: None, leaves: BTreeMap::new() },
        false => {
            let own = provenance.configuration_of(&source.result);
            let id = Digest::of(format!("{} {}", own.id, without_seed(&model)).as_bytes());
            Configuration { id, seed: seed_told.or(own.seed), leaves: own.leaves }
        }
    });
    // The same model under another scoring is another row.
    let mut scoring = record.clone();
    if let Some(inputs) = scoring.get_mut("inputs").and_then(Value::as_object_mut) {
        inputs.remove("models");
    }
    if let Some(scoring) = scoring.as_object_mut() {
        scoring.remove("seed");
    }
    let ids = [configuration.id, Digest::of(&encode(&scoring))];
    configuration.id = Digest::of(ids.map(|id| id.hex()).concat().as_bytes());
    let figures = Figures::of(&model, metrics);
    Found { source: at, model, configuration, figures }
}

/// Gives each group and each training a name that no other has.
fn name(groups: &mut [Group], sources: &[Source]) {
    for group in groups.iter_mut() {
        let names: Vec<&str> = group.found.iter().map(|found| found.model.as_str()).collect();
        group.name = shared(&names);
    }
    let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
    for group in groups.iter_mut() {
        if names.iter().filter(|name| **name == group.name).count() > 1 {
            group.name = format!("{}:{}", sources[group.found[0].source].label, group.name);
        }
    }
    let models: Vec<String> = groups.iter().flat_map(|group| &group.found).map(|found| found.model.clone()).collect();
    for found in groups.iter_mut().flat_map(|group| &mut group.found) {
        let is_one_of_many = models.iter().filter(|model| **model == found.model).count() > 1;
        found.figures.name = match is_one_of_many {
            true => format!("{}:{}", sources[found.source].label, found.model),
            false => found.model.clone(),
        };
    }
}

/// What each group is held against.
fn against(groups: &[Group], sources: &[Source], question: &Question) -> Result<Vec<Option<usize>>> {
    let all_against = |baseline: usize| (0..groups.len()).map(|at| (at != baseline).then_some(baseline)).collect();
    if let Some(name) = &question.baseline {
        let is_it = |group: &Group| {
            group.name == *name || group.found.iter().any(|found| found.figures.name == *name || found.model == *name)
        };
        let found: Vec<usize> = (0..groups.len()).filter(|at| is_it(&groups[*at])).collect();
        let exact = found.iter().find(|at| groups[**at].name == *name);
        return match (exact, found.as_slice()) {
            (Some(at), _) | (None, [at]) => Ok(all_against(*at)),
            (None, []) => {
                let known: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
                bail!("there is no configuration `{name}` to be the baseline; there are: {}", known.join(", "))
            }
            (None, several) => {
                let names: Vec<_> = several.iter().map(|at| groups[*at].name.as_str()).collect();
                bail!("`{name}` may be any of {}: say which is the baseline", names.join(", "))
            }
        };
    }
    let several = sources.iter().any(|source| source.operand > 0);
    let versions = several && sources.iter().all(|source| source.model.is_none());
    let is_first = |group: &Group| sources[group.found[0].source].operand == 0;
    if versions {
        let base_name = |group: &Group| {
            let names: Vec<&str> = group.found.iter().map(|found| found.model.as_str()).collect();
            shared(&names)
        };
        let namesake = |at: usize| {
            let own = base_name(&groups[at]);
            let of_first = |other: &usize| is_first(&groups[*other]) && base_name(&groups[*other]) == own;
            (!is_first(&groups[at])).then(|| (0..groups.len()).find(of_first)).flatten()
        };
        let paired: Vec<Option<usize>> = (0..groups.len()).map(namesake).collect();
        if paired.iter().any(Option::is_some) {
            return Ok(paired);
        }
    }
    Ok(all_against(0))
}

/// The name of trainings that differ in their seeds: what their names share.
fn shared(names: &[&str]) -> String {
    let stripped: Vec<String> = names.iter().map(|name| without_seed(name)).collect();
    let first = match names.len() {
        1 => names[0],
        _ => stripped[0].as_str(),
    };
    if names.len() == 1 || stripped.iter().all(|name| *name == stripped[0]) {
        return first.to_owned();
    }
    let same = |at: &usize| names.iter().all(|name| name.as_bytes().get(*at) == names[0].as_bytes().get(*at));
    let length = (0..names[0].len()).take_while(same).count();
    let prefix = names[0].get(..length).unwrap_or_default().trim_end_matches(|c: char| !c.is_alphanumeric());
    if prefix.is_empty() { names[0].to_owned() } else { prefix.to_owned() }
}

/// A name without the coordinate `seed=…` of a sweep.
fn without_seed(name: &str) -> String {
    let Some((head, tail)) = name.split_once('[') else { return name.to_owned() };
    let Some((within, end)) = tail.rsplit_once(']') else { return name.to_owned() };
    let kept: Vec<&str> = within.split(',').filter(|coordinate| seed_in(coordinate).is_none()).collect();
    if kept.is_empty() { format!("{head}{end}") } else { format!("{head}[{}]{end}", kept.join(",")) }
}

/// The seed that a name tells as the coordinate of a sweep.
fn seed_of(name: &str) -> Option<u64> {
    let within = name.split_once('[')?.1.rsplit_once(']')?.0;
    within.split(',').find_map(seed_in)
}

fn seed_in(coordinate: &str) -> Option<u64> {
    let (name, value) = coordinate.split_once('=')?;
    let is_seed = name.trim().rsplit('.').next() == Some("seed");
    value.trim().parse().ok().filter(|_| is_seed)
}

/// A name cut into words and numbers, so that `batch_8` comes before `batch_16`.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let word = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let number = rest[word..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |at| word + at);
        pieces.push((rest[..word].to_owned(), rest[word..number].parse().unwrap_or(u64::MAX)));
        rest = &rest[number..];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trainings_that_differ_in_their_seeds_share_a_name() {
        assert_eq!(shared(&["lstm[batch=8,seed=1]", "lstm[batch=8,seed=2]"]), "lstm[batch=8]");
        assert_eq!(shared(&["lstm[seed=1]", "lstm[seed=22]"]), "lstm");
        assert_eq!(shared(&["lstm_1", "lstm_2", "lstm_10"]), "lstm");
        assert_eq!(shared(&["lstm[seed=1]"]), "lstm[seed=1]", "one alone keeps its name");
        assert_eq!(shared(&["one", "two"]), "one");
    }

    #[test]
    fn seeds_are_told_from_coordinates_of_a_sweep() {
        assert_eq!(seed_of("m[train.seed=7,x=1]"), Some(7));
        assert_eq!([seed_of("m_7"), seed_of("m[seeds=7]"), seed_of("m[seed=x]")], [None, None, None]);
    }

    #[test]
    fn numbers_in_names_are_ordered_as_numbers() {
        let mut names = ["batch_16", "constant", "batch_8", "batch_128", "a"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["a", "batch_8", "batch_16", "batch_128", "constant"]);
    }
}
