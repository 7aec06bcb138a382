//! Ranks configurations that were each tried several times, and says whether their order is more than noise. Unaware
//! of what was tried and of where the figures come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Two-sided 95 % points of Student's distribution for 1, 2, … degrees of freedom; beyond, the last.
const STUDENT: [f64; 12] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.1, 2.0];

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

/// A trial with its figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// The name of its configuration.
    pub configuration: String,
    /// Which repetition it is, such as `seed=1`.
    pub repeat: String,
    /// Its figure, which is finite.
    pub figure: f64,
}

impl Tried {
    /// A trial by its name, such as `lstm[batch_size=8,seed=1]`, and the parameters over which trials are repeated.
    pub fn new(trial: &str, over: &[impl AsRef<str>], figure: f64) -> Self {
        let (configuration, repeat) = parts(trial, over);
        Self { configuration, repeat, figure }
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
    /// The figure of each repetition, in the order of their names.
    repeats: Vec<(String, f64)>,
}

impl Configuration {
    /// The trial in the middle: of an even number, the better of the two.
    pub fn median(&self) -> usize {
        self.trials[(self.trials.len() - 1) / 2]
    }
}

/// Groups trials by their configuration and puts the best mean first; of equal ones, the first that was tried.
pub fn rank(trials: &[Tried], better: Better) -> Vec<Configuration> {
    let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
    for (at, trial) in trials.iter().enumerate() {
        match groups.iter_mut().find(|(known, _)| *known == trial.configuration) {
            Some((_, members)) => members.push(at),
            None => groups.push((&trial.configuration, vec![at])),
        }
    }
    let configuration = |(name, mut members): (&str, Vec<usize>)| {
        let cost = |at: &usize| better.cost(trials[*at].figure);
        members.sort_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.cmp(b)));
        let values: Vec<f64> = members.iter().map(|at| trials[*at].figure).collect();
        let (mean, sd) = spread(&values);
        let mut repeats: Vec<_> = members.iter().map(|at| (trials[*at].repeat.clone(), trials[*at].figure)).collect();
        repeats.sort_by(|a, b| a.0.cmp(&b.0));
        Configuration { name: name.to_owned(), trials: members, mean, sd, repeats }
    };
    let mut ranked: Vec<_> = groups.into_iter().map(configuration).collect();
    ranked.sort_by(|a, b| better.cost(a.mean).total_cmp(&better.cost(b.mean)));
    ranked
}

/// Mean and standard deviation (n − 1).
fn spread(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

/// How the best stands against the second and against the spread over repeated trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// The standard deviation within configurations, of all together; none where each was tried once.
    pub sd: Option<f64>,
    /// By how much the first is better than the second; none where there is no second.
    pub margin: Option<f64>,
    /// The standard error of that difference: of the differences seed by seed where both have the same seeds, else
    /// from the spread within configurations.
    pub standard_error: Option<f64>,
    /// The least difference that would be more than noise, at 95 %.
    pub least: Option<f64>,
    /// Configurations that cannot be told apart from the first so, the first included.
    pub alike: usize,
}

impl Noise {
    /// Judges a ranking.
    pub fn of(ranked: &[Configuration]) -> Self {
        let freedom: usize = ranked.iter().map(|it| it.trials.len() - 1).sum();
        let squares: f64 = ranked.iter().filter_map(|it| Some(it.sd?.powi(2) * (it.trials.len() - 1) as f64)).sum();
        let sd = (freedom > 0).then(|| (squares / freedom as f64).sqrt());
        let error = |other: &Configuration| standard_error(&ranked[0], other, sd.map(|sd| (sd, freedom)));
        let margin = |other: &Configuration| (other.mean - ranked[0].mean).abs();
        let least = |other: &Configuration| error(other).map(|(error, freedom)| error * student(freedom));
        let is_alike = |other: &&Configuration| least(other).is_none_or(|least| margin(other) <= least);
        let second = ranked.get(1);
        Self {
            sd,
            margin: second.map(margin),
            standard_error: second.and_then(error).map(|(error, _)| error),
            least: second.and_then(least),
            alike: ranked.iter().take(1).count() + ranked.iter().skip(1).filter(is_alike).count(),
        }
    }

    /// The judgement in a sentence.
    pub fn sentence(&self) -> String {
        let (Some(margin), Some(least)) = (self.margin, self.least) else {
            return match self.margin {
                None => "one configuration alone: there is nothing to rank".into(),
                Some(_) => "each configuration was tried once, so that nothing tells differences from noise: \
                            sweep `seed` too"
                    .into(),
            };
        };
        let sd = self.sd.unwrap_or(0.0);
        if margin <= least {
            format!(
                "the ranking is noise at its top: first and second differ by {margin:.3}, and {least:.3} would be needed \
                 to tell them apart (95 %; spread over repeated trials {sd:.3}); {} configurations are alike",
                self.alike
            )
        } else {
            format!(
                "the first is better than the second by more than noise: they differ by {margin:.3}, and {least:.3} \
                 would do (95 %; spread over repeated trials {sd:.3})"
            )
        }
    }
}

