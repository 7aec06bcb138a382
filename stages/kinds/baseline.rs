//! The kind `baseline`: models without training that any other must beat. Unaware of LibTorch.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use nalgebra::{Cholesky, DMatrix, DVector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::features;
use crate::head::Head;
use crate::mixed::Mixed;
use crate::model::{Architecture, Model, ModelConfig, Scaler, Training, Weights};
use crate::score;
use crate::sequences::Sequences;
use crate::split::{Part, Split};
use crate::stage::{Blame, Context, Metrics, ParameterFault, Run, Stage};

/// Fits a model that any trained one must beat: a constant, each user's mean, a ridge, or a line for each user.
///
/// Reads `sequences` and `split`; writes `model`. Only real samples of training workouts are fitted. `constant`
/// is their mean heart rate. `user_mean` is the mean of each user's own training samples, and the constant for a
/// user who has none. `ridge` is linear in the standardised `features`, in closed form:
/// (XᵀX + alpha·I) w = Xᵀy with the intercept left unpenalised; with several `alphas` the one with the best mean
/// absolute error on the validation part is kept.
///
/// `mixed` is a line for each user (a linear mixed model, fitted by expectation and maximisation): its weights differ
/// between users around those of the population, and the `history` latest workouts before a run tell how. A stranger
/// without earlier workouts has the population's line. It is what history is worth in closed form, so a network that is
/// told the history has to beat it; and it may be the `backbone` of one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// `constant`, `user_mean`, `ridge` or `mixed`.
    pub model: BaselineModel,
    /// Features of the ridge or of the lines, by the names that the sequences hold, such as `ema(power, 60)`.
    #[serde(default)]
    pub features: Vec<String>,
    /// Penalties of the ridge to choose from, in units of squared standardised features summed over the samples;
    /// one alone needs no validation part.
    #[serde(default = "one_alpha")]
    pub alphas: Vec<f64>,
    /// Earlier workouts of the user that `mixed` looks at, the latest first.
    #[serde(default = "thirty_two")]
    pub history: usize,
}

/// Which baseline is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BaselineModel {
    /// The mean heart rate of training.
    Constant,
    /// The user's mean heart rate in training.
    UserMean,
    /// A linear model of features with a penalty on its weights.
    Ridge,
    /// A linear model of features whose weights differ between users.
    Mixed,
}

fn one_alpha() -> Vec<f64> {
    vec![1.0]
}

const fn thirty_two() -> usize {
    32
}

const MODEL: OutputPort = OutputPort::fixed("model", ArtifactType::Model, "the fitted baseline");

impl Stage for Baseline {
    const NAME: &'static str = "baseline";
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "sequences",
            accepts: &[ArtifactType::Sequences],
            arity: Arity::One,
            doc: "features and heart rate on a grid",
        },
        InputPort {
            name: "split",
            accepts: &[ArtifactType::Split],
            arity: Arity::One,
            doc: "which workouts train and which validate",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[MODEL];

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        if !matches!(self.model, BaselineModel::Ridge | BaselineModel::Mixed) {
            if !self.features.is_empty() {
                faults.push(ParameterFault::new("features", "only `ridge` and `mixed` take features"));
            }
            return faults;
        }
        faults.extend(features::parse_all("features", &self.features).err().unwrap_or_default());
        if self.model == BaselineModel::Mixed {
            if self.alphas != one_alpha() {
                faults.push(ParameterFault::new("alphas", "only `ridge` takes penalties: `mixed` finds its own"));
            }
            return faults;
        }
        if self.alphas.is_empty() {
            faults.push(ParameterFault::new("alphas", "is empty; give at least one penalty, such as 1.0"));
        }
        for (i, alpha) in self.alphas.iter().enumerate() {
            if !(alpha.is_finite() && *alpha >= 0.0) {
                faults.push(ParameterFault::new(format!("alphas[{i}]"), "must be 0 or more"));
            }
        }
        faults
    }
}

