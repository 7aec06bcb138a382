//! Ranks configurations that were each tried several times, and says whether their order is more than noise. Unaware
//! of what was tried and of where the figures come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A difference of fewer standard errors than this is no more than noise.
const TOLD_APART: f64 = 2.0;

/// Figures of which more is better, where nothing else is said.
const HIGHEST: [&str; 4] = ["r2", "skill", "accuracy", "coverage"];

/// Which figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The lowest, as of errors.
    Lowest,
    /// The highest, as of skill.
    Highest,
}

impl Better {
    /// What is better of a figure, judged by its name.
    pub fn of(metric: &str) -> Self {
        if HIGHEST.contains(&metric) { Self::Highest } else { Self::Lowest }
    }

    /// A figure turned so that less is better.
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Self::Lowest => value,
            Self::Highest => -value,
        }
    }
}

/// A configuration and the trials of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Its name.
    pub name: String,
    /// The places of its trials in what was ranked, the best first.
    pub trials: Vec<usize>,
    /// The mean of their figures.
    pub mean: f64,
    /// Their standard deviation (n − 1); none of a single trial.
    pub sd: Option<f64>,
}

impl Configuration {
    /// The trial in the middle: of an even number, the better of the two.
    pub fn median(&self) -> usize {
        self.trials[(self.trials.len() - 1) / 2]
    }
}

/// Groups trials by the name of their configuration and puts the best mean first; of equal ones, the first that was
/// tried. Figures must be finite.
pub fn rank(trials: &[(String, f64)], better: Better) -> Vec<Configuration> {
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (at, (name, _)) in trials.iter().enumerate() {
        match groups.iter_mut().find(|(known, _)| known == name) {
            Some((_, members)) => members.push(at),
            None => groups.push((name, vec![at])),
        }
    }
    let configuration = |(name, mut members): (&str, Vec<usize>)| {
        members.sort_by(|a, b| better.cost(trials[*a].1).total_cmp(&better.cost(trials[*b].1)).then(a.cmp(b)));
        let values: Vec<f64> = members.iter().map(|at| trials[*at].1).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Configuration { name: name.to_owned(), trials: members, mean, sd }
    };
    let mut ranked: Vec<_> = groups.into_iter().map(configuration).collect();
    ranked.sort_by(|a, b| better.cost(a.mean).total_cmp(&better.cost(b.mean)));
    ranked
}

/// How the best stands against the second and against the spread over repeated trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// The standard deviation within configurations, of all together; none where each was tried once.
    pub sd: Option<f64>,
    /// By how much the first is better than the second; none where there is no second.
    pub margin: Option<f64>,
    /// The standard error of that difference.
    pub standard_error: Option<f64>,
    /// Configurations that differ from the first by less than twice that, the first included.
    pub alike: usize,
}

impl Noise {
    /// Judges a ranking.
    pub fn of(ranked: &[Configuration]) -> Self {
        let freedom: usize = ranked.iter().map(|it| it.trials.len() - 1).sum();
        let squares: f64 = ranked.iter().filter_map(|it| Some(it.sd?.powi(2) * (it.trials.len() - 1) as f64)).sum();
        let sd = (freedom > 0).then(|| (squares / freedom as f64).sqrt());
        let error = |other: &Configuration| {
            let counts = 1.0 / ranked[0].trials.len() as f64 + 1.0 / other.trials.len() as f64;
            Some(sd? * counts.sqrt())
        };
        let margin = |other: &Configuration| (other.mean - ranked[0].mean).abs();
        let is_alike = |other: &&Configuration| error(other).is_none_or(|error| margin(other) < TOLD_APART * error);
        let second = ranked.get(1);
        Self {
            sd,
            margin: second.map(margin),
            standard_error: second.and_then(error),
            alike: ranked.iter().take(1).count() + ranked.iter().skip(1).filter(is_alike).count(),
        }
    }

