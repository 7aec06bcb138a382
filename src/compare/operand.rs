//! What the words of a comparison mean: stores, pipelines, runs, keys, stages, models and artifacts. Unaware of what
//! lies in them.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::digest::Digest;

/// One thing to compare, as it was named.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// The word, without a stage that other words share.
    pub text: String,
    /// The store that it lies in; none for the usual one.
    pub store: Option<PathBuf>,
    /// What the stage belongs to.
    pub place: Place,
    /// The stage; none where the place has but one that fits, or is a result.
    pub stage: Option<String>,
    /// The part of the stage's result.
    pub of: Of,
}

/// What a stage is looked up in.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A pipeline file: the results that a run of it would reuse.
    File(PathBuf),
    /// A run, by its id.
    Run(String),
    /// A result, by its key.
    Key(Digest),
}

/// The part of a result that is compared.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    /// Every model that it scored.
    AllModels,
    /// One model that it scored.
    Model(String),
    /// An artifact.
    Artifact(String),
}

/// A look at what a text names in a store: a place, or nothing.
pub type Look<'a> = &'a dyn Fn(Option<&PathBuf>, &str) -> Result<Option<Place>>;

/// Reads the words `[STORE//]PLACE[:STAGE[:MODEL]]`, `[STORE//]PLACE:STAGE.ARTIFACT` and `STAGE[:MODEL]`.
///
/// A word that names no place is a stage: of every place before it that has none yet, else another one of the last
/// place.
pub fn parse(words: &[String], look: Look<'_>) -> Result<Vec<Operand>> {
    let mut operands: Vec<Operand> = Vec::new();
    for word in words {
        if let Some(operand) = placed(word, look)? {
            operands.push(operand);
            continue;
        }
        let looks_like_a_file = word.contains('/') || word.ends_with(".toml");
        let Some(last) = operands.last().filter(|_| !looks_like_a_file) else {
            bail!("`{word}` is no pipeline file, no run and no key of a result: `pacer ls` lists the runs");
        };
        let (stage, of) = stage_and_part(word);
        if operands.iter().all(|operand| operand.stage.is_some() || matches!(operand.place, Place::Key(_))) {
            let operand = Operand { text: word.clone(), stage, of, ..last.clone() };
            operands.push(operand);
            continue;
        }
        for operand in operands.iter_mut().filter(|operand| operand.stage.is_none()) {
            (operand.stage, operand.of) = (stage.clone(), of.clone());
        }
    }
    Ok(operands)
}

/// A word that begins with a place.
fn placed(word: &str, look: Look<'_>) -> Result<Option<Operand>> {
    let (store, rest) = match word.split_once("//") {
        Some((store, rest)) if !store.is_empty() => (Some(PathBuf::from(store)), rest),
        _ => (None, word),
    };
    // A path may hold colons, so that the longest text which names a place is it.
    let ends = std::iter::once(rest.len()).chain(rest.rmatch_indices(':').map(|(at, _)| at));
    for end in ends {
        let Some(place) = look(store.as_ref(), &rest[..end])? else { continue };
        let tail = rest[end..].trim_start_matches(':');
        let (stage, of) = match (&place, tail) {
            (_, "") => (None, Of::AllModels),
            // A key is a stage's already.
            (Place::Key(_), tail) => match tail.strip_prefix('.') {
                Some(artifact) => (None, Of::Artifact(artifact.to_owned())),
                None => (None, Of::Model(tail.to_owned())),
            },
            (_, tail) => stage_and_part(tail),
        };
        return Ok(Some(Operand { text: word.to_owned(), store, place, stage, of }));
    }
    match store {
        None => Ok(None),
        Some(store) => bail!("`{}` has no pipeline, run or key of a result `{rest}`", store.display()),
    }
}

