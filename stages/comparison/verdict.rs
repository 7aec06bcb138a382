//! The verdict on one difference, from what is known of it. Unaware of predictions, of names and of the terminal.

use serde::Serialize;

use crate::comparison::{Judged, Unit};
use crate::inference::{FEWEST_UNITS, LEVEL, Tail, differences_needed, sign_flip};

/// What can be said of a candidate beside its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its error is smaller.
    Better,
    /// Its error is larger.
    Worse,
    /// Its error is as large, give or take the margin.
    Same,
    /// None of these can be said.
    CannotTell,
}

impl Verdict {
    /// The verdict in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same within margin",
            Self::CannotTell => "cannot tell",
        }
    }
}

/// What the trainings of both sides allow to be said of other trainings.
#[derive(Clone, Debug, PartialEq)]
pub enum Seeds {
    /// Nothing is drawn at random on either side.
    NoneDrawn,
    /// Both sides have seeds, but none in common.
    NoneShared,
    /// The difference of the mean errors for each seed, BPM.
    Differences(Vec<f64>),
}

/// What is known of a difference of mean absolute errors, candidate − baseline.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Users, or workouts.
    pub units: usize,
    /// What they are.
    pub unit: Unit,
    /// The mean difference, BPM.
    pub mean: f64,
    /// Its interval by resampling units; none where they are too few.
    pub interval: Option<[f64; 2]>,
    /// What the seeds say.
    pub seeds: Seeds,
    /// Holm's p of the test over units and seeds together; none where there is no interval.
    pub p_holm: Option<f64>,
    /// Candidates that are tested together.
    pub tests: usize,
    /// What shall be judged.
    pub judged: Judged,
    /// Differences up to this count as none, BPM.
    pub margin: f64,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// What can be said.
    pub verdict: Verdict,
    /// Why no more can be said, each in a few words; empty for the other verdicts.
    pub because: Vec<String>,
    /// What would decide it.
    pub needs: Needs,
}

/// About how much more would decide; nothing where that cannot be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Users (or workouts) in all.
    pub units: Option<usize>,
    /// Seeds in all.
    pub seeds: Option<usize>,
}

/// The p of what the seeds say alone; none where they are not asked.
pub fn seeds_p(seeds: &Seeds, judged: Judged) -> Option<f64> {
    match (judged, seeds) {
        (Judged::Trainings, _) | (_, Seeds::NoneDrawn) => None,
        (_, Seeds::NoneShared) => Some(1.0),
        (_, Seeds::Differences(differences)) => Some(sign_flip(differences, Tail::Both)),
    }
}

impl Evidence {
    /// Judges the difference.
    pub fn judge(&self) -> Judgement {
        let decided = match self.interval {
            None => None,
            Some([low, high]) if low >= -self.margin && high <= self.margin && self.seeds_hold_margin() => {
                Some(Verdict::Same)
            }
            Some(_) if self.p_holm.is_none_or(|p| p > LEVEL) => None,
            Some(_) if seeds_p(&self.seeds, self.judged).is_some_and(|p| p > LEVEL) => None,
            Some([_, high]) if high < 0.0 => Some(Verdict::Better),
            Some([low, _]) if low > 0.0 => Some(Verdict::Worse),
            Some(_) => None,
        };
        match decided {
            Some(verdict) => Judgement { verdict, because: Vec::new(), needs: Needs::default() },
            None => self.undecided(),
        }
    }

    /// Whether the seeds, too, keep the difference within the margin.
    fn seeds_hold_margin(&self) -> bool {
        let Some(_) = seeds_p(&self.seeds, self.judged) else { return true };
        let Seeds::Differences(differences) = &self.seeds else { return false };
        let within = |sign: f64| {
            let room: Vec<f64> = differences.iter().map(|difference| self.margin + sign * difference).collect();
            room.iter().sum::<f64>() > 0.0 && sign_flip(&room, Tail::Upper) <= LEVEL / 2.0
        };
        within(1.0) && within(-1.0)
    }