    /// The judgement in a sentence.
    pub fn sentence(&self) -> String {
        let (Some(margin), Some(sd), Some(error)) = (self.margin, self.sd, self.standard_error) else {
            return match self.margin {
                None => "one configuration alone: there is nothing to rank".into(),
                Some(_) => "each configuration was tried once, so that nothing tells differences from noise: \
                            sweep `seed` too"
                    .into(),
            };
        };
        if margin < TOLD_APART * error {
            format!(
                "the ranking is noise at its top: first and second differ by {margin:.3}, less than {TOLD_APART} \
                 standard errors ({:.3}, from a spread of {sd:.3} over repeated trials); {} configurations cannot be \
                 told apart from the first",
                TOLD_APART * error,
                self.alike
            )
        } else {
            format!(
                "the first is more than noise better than the second: they differ by {margin:.3}, {:.1} standard \
                 errors (from a spread of {sd:.3} over repeated trials)",
                margin / error
            )
        }
    }
}

/// The name of the configuration that a trial belongs to: the trial's, such as `lstm[batch_size=8,seed=1]`, without
/// the parameters over which trials are repeated; a parameter of another stage is meant by its last part too.
pub fn configuration(trial: &str, over: &[impl AsRef<str>]) -> String {
    let Some((name, rest)) = trial.split_once('[').filter(|(_, rest)| rest.ends_with(']')) else {
        return trial.to_owned();
    };
    let is_over = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        let last = key.rsplit('.').next();
        over.iter().any(|over| key == over.as_ref() || last == Some(over.as_ref()))
    };
    let kept: Vec<&str> = rest[..rest.len() - 1].split(',').filter(|pair| !is_over(pair)).collect();
    if kept.is_empty() { name.to_owned() } else { format!("{name}[{}]", kept.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(figures: &[(&str, f64)]) -> Vec<(String, f64)> {
        figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn the_best_mean_is_first_and_its_middle_trial_is_known() {
        let figures = trials(&[("a", 5.0), ("b", 4.0), ("a", 6.0), ("b", 4.4), ("a", 7.0), ("b", 3.6)]);
        let ranked = rank(&figures, Better::Lowest);
        assert_eq!((ranked[0].name.as_str(), ranked[0].mean, ranked[0].median()), ("b", 4.0, 1));
        assert!((ranked[0].sd.unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(rank(&figures, Better::Highest)[0].name, "a");
        assert_eq!(Better::of("skill"), Better::Highest);
    }

    #[test]
    fn a_margin_is_judged_by_the_spread_over_repeated_trials() {
        let noisy = Noise::of(&rank(&trials(&[("a", 5.0), ("a", 6.0), ("b", 5.2), ("b", 6.2)]), Better::Lowest));
        assert_eq!(noisy.alike, 2);
        assert!(noisy.sentence().contains("noise at its top"), "{}", noisy.sentence());
        let clear = Noise::of(&rank(&trials(&[("a", 5.0), ("a", 5.1), ("b", 6.0), ("b", 6.1)]), Better::Lowest));
        // Pooled sd 0.0707 and two trials each: standard error 0.0707.
        assert!((clear.standard_error.unwrap() - 0.070_71).abs() < 1e-4);
        assert!(clear.sentence().contains("14.1 standard errors"), "{}", clear.sentence());
        let once = Noise::of(&rank(&trials(&[("a", 5.0), ("b", 6.0)]), Better::Lowest));
        assert!(once.sentence().contains("sweep `seed` too"));
    }

    #[test]
    fn trials_that_differ_in_seeds_alone_are_one_configuration() {
        let over = ["seed"];
        assert_eq!(configuration("lstm[batch_size=8,seed=1]", &over), "lstm[batch_size=8]");
        assert_eq!(configuration("m[lstm.seed=3]", &over), "m");
        assert_eq!(configuration("constant", &over), "constant");
        assert_eq!(configuration("lstm[a=1,b=2]", &["a", "b"]), "lstm");
    }
}
