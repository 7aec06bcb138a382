//! What figures rest on, and whether they may be set side by side. Unaware of the figures themselves.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use pacer_stages::artifact::ArtifactType;
use serde::Serialize;
use serde_json::Value;

use crate::cache::StageResult;
use crate::compare::Source;
use crate::compare::gather::Stores;
use crate::digest::Digest;

/// What is said of a model's figures by the stage that scored it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The training's name.
    pub name: String,
    /// `recorded`, `synthetic` or `mixed`.
    pub data: Option<String>,
    /// What kept train and test apart.
    pub split: Option<String>,
    /// The part that was scored.
    pub part: Option<String>,
}

/// What all figures of a comparison rest on; none where the stage that scored did not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Basis {
    /// Where the data came from: `recorded`, `synthetic` or `mixed`; several where they differ.
    pub data: Vec<String>,
    /// What kept train and test apart; several where they differ.
    pub split: Vec<String>,
    /// The part that was scored; several where they differ.
    pub part: Vec<String>,
}

impl Figures {
    /// Reads them from a model's metrics.
    pub fn of(name: &str, metrics: Option<&Value>) -> Self {
        let text = |key: &str| metrics.and_then(|metrics| metrics.get(key)?.as_str()).map(str::to_owned);
        Self { name: name.to_owned(), data: text("data"), split: text("split"), part: text("part") }
    }
}

/// What all rest on, and what has to be said aloud.
///
/// Fails where splits or parts differ, for such figures answer different questions; unless the points that all have in
/// common were asked for, which is then told.
pub fn agreed(figures: &[Figures], common: bool) -> Result<(Basis, Vec<String>)> {
    let mut notes = Vec::new();
    for (what, of, remedy) in [
        (
            "split",
            (|it| it.split.as_ref()) as fn(&Figures) -> Option<&String>,
            "strangers and known users are two questions",
        ),
        ("part", |it| it.part.as_ref(), "choose on validation, report the test once"),
    ] {
        let Some(told) = mismatch(figures, what, of) else { continue };
        if !common {
            bail!("{told}: such figures cannot be set side by side, for {remedy}");
        }
        notes.push(format!("CAUTION: {told}; {remedy}"));
    }
    if let Some(told) = mismatch(figures, "data", |it| it.data.as_ref()) {
        notes.push(format!("CAUTION: {told}"));
    }
    let distinct = |of: fn(&Figures) -> Option<&String>| {
        figures.iter().filter_map(of).collect::<BTreeSet<_>>().into_iter().cloned().collect::<Vec<_>>()
    };
    let basis = Basis {
        data: distinct(|it| it.data.as_ref()),
        split: distinct(|it| it.split.as_ref()),
        part: distinct(|it| it.part.as_ref()),
    };
    if basis.data.iter().any(|data| data != "recorded") {
        notes.insert(0, "SYNTHETIC data: simulated runners, which say nothing about real hearts".to_owned());
    }
    Ok((basis, notes))
}

/// The first two that differ in what they rest on, in words.
fn mismatch(figures: &[Figures], what: &str, of: fn(&Figures) -> Option<&String>) -> Option<String> {
    let first = figures.iter().find(|figures| of(figures).is_some())?;
    let other = figures.iter().find(|other| of(other).is_some_and(|value| Some(value) != of(first)))?;
    let value = |figures| of(figures).map(String::as_str).unwrap_or_default();
    let what_is = match what {
        "split" => ["was scored under a split by ", " under one by "],
        "part" => ["was scored on the part ", " on the part "],
        _ => ["rests on data that is ", " on data that is "],
    };
    Some(format!("`{}` {}{}, `{}`{}{}", first.name, what_is[0], value(first), other.name, what_is[1], value(other)))
}

/// Configurations that were scored on the same part of the same splits as the sources, in all that their stores hold.
pub fn tried(sources: &[Source], stores: &Stores) -> usize {
    let asked: BTreeSet<_> = sources.iter().filter_map(|source| test_set(&source.result)).collect();
    let mut tried: BTreeSet<Digest> = BTreeSet::new();
    for provenance in stores.all() {
        for result in provenance.results() {
            if test_set(result).is_none_or(|set| !asked.contains(&set)) {
                continue;
            }
            let models = result.record["inputs"]["models"].as_object().into_iter().flatten();
            for digest in models.filter_map(|(_, digest)| digest.as_str()?.parse::<Digest>().ok()) {
                tried.insert(provenance.configuration(&digest).map_or(digest, |configuration| configuration.id));
            }
        }
    }
    tried.len()
}

/// The split, by its digest, and the part that a result scored models on.
fn test_set(result: &StageResult) -> Option<(String, String)> {
    let scores = result.artifacts.iter().any(|artifact| artifact.artifact == ArtifactType::Predictions);
    let split = result.record["inputs"]["split"].as_str().filter(|_| scores)?;
    Some((split.to_owned(), result.record["params"]["part"].to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str, data: &str, split: &str, part: &str) -> Figures {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Figures { name: name.into(), data: text(data), split: text(split), part: text(part) }
    }

    #[test]
    fn a_split_by_time_is_not_set_beside_one_by_user() {
        let both = [figures("a", "recorded", "user", "test"), figures("b", "recorded", "time", "test")];
        let told = agreed(&both, false).unwrap_err().to_string();
        let expected = "`a` was scored under a split by user, `b` under one by time: such figures cannot be set side by \
                        side, for strangers and known users are two questions";
        assert_eq!(told, expected);
        let (basis, notes) = agreed(&both, true).unwrap();
        assert_eq!(basis.split, ["time", "user"]);
        assert!(notes[0].starts_with("CAUTION: `a` was scored under a split by user"), "{notes:?}");
    }

    #[test]
    fn another_part_is_refused_and_other_data_is_told() {
        let both = [figures("a", "recorded", "user", "test"), figures("b", "recorded", "user", "validation")];
        assert!(
            agreed(&both, false).unwrap_err().to_string().contains("`a` was scored on the part test, `b` on the part")
        );
        let both = [figures("a", "recorded", "user", "test"), figures("b", "mixed", "user", "test")];
        let (_, notes) = agreed(&both, false).unwrap();
        let expected = [
            "SYNTHETIC data: simulated runners, which say nothing about real hearts",
            "CAUTION: `a` rests on data that is recorded, `b` on data that is mixed",
        ];
        assert_eq!(notes, expected);
    }

    #[test]
    fn what_is_not_said_is_no_mismatch() {
        let both = [figures("a", "recorded", "user", "test"), figures("b", "", "", "")];
        assert_eq!(agreed(&both, false).unwrap().1, Vec::<String>::new());
    }
}