impl Run for Baseline {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let sequences = Sequences::read(context.job.input("sequences")?)?;
        let split = Split::read(context.job.input("split")?)?;
        let train = split.workouts(&sequences, Part::Train)?;
        let validation = split.workouts(&sequences, Part::Validation)?;
        ensure!(!train.is_empty(), "`split` puts no workout of these sequences into `train`");
        context.check_cancelled()?;
        let fit = Fit { sequences: &sequences, split: &split, train, validation };
        let (model, chosen) = match self.model {
            BaselineModel::Constant => (fit.constant()?, Metrics::new()),
            BaselineModel::UserMean => (fit.user_mean()?, Metrics::new()),
            BaselineModel::Ridge => fit.ridge(&self.features, &self.alphas)?,
            BaselineModel::Mixed => fit.mixed(&self.features, self.history)?,
        };
        model.write(&context.output(&MODEL))?;
        let mut metrics = fit.metrics(&model)?;
        metrics.extend(chosen);
        Ok(metrics)
    }
}

/// What every baseline is fitted from.
struct Fit<'a> {
    sequences: &'a Sequences,
    split: &'a Split,
    train: Vec<usize>,
    validation: Vec<usize>,
}

impl Fit<'_> {
    fn constant(&self) -> Result<Model> {
        let scaler = Scaler::fit(self.sequences, &[], &self.train)?;
        let value = scaler.target_mean as f32;
        Ok(self.model(Architecture::Constant, &[], scaler, [("value", vec![value])]))
    }

    fn user_mean(&self) -> Result<Model> {
        let scaler = Scaler::fit(self.sequences, &[], &self.train)?;
        let value = scaler.target_mean as f32;
        let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for &workout in &self.train {
            let (sum, n) = sums.entry(self.sequences.user[workout]).or_default();
            for step in self.sequences.steps(workout).filter(|&step| self.sequences.real[step] == 1) {
                *sum += f64::from(self.sequences.target[step]);
                *n += 1.0;
            }
        }
        let means = sums.into_iter().filter(|(_, (_, n))| *n > 0.0).map(|(user, (sum, n))| (user, sum / n));
        let architecture = Architecture::UserMean { means: means.collect() };
        Ok(self.model(architecture, &[], scaler, [("value", vec![value])]))
    }

    /// Fits a ridge for each penalty and keeps the best on validation, the earlier of equals.
    fn ridge(&self, names: &[String], alphas: &[f64]) -> Result<(Model, Metrics)> {
        let names = canonical(names)?;
        let columns = self.sequences.select(&names).map_err(|error| blame("features", error))?;
        let scaler = Scaler::fit(self.sequences, &columns, &self.train)?;
        let equations = Equations::collect(self.sequences, &columns, &self.train, &scaler);
        let fitted = |alpha: f64| -> Result<Model> {
            let (weight, bias) = equations.solve(alpha).with_context(|| Blame {
                parameter: "alphas".into(),
                message: format!("`alphas`: the features repeat each other, so {alpha} is too small"),
            })?;
            let tensors = [("weight", weight), ("bias", vec![bias])];
            Ok(self.model(Architecture::Ridge { alpha }, &names, scaler.clone(), tensors))
        };
        let mut tried = Vec::new();
        let mut best: Option<(f64, f64, Model)> = None;
        for &alpha in alphas {
            let model = fitted(alpha)?;
            if alphas.len() == 1 {
                best = Some((alpha, 0.0, model));
                break;
            }
            let mae = self.validate(&model)?;
            tried.push(json!({ "alpha": alpha, "validation_mae": mae }));
            if best.as_ref().is_none_or(|(_, least, _)| mae < *least) {
                best = Some((alpha, mae, model));
            }
        }
        let (alpha, _, model) = best.context("`alphas` is empty")?;
        let mut chosen = Metrics::from_iter([("alpha".to_owned(), json!(alpha))]);
        if !tried.is_empty() {
            chosen.insert("tried".into(), json!(tried));
        }
        Ok((model, chosen))
    }

    /// Fits a population of lines; its spread between users and days is told.
    fn mixed(&self, names: &[String], history: usize) -> Result<(Model, Metrics)> {
        let names = canonical(names)?;
        self.sequences.select(&names).map_err(|error| blame("features", error))?;
        let line = Mixed::fit(self.sequences, names.clone(), &self.train, history)?;
        let (bias, weight) = line.weights.split_last().context("a line has an intercept")?;
        let level = line.between.last().context("a line has an intercept")?.sqrt();
        let told = [("sd_between_users", level), ("sd_between_days", line.days.sqrt())];
        let told = told.map(|(name, value)| (name.to_owned(), json!(value)));
        let tensors = [
            ("weight", weight.iter().map(|weight| *weight as f32).collect()),
            ("bias", vec![(bias + line.scaler.target_mean) as f32]),
        ];
        let model = self.model(Architecture::Mixed { line: line.clone() }, &names, line.scaler, tensors);
        Ok((model, told.into_iter().collect()))
    }

    fn validate(&self, model: &Model) -> Result<f64> {
        let scored = score::mae(&model.predict_linear(self.sequences)?, self.sequences, &self.validation);
        scored.with_context(|| Blame {
            parameter: "alphas".into(),
            message: "`alphas`: to choose among several the split needs a validation part; give one alone".into(),
        })
    }

    fn model<const N: usize>(
        &self,
        architecture: Architecture,
        features: &[String],
        scaler: Scaler,
        tensors: [(&str, Vec<f32>); N],
    ) -> Model {
        let users: BTreeSet<i64> = self.train.iter().map(|&workout| self.sequences.user[workout]).collect();
        let training = Training {
            data: self.sequences.header.data,
            split: self.split.by,
            users: users.len(),
            workouts: self.train.len(),
            seed: None,
        };
        let tensor =
            |(name, values): (&str, Vec<f32>)| (name.to_owned(), Weights { shape: vec![values.len()], values });
        Model {
            config: ModelConfig { architecture, features: features.to_vec(), scaler, training, head: Head::Point },
            tensors: tensors.into_iter().map(tensor).collect(),
        }
    }

    fn metrics(&self, model: &Model) -> Result<Metrics> {
        let prediction = model.predict_linear(self.sequences)?;
        let training = &model.config.training;
        let steps = self.train.iter().flat_map(|&workout| self.sequences.steps(workout));
        let mut metrics = Metrics::new();
        metrics.insert("data".into(), json!(training.data));
        metrics.insert("n_points".into(), json!(steps.filter(|&step| self.sequences.real[step] == 1).count()));
        metrics.insert("n_users".into(), json!(training.users));
        metrics.insert("n_workouts".into(), json!(training.workouts));
        metrics.insert("split".into(), json!(training.split));
        let train = score::mae(&prediction, self.sequences, &self.train)?;
        metrics.insert("train_mae".into(), json!(train));
        if !self.validation.is_empty() {
            let validation = score::mae(&prediction, self.sequences, &self.validation)?;
            metrics.insert("validation_mae".into(), json!(validation));
        }
        Ok(metrics)
    }
}