    fn undecided(&self) -> Judgement {
        let (mut because, mut needs) = (Vec::new(), Needs::default());
        match self.interval {
            None => {
                because.push(format!("{}, and an interval takes {FEWEST_UNITS}", self.unit.count(self.units)));
                needs.units = Some(FEWEST_UNITS);
            }
            Some([low, high]) if low <= 0.0 && high >= 0.0 && (low < -self.margin || high > self.margin) => {
                because.push("the interval holds 0 and reaches beyond the margin".to_owned());
                needs.units = self.units_needed((high - low) / 2.0);
            }
            Some(_) => {}
        }
        self.ask_seeds(&mut because, &mut needs);
        let p = self.p_holm.filter(|_| because.is_empty());
        if let Some(p) = p.filter(|p| *p > LEVEL) {
            because.push(format!("its p is {p:.2} among {} candidates (Holm)", self.tests));
            needs.units = self.interval.and_then(|[low, high]| self.units_needed((high - low) / 2.0));
        }
        if because.is_empty() {
            because.push("the interval holds 0, and the seeds do not keep within the margin".to_owned());
        }
        Judgement { verdict: Verdict::CannotTell, because, needs }
    }

    fn ask_seeds(&self, because: &mut Vec<String>, needs: &mut Needs) {
        let Some(p) = seeds_p(&self.seeds, self.judged) else { return };
        let least = differences_needed(LEVEL / self.tests.max(1) as f64);
        match &self.seeds {
            Seeds::Differences(differences) if differences.len() < least => {
                because.push(self.too_few_seeds(differences.len()));
                needs.seeds = Some(least);
            }
            Seeds::Differences(differences) if p > LEVEL => {
                because.push(format!("the seeds disagree (p {p:.2})"));
                needs.seeds = self.seeds_needed(differences);
            }
            Seeds::NoneShared => {
                because.push("no seed is in both".to_owned());
                needs.seeds = Some(least);
            }
            Seeds::Differences(_) | Seeds::NoneDrawn => {}
        }
    }

    fn too_few_seeds(&self, n: usize) -> String {
        let smallest = 2f64.powi(1 - n as i32);
        let holm = match self.tests {
            0 | 1 => String::new(),
            tests => format!(", {:.2} by Holm among {tests} candidates", (smallest * tests as f64).min(1.0)),
        };
        let seeds = if n == 1 { "1 seed decides".to_owned() } else { format!("{n} seeds decide") };
        format!("{seeds} nothing (smallest p {smallest:.2}{holm})")
    }

    /// Units at which an interval of this half-width would leave 0, or keep within the margin, whichever is fewer:
    /// its width goes with the root of their number.
    fn units_needed(&self, half_width: f64) -> Option<usize> {
        let (off, room) = (self.mean.abs(), self.margin - self.mean.abs());
        let target = off.max(room);
        let needed = self.units as f64 * (half_width / target).powi(2);
        about(needed.max(self.units as f64 + 1.0))
    }

    /// Seeds at which the mean would be two standard errors from 0.
    fn seeds_needed(&self, differences: &[f64]) -> Option<usize> {
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let variance = differences.iter().map(|difference| (difference - mean).powi(2)).sum::<f64>() / (n - 1.0);
        about((4.0 * variance / mean.powi(2)).max(n + 1.0))
    }
}

