//! Runs that were: how each stands and the best error that it came to, read from summaries and journals. Gives data;
//! unaware of graphs and of the terminal.

use std::collections::HashMap;
use std::fs;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use pacer_stages::stage::Metrics;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::journal::{self, RunState, Summary};
use crate::store::Store;

/// A run that was, or is under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Past {
    /// What it came to.
    #[serde(flatten)]
    pub summary: Summary,
    /// How it stands.
    pub stands: Stands,
    /// Whether collections let it be.
    pub pinned: bool,
    /// The best error of its models, where there is one.
    pub best: Option<Best>,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stands {
    /// It is under way.
    Running,
    /// Its process went away before it ended.
    Killed,
    /// All its stages ended well.
    Done,
    /// A stage failed.
    Failed,
    /// It was interrupted.
    Interrupted,
}

/// The smallest mean absolute error of a run: on the validation part where there is one, else on the test part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    /// The mean absolute error, BPM.
    pub mae: f64,
    /// The part that it was scored on.
    pub part: String,
    /// Where the data came from: `recorded`, `synthetic` or `mixed`; none where the stage did not say.
    pub data: Option<String>,
    /// What kept train and test apart; none where the stage did not say.
    pub split: Option<String>,
    /// The stage that scored.
    pub stage: String,
    /// The model; none where the stage has but one.
    pub model: Option<String>,
}

/// Which runs are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of pipelines whose name or path holds this.
    pub pipeline: Option<String>,
    /// Those that stand so.
    pub stands: Option<Stands>,
    /// Those whose id is not before this beginning of one.
    pub since: Option<String>,
    /// The newest of them, so many; all where none is given.
    pub limit: Option<usize>,
}

/// What a stage of a run told of errors, by its key.
struct Told {
    /// Keys of stages that ran, with their errors.
    finished: Vec<(Digest, Option<Best>)>,
    /// Keys of stages that were reused, with the stages' names.
    reused: Vec<(Digest, String)>,
}

/// An event that names a key, as far as it is needed here.
#[derive(Deserialize)]
struct Ended {
    stage: String,
    key: Digest,
    #[serde(default)]
    metrics: Metrics,
}

impl Stands {
    /// The state in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Killed => "killed",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// How a run with this summary stands.
    pub fn of(store: &Store, summary: &Summary) -> Self {
        match summary.state {
            RunState::Begun if journal::is_alive(store, &summary.run) => Self::Running,
            // It may have ended between the two looks, in order.
            RunState::Begun => match journal::summary(store, &summary.run) {
                Some(last) if last.state != RunState::Begun => Self::of(store, &last),
                _ => Self::Killed,
            },
            RunState::Done => Self::Done,
            RunState::Failed => Self::Failed,
            RunState::Interrupted => Self::Interrupted,
        }
    }
}

/// The runs that are asked for, newest first, and how many more there are beyond the limit.
pub fn runs(cache: &Cache, filter: &Filter) -> (Vec<Past>, usize) {
    let store = &cache.store;
    let ids = journal::runs(store);
    let wanted = |id: &&String| filter.since.as_ref().is_none_or(|since| id.as_str() >= since.as_str());
    let ids: Vec<&String> = ids.iter().filter(wanted).collect();
    let summary = |id: &&String| {
        let summary = journal::summary(store, id)?;
        let stands = Stands::of(store, &summary);
        let named = |part: &String| summary.pipeline.contains(part) || summary.path.to_string_lossy().contains(part);
        let is_wanted =
            filter.pipeline.as_ref().is_none_or(named) && filter.stands.is_none_or(|wanted| wanted == stands);
        is_wanted.then_some((summary, stands))
    };
    let mut found: Vec<(Summary, Stands)> = ids.par_iter().filter_map(summary).collect();
    let more = found.len().saturating_sub(filter.limit.unwrap_or(usize::MAX));
    found.truncate(filter.limit.unwrap_or(usize::MAX));
    let told: Vec<Told> = found.par_iter().map(|(summary, _)| Told::of(store, &summary.run)).collect();
    let known = known(cache, &told);
    let past = |((summary, stands), told): ((Summary, Stands), Told)| {
        let pinned = journal::is_pinned(store, &summary.run);
        Past { summary, stands, pinned, best: told.best(&known) }
    };
    (found.into_iter().zip(told).map(past).collect(), more)
}

/// The beginning of the ids of runs that begin at a time: a day (2026-11-30, UTC) or an age (12h, 7d, 8w).
pub fn since(text: &str) -> Result<String, String> {
    const FORM: &str = "%Y%m%d-%H%M%S";
    if let Ok(day) = text.parse::<Date>() {
        return Ok(day.strftime("%Y%m%d-000000").to_string());
    }
    let wrong = || "must be a day such as 2026-11-30, or an age such as 12h, 7d or 8w".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let hours = match unit {
        'h' => number,
        'd' => number.saturating_mul(24),
        'w' => number.saturating_mul(24 * 7),
        _ => return Err(wrong()),
    };
    let span = 0.seconds().try_hours(hours.abs()).map_err(|_| wrong())?;
    let then = Timestamp::now().checked_sub(span).map_err(|_| wrong())?;
    Ok(then.strftime(FORM).to_string())
}

/// The minute of a run's start, which its id tells.
pub fn date(run: &str) -> String {
    let digits = |from: usize, to: usize| run.get(from..to).unwrap_or_default();
    let day = format!("{}-{}-{}", digits(0, 4), digits(4, 6), digits(6, 8));
    format!("{day} {}:{}", digits(9, 11), digits(11, 13))
}