/// The names as the sequences hold them, whatever the spaces in the pipeline.
fn canonical(names: &[String]) -> Result<Vec<String>> {
    let features = features::parse_all("features", names);
    let features = features.map_err(|faults| blame("features", anyhow::anyhow!(faults[0].message.clone())))?;
    Ok(features.iter().map(ToString::to_string).collect())
}

fn blame(parameter: &str, error: anyhow::Error) -> anyhow::Error {
    Blame { parameter: parameter.into(), message: format!("{error:#}") }.into()
}

/// The normal equations of standardised features, centred on the fitted samples.
struct Equations {
    gram: DMatrix<f64>,
    moment: DVector<f64>,
    feature_means: DVector<f64>,
    target_mean: f64,
}

impl Equations {
    /// Sums over the real samples of the workouts, in f64 and in their order.
    fn collect(sequences: &Sequences, columns: &[usize], workouts: &[usize], scaler: &Scaler) -> Self {
        let width = columns.len();
        let steps = || {
            let all = workouts.iter().flat_map(|&workout| sequences.steps(workout));
            all.filter(|&step| sequences.real[step] == 1)
        };
        let standardised = |step: usize, row: &mut [f64]| {
            let values = sequences.row(step);
            for (i, &column) in columns.iter().enumerate() {
                row[i] = (f64::from(values[column]) - scaler.mean[i]) / scaler.sd[i];
            }
        };
        let mut row = vec![0.0; width];
        let mut feature_means = DVector::zeros(width);
        for step in steps() {
            standardised(step, &mut row);
            row.iter().enumerate().for_each(|(i, value)| feature_means[i] += value);
        }
        feature_means /= steps().count().max(1) as f64;
        let mut gram = DMatrix::zeros(width, width);
        let mut moment = DVector::zeros(width);
        for step in steps() {
            standardised(step, &mut row);
            let target = f64::from(sequences.target[step]) - scaler.target_mean;
            row.iter_mut().enumerate().for_each(|(i, value)| *value -= feature_means[i]);
            for i in 0..width {
                moment[i] += row[i] * target;
                for j in 0..=i {
                    gram[(i, j)] += row[i] * row[j];
                }
            }
        }
        gram.fill_upper_triangle_with_lower_triangle();
        Self { gram, moment, feature_means, target_mean: scaler.target_mean }
    }