/// A number rounded up to two digits; none where nobody would gather as many.
fn about(needed: f64) -> Option<usize> {
    const MOST: f64 = 1e6;
    let unit = 10f64.powf(needed.log10().floor() - 1.0).max(1.0);
    (needed <= MOST).then(|| ((needed / unit).ceil() * unit) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(mean: f64, half: f64, seeds: Seeds) -> Evidence {
        Evidence {
            units: 60,
            unit: Unit::User,
            mean,
            interval: Some([mean - half, mean + half]),
            seeds,
            p_holm: Some(if mean.abs() > half { 0.001 } else { 0.4 }),
            tests: 1,
            judged: Judged::Configurations,
            margin: 0.25,
        }
    }

    fn judged(evidence: &Evidence) -> (Verdict, String, Needs) {
        let Judgement { verdict, because, needs } = evidence.judge();
        (verdict, because.join("; "), needs)
    }

    fn needs(units: Option<usize>, seeds: Option<usize>) -> Needs {
        Needs { units, seeds }
    }

    #[test]
    fn an_interval_on_one_side_of_zero_decides_where_nothing_was_drawn() {
        assert_eq!(judged(&evidence(-2.0, 1.0, Seeds::NoneDrawn)).0, Verdict::Better);
        assert_eq!(judged(&evidence(2.0, 1.0, Seeds::NoneDrawn)).0, Verdict::Worse);
        assert_eq!(judged(&evidence(0.1, 0.14, Seeds::NoneDrawn)).0, Verdict::Same);
        assert_eq!(judged(&evidence(0.2, 0.04, Seeds::NoneDrawn)).0, Verdict::Same, "a difference that nobody feels");
    }

    #[test]
    fn an_interval_about_zero_tells_how_many_users_would_decide() {
        let told = judged(&evidence(-0.5, 1.0, Seeds::NoneDrawn));
        let because = "the interval holds 0 and reaches beyond the margin";
        assert_eq!(told, (Verdict::CannotTell, because.to_owned(), needs(Some(240), None)));
        // Nearer to 0 than to the margin: to keep within it takes fewer users than to leave 0.
        let told = judged(&evidence(0.05, 0.5, Seeds::NoneDrawn));
        assert_eq!(told.2, needs(Some(380), None));
    }

    #[test]
    fn three_seeds_decide_nothing_and_six_that_agree_do() {
        let with = |differences: &[f64]| Seeds::Differences(differences.to_vec());
        let told = judged(&evidence(-2.0, 1.0, with(&[-2.0, -2.1, -1.9])));
        let because = "3 seeds decide nothing (smallest p 0.25)";
        assert_eq!(told, (Verdict::CannotTell, because.to_owned(), needs(None, Some(6))));
        let six = [-2.0, -2.1, -1.9, -2.0, -1.8, -2.2];
        assert_eq!(judged(&evidence(-2.0, 1.0, with(&six))).0, Verdict::Better);
        let told =
            judged(&Evidence { p_holm: Some(0.09), ..evidence(-0.3, 0.2, with(&[-1.0, 0.5, -1.5, 0.9, -0.9, 0.2])) });
        assert_eq!((told.0, told.1.as_str()), (Verdict::CannotTell, "the seeds disagree (p 0.50)"));
        assert!(told.2.seeds.is_some_and(|seeds| seeds > 6), "{told:?}");
        let told = judged(&Evidence { judged: Judged::Trainings, ..evidence(-2.0, 1.0, with(&[-2.0])) });
        assert_eq!(told.0, Verdict::Better, "of these very trainings, one says enough");
    }

    #[test]
    fn seeds_without_a_pair_decide_nothing() {
        let told = judged(&evidence(-2.0, 1.0, Seeds::NoneShared));
        assert_eq!(told, (Verdict::CannotTell, "no seed is in both".to_owned(), needs(None, Some(6))));
    }

    #[test]
    fn the_same_within_the_margin_must_hold_over_seeds_too() {
        let with = |differences: &[f64]| evidence(0.0, 0.2, Seeds::Differences(differences.to_vec()));
        assert_eq!(judged(&with(&[0.1, -0.1, 0.05, -0.05, 0.0, 0.02])).0, Verdict::Same);
        assert_eq!(judged(&with(&[0.1, -0.1, 0.0])).0, Verdict::CannotTell);
        assert_eq!(judged(&with(&[0.6, -0.6, 0.5, -0.5, 0.0, 0.02])).0, Verdict::CannotTell);
    }

    #[test]
    fn few_users_give_no_interval_and_several_candidates_ask_for_more() {
        let told =
            judged(&Evidence { units: 4, interval: None, p_holm: None, ..evidence(-2.0, 1.0, Seeds::NoneDrawn) });
        let because = "4 users, and an interval takes 10";
        assert_eq!(told, (Verdict::CannotTell, because.to_owned(), needs(Some(10), None)));
        let told = judged(&Evidence { tests: 5, p_holm: Some(0.08), ..evidence(-2.0, 1.9, Seeds::NoneDrawn) });
        assert_eq!((told.0, told.1.as_str()), (Verdict::CannotTell, "its p is 0.08 among 5 candidates (Holm)"));
        let six = Seeds::Differences(vec![-2.0; 6]);
        let told = judged(&Evidence { tests: 4, p_holm: Some(0.125), ..evidence(-2.0, 1.0, six) });
        assert_eq!(told.2.seeds, Some(8), "among four candidates, six seeds are not enough");
    }
}