fn stage_and_part(text: &str) -> (Option<String>, Of) {
    let (name, rest) = text.split_at(stage_end(text));
    let of = match (rest.strip_prefix(':'), rest.strip_prefix('.')) {
        (Some(model), _) => Of::Model(model.to_owned()),
        (None, Some(artifact)) => Of::Artifact(artifact.to_owned()),
        (None, None) => Of::AllModels,
    };
    (Some(name.to_owned()), of)
}

/// Where the name of a stage ends; one that a sweep made holds its values in brackets.
fn stage_end(text: &str) -> usize {
    let within = match text.find(['[', ':', '.']) {
        Some(at) if text[at..].starts_with('[') => text[at..].find(']').map_or(text.len(), |end| at + end),
        _ => 0,
    };
    text[within..].find([':', '.']).map_or(text.len(), |at| within + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(store: Option<&PathBuf>, text: &str) -> Result<Option<Place>> {
        let key = Digest::of(b"");
        Ok(match text {
            "a.toml" | "b.toml" | "x:y.toml" => Some(Place::File(text.into())),
            "1-2" if store.is_none() => Some(Place::Run(text.into())),
            "abcd" => Some(Place::Key(key)),
            _ => None,
        })
    }

    /// Each operand in short.
    fn read(words: &str) -> Vec<String> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let told = |operand: Operand| {
            let place = match operand.place {
                Place::File(path) => path.display().to_string(),
                Place::Run(run) => format!("run {run}"),
                Place::Key(_) => "key".to_owned(),
            };
            let store = operand.store.map_or_else(String::new, |store| format!("{}: ", store.display()));
            let of = match operand.of {
                Of::AllModels => String::new(),
                Of::Model(model) => format!(" model {model}"),
                Of::Artifact(artifact) => format!(" artifact {artifact}"),
            };
            format!("{store}{place} {}{of}", operand.stage.unwrap_or_else(|| "-".into()))
        };
        parse(&words, &look).unwrap().into_iter().map(told).collect()
    }

    #[test]
    fn words_name_places_stages_models_and_artifacts() {
        assert_eq!(read("a.toml evaluate"), ["a.toml evaluate"]);
        assert_eq!(read("a.toml:evaluate"), ["a.toml evaluate"]);
        assert_eq!(
            read("a.toml evaluate:lstm evaluate:gru"),
            ["a.toml evaluate model lstm", "a.toml evaluate model gru"]
        );
        assert_eq!(read("a.toml b.toml evaluate"), ["a.toml evaluate", "b.toml evaluate"]);
        assert_eq!(read("1-2:evaluate:lstm[x=0.1] 1-2"), ["run 1-2 evaluate model lstm[x=0.1]", "run 1-2 -"]);
        assert_eq!(read("old//a.toml:e new//a.toml:e"), ["old: a.toml e", "new: a.toml e"]);
        assert_eq!(read("x:y.toml:filter.funnel a.toml:filter.funnel").len(), 2);
        assert_eq!(
            read("a.toml b.toml filter.funnel"),
            ["a.toml filter artifact funnel", "b.toml filter artifact funnel"]
        );
        assert_eq!(
            read("a.toml:e[x=0.5,y=1]:m[x=0.5] a.toml:e[x=0.5].table"),
            ["a.toml e[x=0.5,y=1] model m[x=0.5]", "a.toml e[x=0.5] artifact table"]
        );
        assert_eq!(read("abcd abcd:lstm abcd:.funnel"), ["key -", "key - model lstm", "key - artifact funnel"]);
    }

    #[test]
    fn a_word_that_names_nothing_says_what_it_could_be() {
        let told = |words: &[&str]| {
            parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &look).unwrap_err().to_string()
        };
        let expected = "`evaluate` is no pipeline file, no run and no key of a result: `pacer ls` lists the runs";
        assert_eq!(told(&["evaluate"]), expected);
        assert!(told(&["a.toml", "c.toml"]).starts_with("`c.toml` is no pipeline file"));
        assert_eq!(told(&["old//1-2"]), "`old` has no pipeline, run or key of a result `1-2`");
    }
}