/// The errors behind each key: as journals told them when it was made, else from its result.
fn known(cache: &Cache, told: &[Told]) -> HashMap<Digest, Option<Best>> {
    let mut known: HashMap<Digest, Option<Best>> =
        told.iter().flat_map(|told| &told.finished).map(|(key, best)| (*key, best.clone())).collect();
    let mut asked: HashMap<Digest, &String> = HashMap::new();
    for (key, stage) in told.iter().flat_map(|told| &told.reused).filter(|(key, _)| !known.contains_key(key)) {
        asked.insert(*key, stage);
    }
    let read = |(key, stage): (&Digest, &&String)| {
        (*key, cache.result(key).ok().and_then(|result| Best::of(stage, &result.metrics)))
    };
    let read: Vec<_> = asked.par_iter().map(read).collect();
    known.extend(read);
    known
}

impl Told {
    /// Reads the journal of a run. Most of its lines are of no interest, and are not taken apart.
    fn of(store: &Store, run: &str) -> Self {
        let text = fs::read(store.path("runs").join(run).join("journal.jsonl")).unwrap_or_default();
        let mut told = Self { finished: Vec::new(), reused: Vec::new() };
        for line in text.split(|byte| *byte == b'\n') {
            let begins = |event: &str| line.starts_with(format!("{{\"v\":1,\"event\":\"{event}\"").as_bytes());
            let ended = || serde_json::from_slice::<Ended>(line).ok();
            if begins("finished") {
                told.finished.extend(ended().map(|ended| (ended.key, Best::of(&ended.stage, &ended.metrics))));
            } else if begins("reused") {
                told.reused.extend(ended().map(|ended| (ended.key, ended.stage)));
            }
        }
        told
    }

    /// The best of all stages.
    fn best(&self, known: &HashMap<Digest, Option<Best>>) -> Option<Best> {
        let finished = self.finished.iter().filter_map(|(_, best)| best.clone());
        // The stage may have borne another name when it ran.
        let here = |stage: &String, best: Best| Best { stage: stage.clone(), ..best };
        let reused = self.reused.iter().filter_map(|(key, stage)| Some(here(stage, known.get(key)?.clone()?)));
        Best::among(finished.chain(reused))
    }
}

impl Best {
    /// The best error that a stage's figures tell.
    pub fn of(stage: &str, metrics: &Metrics) -> Option<Self> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let trained = metrics.get("validation_mae").and_then(Value::as_f64).map(|mae| Self {
            mae,
            part: "validation".into(),
            data: text(metrics.get("data")),
            split: text(metrics.get("split")),
            stage: stage.to_owned(),
            model: None,
        });
        let scored = metrics.iter().filter_map(|(model, figures)| {
            Some(Self {
                mae: figures.get("mae")?.as_f64()?,
                part: text(figures.get("part"))?,
                data: text(figures.get("data")),
                split: text(figures.get("split")),
                stage: stage.to_owned(),
                model: Some(model.clone()),
            })
        });
        Self::among(scored.chain(trained))
    }

    /// The smallest on the validation part; where none is on it, the smallest of all.
    fn among(all: impl Iterator<Item = Self>) -> Option<Self> {
        let rank = |best: &Self| (best.part != "validation", best.mae);
        all.min_by(|a, b| {
            let ((a_other, a), (b_other, b)) = (rank(a), rank(b));
            a_other.cmp(&b_other).then(a.total_cmp(&b))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn best(metrics: Value) -> Option<(f64, String, Option<String>)> {
        let best = Best::of("it", metrics.as_object().unwrap())?;
        Some((best.mae, best.part, best.model))
    }

    #[test]
    fn validation_goes_before_test() {
        let scored = json!({"a": {"mae": 5.0, "part": "test"}, "b": {"mae": 6.0, "part": "validation"}, "n": 3});
        assert_eq!(best(scored), Some((6.0, "validation".into(), Some("b".into()))));
        let test = json!({"a": {"mae": 5.0, "part": "test"}, "b": {"mae": 4.0, "part": "test"}});
        assert_eq!(best(test), Some((4.0, "test".into(), Some("b".into()))));
        assert_eq!(best(json!({"validation_mae": 9.5, "epochs": 3})), Some((9.5, "validation".into(), None)));
        assert_eq!(best(json!({"workouts": 3, "a": {"mae": 5.0}})), None);
    }

    #[test]
    fn an_error_says_what_it_rests_on_where_its_stage_did() {
        let basis = |metrics: Value| {
            let best = Best::of("it", metrics.as_object().unwrap()).unwrap();
            (best.data, best.split)
        };
        let told = |data: &str, split: &str| (Some(data.to_owned()), Some(split.to_owned()));
        let scored = json!({"a": {"mae": 5.0, "part": "test", "data": "mixed", "split": "time"}});
        assert_eq!(basis(scored), told("mixed", "time"));
        let trained = json!({"validation_mae": 9.5, "data": "synthetic", "split": "user"});
        assert_eq!(basis(trained), told("synthetic", "user"));
        assert_eq!(basis(json!({"validation_mae": 9.5})), (None, None));
    }

    #[test]
    fn a_day_or_an_age_is_the_beginning_of_an_id() {
        assert_eq!(since("2026-11-30"), Ok("20261130-000000".into()));
        let ago = since("7d").unwrap();
        assert!(ago.len() == 15 && ago < Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string(), "{ago}");
        for wrong in ["", "yesterday", "7", "7é", "99999999999999999d"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_date_stands_in_the_id() {
        assert_eq!(date("20261126-200431.575-32737"), "2026-11-26 20:04");
    }
}
