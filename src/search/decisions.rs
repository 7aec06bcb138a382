//! What a search has decided, round by round, and whether that still rests on the figures of today. Unaware of graphs,
//! of stores and of running.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::search::{Observation, Point};

/// One decision and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The trials that had ended.
    pub seen: Vec<Observation>,
    /// The trials that come next.
    pub next: Vec<Point>,
}

/// A trial as it stands today.
#[derive(Clone, Debug, PartialEq)]
pub struct Today {
    /// Its values and its figure.
    pub observation: Observation,
    /// Whether it has ended, well or not.
    pub ended: bool,
}

/// How far decisions hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Whether a round holds cannot be told before these trials, all that came before it, have ended.
    Waits {
        /// The round; where there is no such round yet, the one that is to be decided.
        round: usize,
        /// The trials' places among those of today.
        trials: Vec<usize>,
    },
    /// The rounds before this one hold; it is to be decided from these, for the first time or, as it rests on other
    /// figures, again.
    Open {
        /// The round.
        round: usize,
        /// The trials that came before it.
        seen: Vec<Observation>,
    },
    /// Every round holds, and the last brought no trial: to decide again would bring the same.
    Stands,
}

/// Compares what each round rests on with the trials of today, and stops where these are not the same.
pub fn judge(rounds: &[Round], today: &[Today]) -> Judgement {
    for (at, round) in rounds.iter().enumerate() {
        let seen: BTreeMap<String, Option<f64>> = round.seen.iter().map(|it| (text(&it.point), it.figure)).collect();
        let next = rounds[at..].iter().flat_map(|round| &round.next).map(text);
        let later: BTreeSet<String> = next.filter(|point| !seen.contains_key(point)).collect();
        let is_before = |it: &Today| !later.contains(&text(&it.observation.point));
        let before: Vec<usize> = (0..today.len()).filter(|place| is_before(&today[*place])).collect();
        let observed = || before.iter().map(|place| &today[*place].observation);
        if before.iter().any(|place| !today[*place].ended) {
            return Judgement::Waits { round: at, trials: before };
        }
        let is_as_then = |it: &Observation| seen.get(&text(&it.point)) == Some(&it.figure);
        if before.len() != seen.len() || !observed().all(is_as_then) {
            return Judgement::Open { round: at, seen: observed().cloned().collect() };
        }
    }
    if today.iter().any(|it| !it.ended) {
        return Judgement::Waits { round: rounds.len(), trials: (0..today.len()).collect() };
    }
    // What was decided may be what was tried already, or what a condition leaves out.
    if rounds.last().is_some_and(|last| last.seen.len() == today.len()) {
        return Judgement::Stands;
    }
    Judgement::Open { round: rounds.len(), seen: today.iter().map(|it| it.observation.clone()).collect() }
}

fn text(point: &Point) -> String {
    Value::from(point.clone()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn point(rate: u64, epochs: u64) -> Point {
        vec![json!(rate), json!(epochs)]
    }

    fn observed(rate: u64, epochs: u64, figure: f64) -> Observation {
        Observation { point: point(rate, epochs), figure: Some(figure) }
    }

    /// Three trials of one epoch, of which the second went on to three.
    fn round() -> Round {
        let seen = vec![observed(1, 1, 5.0), observed(2, 1, 4.0), observed(3, 1, 6.0)];
        Round { seen, next: vec![point(2, 3)] }
    }

    fn ended(observations: &[Observation]) -> Vec<Today> {
        observations.iter().map(|it| Today { observation: it.clone(), ended: true }).collect()
    }

    #[test]
    fn a_round_holds_while_its_figures_are_those_of_today() {
        let all = [&round().seen[..], &[observed(2, 3, 3.0)]].concat();
        assert_eq!(judge(&[round()], &ended(&all)), Judgement::Open { round: 1, seen: all.clone() });
        let last = Round { seen: all.clone(), next: vec![point(2, 3)] };
        assert_eq!(judge(&[round(), last], &ended(&all)), Judgement::Stands);
        assert_eq!(judge(&[], &ended(&round().seen)), Judgement::Open { round: 0, seen: round().seen });
    }

    #[test]
    fn other_figures_and_other_trials_open_the_round_without_what_it_brought() {
        let mut all = [&round().seen[..], &[observed(2, 3, 3.0)]].concat();
        all[2].figure = Some(1.0);
        assert_eq!(judge(&[round()], &ended(&all)), Judgement::Open { round: 0, seen: all[..3].to_vec() });
        let mut failed = round();
        failed.seen[0].figure = None;
        assert_eq!(judge(&[failed], &ended(&round().seen)), Judgement::Open { round: 0, seen: round().seen });
        let some = Round { seen: round().seen[..2].to_vec(), ..round() };
        assert_eq!(judge(&[some], &ended(&round().seen)), Judgement::Open { round: 0, seen: round().seen });
    }

    #[test]
    fn a_round_waits_for_the_trials_before_it_and_for_no_others() {
        let mut today = ended(&[&round().seen[..], &[observed(2, 3, 3.0)]].concat());
        today[3].ended = false;
        assert_eq!(judge(&[round()], &today), Judgement::Waits { round: 1, trials: vec![0, 1, 2, 3] });
        today[0].ended = false;
        assert_eq!(judge(&[round()], &today), Judgement::Waits { round: 0, trials: vec![0, 1, 2] });
    }
}