    /// Weights and intercept in BPM; none where the equations with this penalty have no unique solution.
    fn solve(&self, alpha: f64) -> Option<(Vec<f32>, f32)> {
        let width = self.moment.len();
        let penalised = &self.gram + DMatrix::identity(width, width) * alpha;
        let largest = penalised.diagonal().max();
        let factor = Cholesky::new(penalised)?;
        let smallest = factor.l_dirty().diagonal().min().powi(2);
        if smallest <= 1e-12 * largest {
            return None;
        }
        let weight = factor.solve(&self.moment);
        let bias = self.target_mean - weight.dot(&self.feature_means);
        Some((weight.iter().map(|value| *value as f32).collect(), bias as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};
    use crate::split::SplitBy;

    /// Workout 0 of user 1 trains, with one padded step; 1 of user 1 validates; 2 of user 2 is the test.
    fn sequences() -> Sequences {
        Sequences {
            header: Header {
                features: vec!["speed".into(), "grade".into()],
                grid: Grid::Index { length: 5 },
                data: DataSource::Synthetic,
            },
            offsets: vec![0, 5, 6, 7],
            features: vec![
                1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0, 900.0, 900.0, // training, then padding
                1.0, 1.0, -1.0, 1.0,
            ]
            .into(),
            target: vec![144.0, 132.0, 128.0, 116.0, 0.0, 141.0, 100.0].into(),
            real: vec![1, 1, 1, 1, 0, 1, 1].into(),
            valid: vec![1, 1, 1, 1, 0, 1, 1].into(),
            time: vec![0.0; 7].into(),
            workout: vec![10, 11, 12],
            user: vec![1, 1, 2],
            start: vec![0, 1, 2],
        }
    }

    fn fit<'a>(sequences: &'a Sequences, split: &'a Split) -> Fit<'a> {
        let part = |part| split.workouts(sequences, part).unwrap();
        Fit { sequences, split, train: part(Part::Train), validation: part(Part::Validation) }
    }

    fn split() -> Split {
        let parts = [(10, (Part::Train, 1)), (11, (Part::Validation, 1)), (12, (Part::Test, 2))];
        Split { by: SplitBy::Time, parts: parts.into() }
    }

    fn names() -> Vec<String> {
        vec!["speed".into(), "grade".into()]
    }

    #[test]
    fn a_ridge_equals_the_system_solved_by_hand() {
        // Both features are ±1 and orthogonal: XᵀX = 4 I, Xᵀy = (32, 24), mean 130; with alpha 4: 32/8, 24/8.
        let (sequences, split) = (sequences(), split());
        let (model, _) = fit(&sequences, &split).ridge(&names(), &[4.0]).unwrap();
        assert_eq!(model.tensors["weight"].values, [4.0, 3.0]);
        assert_eq!(model.tensors["bias"].values, [130.0]);
        let (unpenalised, _) = fit(&sequences, &split).ridge(&names(), &[0.0]).unwrap();
        assert_eq!(unpenalised.tensors["weight"].values, [8.0, 6.0]);
    }

    #[test]
    fn the_penalty_with_the_best_validation_error_is_kept() {
        // At the validation step both features are 1: alpha 4 predicts 137, alpha 0 predicts 144, truth 141.
        let (sequences, split) = (sequences(), split());
        let (model, chosen) = fit(&sequences, &split).ridge(&names(), &[4.0, 0.0, 1000.0]).unwrap();
        assert_eq!(model.config.architecture, Architecture::Ridge { alpha: 0.0 });
        assert_eq!(chosen["tried"][1]["validation_mae"], json!(3.0));
    }

    #[test]
    fn held_out_heart_rate_and_padding_leave_every_baseline_bit_identical() {
        let (plain, split) = (sequences(), split());
        let mut other = sequences();
        other.target[6] = 200.0;
        other.features[8..10].fill(-5.0);
        let (a, b) = (fit(&plain, &split), fit(&other, &split));
        assert_eq!(a.ridge(&names(), &[4.0, 0.0]).unwrap(), b.ridge(&names(), &[4.0, 0.0]).unwrap());
        assert_eq!(a.user_mean().unwrap(), b.user_mean().unwrap());
        assert_eq!(a.constant().unwrap(), b.constant().unwrap());
        let mut trained_otherwise = sequences();
        trained_otherwise.target[0] = 150.0;
        assert_ne!(a.constant().unwrap(), fit(&trained_otherwise, &split).constant().unwrap());
    }

    #[test]
    fn a_user_without_training_gets_the_constant() {
        let (sequences, mut split) = (sequences(), split());
        split.parts.insert(11, (Part::Train, 1));
        let model = fit(&sequences, &split).user_mean().unwrap();
        let prediction = model.predict_linear(&sequences).unwrap();
        assert_eq!([prediction[5], prediction[6]], [132.2, 132.2]);
    }

    #[test]
    fn features_that_repeat_each_other_need_a_penalty() {
        let (mut sequences, split) = (sequences(), split());
        for step in 0..7 {
            sequences.features[2 * step + 1] = sequences.features[2 * step];
        }
        let error = fit(&sequences, &split).ridge(&names(), &[0.0]).unwrap_err();
        assert!(error.to_string().contains("`alphas`"), "{error:#}");
        assert!(fit(&sequences, &split).ridge(&names(), &[1.0]).is_ok());
    }

    #[test]
    fn heart_rate_is_no_feature_of_a_ridge() {
        let stage = Baseline {
            model: BaselineModel::Ridge,
            features: vec!["speed".into(), "heart_rate".into()],
            alphas: vec![-1.0],
            history: 32,
        };
        let faults = stage.check();
        assert_eq!(faults.len(), 2);
        assert_eq!(faults[0].path, "features[1]");
        assert!(faults[0].message.contains("can never be an input"));
        assert_eq!(faults[1].path, "alphas[0]");
    }
    #[test]
    fn lines_of_users_are_a_model_that_predicts_from_its_file_and_take_no_penalty() {
        let (sequences, split) = (sequences(), split());
        let (model, told) = fit(&sequences, &split).mixed(&names(), 8).unwrap();
        assert!(told["sd_between_users"].is_number() && told["sd_between_days"].is_number(), "{told:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model.write(&path).unwrap();
        let said = Model::read(&path).unwrap().predict_linear(&sequences).unwrap();
        assert_eq!(said, model.predict_linear(&sequences).unwrap());
        // Of workout 2's user nothing is known, so that the line is the one that the tensors hold.
        let (weight, bias) = (&model.tensors["weight"].values, model.tensors["bias"].values[0]);
        let scaler = &model.config.scaler;
        let row = sequences.row(6).iter().zip(&scaler.mean).zip(&scaler.sd);
        let line =
            row.zip(weight).map(|(((x, mean), sd), w)| w * ((f64::from(*x) - mean) / sd) as f32).sum::<f32>() + bias;
        assert!((said[6] - line).abs() < 1e-3, "{} and {line}", said[6]);
        let text = r#"{"model":"mixed","features":["speed"],"alphas":[0.1,1.0]}"#;
        let stage: Baseline = serde_json::from_str(text).unwrap();
        assert_eq!(stage.check()[0].path, "alphas");
    }
}