/// The standard error of a difference of means and its degrees of freedom. With the same seeds on both sides, what a
/// seed does to both is no noise.
fn standard_error(one: &Configuration, other: &Configuration, pooled: Option<(f64, usize)>) -> Option<(f64, usize)> {
    let pairs: Vec<_> = one.repeats.iter().zip(&other.repeats).collect();
    let is_paired = one.repeats.len() == other.repeats.len() && pairs.iter().all(|(a, b)| a.0 == b.0);
    if is_paired && pairs.len() > 1 {
        let differences: Vec<f64> = pairs.iter().map(|(a, b)| a.1 - b.1).collect();
        let sd = spread(&differences).1?;
        return Some((sd / (pairs.len() as f64).sqrt(), pairs.len() - 1));
    }
    let (sd, freedom) = pooled?;
    let counts = 1.0 / one.trials.len() as f64 + 1.0 / other.trials.len() as f64;
    Some((sd * counts.sqrt(), freedom))
}

fn student(freedom: usize) -> f64 {
    STUDENT[freedom.clamp(1, STUDENT.len()) - 1]
}

/// The configuration that a trial belongs to and which repetition it is: its name without the parameters over which
/// trials are repeated, and these. A parameter of another stage is meant by its last part too.
fn parts(trial: &str, over: &[impl AsRef<str>]) -> (String, String) {
    let Some((name, rest)) = trial.split_once('[').filter(|(_, rest)| rest.ends_with(']')) else {
        return (trial.to_owned(), String::new());
    };
    let is_over = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        let last = key.rsplit('.').next();
        over.iter().any(|over| key == over.as_ref() || last == Some(over.as_ref()))
    };
    let (repeat, kept): (Vec<&str>, Vec<&str>) = rest[..rest.len() - 1].split(',').partition(is_over);
    let configuration = if kept.is_empty() { name.to_owned() } else { format!("{name}[{}]", kept.join(",")) };
    (configuration, repeat.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(figures: &[(&str, f64)]) -> Vec<Tried> {
        let tried = |(at, (name, figure)): (usize, &(&str, f64))| Tried {
            configuration: (*name).to_owned(),
            repeat: at.to_string(),
            figure: *figure,
        };
        figures.iter().enumerate().map(tried).collect()
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
        // Pooled sd 0.0707 of two degrees of freedom, two trials each: standard error 0.0707, times 4.303.
        assert!((clear.least.unwrap() - 0.304_3).abs() < 1e-3, "{clear:?}");
        assert!(clear.sentence().contains("by more than noise"), "{}", clear.sentence());
        let once = Noise::of(&rank(&trials(&[("a", 5.0), ("b", 6.0)]), Better::Lowest));
        assert!(once.sentence().contains("sweep `seed` too"));
    }

    #[test]
    fn what_a_seed_does_to_both_sides_is_no_noise() {
        let tried = |name: &str, figure| Tried::new(name, &["seed"], figure);
        let trials = [
            tried("m[b=8,seed=1]", 5.0),
            tried("m[b=8,seed=2]", 9.0),
            tried("m[b=8,seed=3]", 7.0),
            tried("m[b=16,seed=1]", 5.5),
            tried("m[b=16,seed=2]", 9.6),
            tried("m[b=16,seed=3]", 7.55),
        ];
        let noise = Noise::of(&rank(&trials, Better::Lowest));
        // Differences 0.5, 0.6 and 0.55: sd 0.05, standard error 0.0289, times 4.303.
        assert!((noise.least.unwrap() - 0.124_2).abs() < 1e-3, "{noise:?}");
        assert_eq!(noise.alike, 1);
        let others = [&trials[..5], &[tried("m[b=16,seed=4]", 7.55)]].concat();
        assert_eq!(Noise::of(&rank(&others, Better::Lowest)).alike, 2, "without pairs the seeds' spread counts");
    }

    #[test]
    fn trials_that_differ_in_seeds_alone_are_one_configuration() {
        let over = ["seed"];
        let configuration = |trial: &str| parts(trial, &over).0;
        assert_eq!(configuration("lstm[batch_size=8,seed=1]"), "lstm[batch_size=8]");
        assert_eq!(configuration("m[lstm.seed=3]"), "m");
        assert_eq!(configuration("constant"), "constant");
        assert_eq!(parts("lstm[a=1,b=2]", &["a", "b"]), ("lstm".to_owned(), "a=1,b=2".to_owned()));
    }
}
