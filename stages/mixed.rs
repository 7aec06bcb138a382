//! A line for each user: a linear model whose weights differ between users around those of the population, and what
//! the earlier workouts of a user tell of them. Unaware of networks and of files.
//!
//! For workout i of user u (Laird and Ware 1982): heart rate = xᵀ(β + b_u) + d_i + noise, with b_u normal around 0 with
//! covariance Σ, and an offset d_i of the day. Σ and the variance of days are fitted by expectation and maximisation;
//! noise that hangs together counts as if fewer samples had been taken. What is known of b_u is its mean given the
//! workouts that were over before: none leaves the population's line, many the user's own.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nalgebra::{Cholesky, DMatrix, DVector};
use serde::{Deserialize, Serialize};

use crate::history;
use crate::scaler::Scaler;
use crate::sequences::Sequences;

/// Rounds of expectation and maximisation; more change the third digit.
const ROUNDS: usize = 20;

/// Standard deviations to begin with, BPM: of users' levels and of days, of the other weights.
const BEGIN: (f64, f64) = (8.0, 3.0);

/// No variance is less, BPM²: with one user there is nothing between users.
const LEAST: f64 = 1e-3;

/// Most samples that say as much as one.
const STICKIEST: f64 = 60.0;

/// A fitted population of lines. Weights are in BPM for each standard deviation of a feature, the intercept last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixed {
    /// The features, in the order of the weights.
    pub features: Vec<String>,
    /// Earlier workouts that are looked at, the latest first.
    pub history: usize,
    /// Standardises features, and centres the heart rate.
    pub scaler: Scaler,
    /// β, the population's line.
    pub weights: Vec<f64>,
    /// Σ, how users' weights differ, row by row.
    pub between: Vec<f64>,
    /// Variance of the days' offsets, BPM².
    pub days: f64,
    /// Variance of the noise times the number of samples that say as much as one, BPM².
    pub noise: f64,
}

/// What a workout says of lines: XᵀX and Xᵀy of its real samples.
struct Moments {
    gram: DMatrix<f64>,
    product: DVector<f64>,
}

/// What workouts say of a user's weights: the inverse of their covariance, and that times their mean.
#[derive(Clone)]
struct Belief {
    precision: DMatrix<f64>,
    pull: DVector<f64>,
}

impl Mixed {
    /// Fits the population to the given workouts.
    pub fn fit(sequences: &Sequences, features: Vec<String>, workouts: &[usize], history: usize) -> Result<Self> {
        let columns = sequences.select(&features)?;
        let scaler = Scaler::fit(sequences, &columns, workouts)?;
        let size = features.len() + 1;
        let mut between = DMatrix::identity(size, size) * BEGIN.1.powi(2);
        between[(size - 1, size - 1)] = BEGIN.0.powi(2);
        let mut fit = Self {
            features,
            history,
            scaler,
            weights: vec![0.0; size],
            between: between.as_slice().to_vec(),
            days: BEGIN.0.powi(2),
            noise: 0.0,
        };
        let moments: Vec<Moments> = workouts.iter().map(|place| fit.moments(sequences, &columns, *place)).collect();
        let mut by_user = BTreeMap::<i64, Vec<&Moments>>::new();
        for (place, moments) in workouts.iter().zip(&moments) {
            by_user.entry(sequences.user[*place]).or_default().push(moments);
        }
        fit.weights = pooled(&moments, size)?.as_slice().to_vec();
        fit.noise = fit.noise(sequences, &columns, workouts, &moments)?;
        for _ in 0..ROUNDS {
            fit.round(&by_user)?;
        }
        Ok(fit)
    }

    /// One round: what is known of each user, then what that says of users and of days. The mean over users becomes the
    /// population's line, for the next stranger is a user and not a sample.
    fn round(&mut self, by_user: &BTreeMap<i64, Vec<&Moments>>) -> Result<()> {
        let size = self.weights.len();
        let prior = self.prior()?;
        let (mut known, mut days, mut count) = (Vec::new(), 0.0, 0.0_f64);
        for workouts in by_user.values() {
            let mut belief = prior.clone();
            workouts.iter().for_each(|moments| self.learn(&mut belief, moments));
            let (mean, covariance) = belief.resolve()?;
            for moments in workouts {
                let share = self.share(moments);
                let left = self.left(moments) - &moments.gram * &mean;
                days += (share * left[size - 1] / self.noise).powi(2) + share;
                count += 1.0;
            }
            known.push((mean, covariance));
        }
        let users = known.len() as f64;
        let shift = known.iter().fold(DVector::zeros(size), |sum, (mean, _)| sum + mean) / users;
        let spread = known.iter().fold(DMatrix::zeros(size, size), |sum, (mean, covariance)| {
            let apart = mean - &shift;
            sum + &apart * apart.transpose() + covariance
        });
        let between = spread / users + DMatrix::identity(size, size) * LEAST;
        self.between = between.as_slice().to_vec();
        self.days = (days / f64::max(count, 1.0)).max(LEAST);
        self.weights.iter_mut().zip(shift.iter()).for_each(|(weight, shift)| *weight += shift);
        Ok(())
    }

    /// The variance of the noise about each workout's own line, times (1 + ρ)/(1 − ρ) for the correlation ρ of
    /// neighbouring samples: the number of samples of a first-order process that say as much as one.
    fn noise(&self, sequences: &Sequences, columns: &[usize], places: &[usize], moments: &[Moments]) -> Result<f64> {
        let size = self.weights.len();
        let (mut count, mut squares, mut products) = (0.0, 0.0, 0.0);
        for (place, moments) in places.iter().zip(moments) {
            let own = solved(&(&moments.gram + DMatrix::identity(size, size)), &moments.product)?;
            let mut before: Option<(usize, f64)> = None;
            for step in real(sequences, *place) {
                let (row, rate) = self.sample(sequences, columns, step);
                let left = rate - row.iter().zip(own.iter()).map(|(x, w)| x * w).sum::<f64>();
                count += 1.0;
                squares += left * left;
                products += before.filter(|(at, _)| at + 1 == step).map_or(0.0, |(_, before)| before * left);
                before = Some((step, left));
            }
        }
        let together = if squares > 0.0 { (products / squares).clamp(0.0, 0.99) } else { 0.0 };
        let stick = ((1.0 + together) / (1.0 - together)).min(STICKIEST);
        Ok((squares / f64::max(count, 1.0) * stick).max(LEAST))
    }

    /// The line of the user of each workout as it was known when that began: [`Self::weights`] and what the earlier
    /// workouts add, as many numbers for each workout.
    pub fn lines(&self, sequences: &Sequences) -> Result<Vec<f64>> {
        let columns = sequences.select(&self.features)?;
        let moments: Vec<Moments> =
            (0..sequences.len()).map(|place| self.moments(sequences, &columns, place)).collect();
        let prior = self.prior()?;
        let mut lines = Vec::with_capacity(sequences.len() * self.weights.len());
        for earlier in history::earlier(sequences, self.history) {
            let mut belief = prior.clone();
            earlier.iter().for_each(|earlier| self.learn(&mut belief, &moments[earlier.place]));
            let mean = if earlier.is_empty() { prior.pull.clone() } else { belief.resolve()?.0 };
            lines.extend(self.weights.iter().zip(mean.iter()).map(|(weight, own)| weight + own));
        }
        Ok(lines)
    }

    /// The heart rate at every step by such lines, BPM, shape `[S]`.
    pub fn along(&self, lines: &[f64], sequences: &Sequences) -> Result<Vec<f32>> {
        let columns = sequences.select(&self.features)?;
        let mut rates = Vec::with_capacity(sequences.target.len());
        for (place, line) in lines.chunks(self.weights.len()).enumerate() {
            for step in sequences.steps(place) {
                let (row, _) = self.sample(sequences, &columns, step);
                let rate = row.iter().zip(line).map(|(x, w)| x * w).sum::<f64>();
                rates.push((rate + self.scaler.target_mean) as f32);
            }
        }
        Ok(rates)
    }

    /// A step's standardised features and 1, and its heart rate less the mean.
    fn sample(&self, sequences: &Sequences, columns: &[usize], step: usize) -> (Vec<f64>, f64) {
        let (values, scaler) = (sequences.row(step), &self.scaler);
        let scaled = columns.iter().zip(scaler.mean.iter().zip(&scaler.sd));
        let row = scaled.map(|(column, (mean, sd))| (f64::from(values[*column]) - mean) / sd);
        (row.chain([1.0]).collect(), f64::from(sequences.target[step]) - scaler.target_mean)
    }

    fn moments(&self, sequences: &Sequences, columns: &[usize], place: usize) -> Moments {
        let size = self.weights.len();
        let mut moments = Moments { gram: DMatrix::zeros(size, size), product: DVector::zeros(size) };
        for step in real(sequences, place) {
            let (row, rate) = self.sample(sequences, columns, step);
            for i in 0..size {
                moments.product[i] += row[i] * rate;
                for j in 0..=i {
                    moments.gram[(i, j)] += row[i] * row[j];
                }
            }
        }
        moments.gram.fill_upper_triangle_with_lower_triangle();
        moments
    }

    /// What is believed of a user without workouts.
    fn prior(&self) -> Result<Belief> {
        let size = self.weights.len();
        let between = DMatrix::from_column_slice(size, size, &self.between);
        let precision = Cholesky::new(between).context("the covariance between users is singular")?.inverse();
        Ok(Belief { precision, pull: DVector::zeros(size) })
    }

    /// What the population's line leaves over of Xᵀy.
    fn left(&self, moments: &Moments) -> DVector<f64> {
        &moments.product - &moments.gram * DVector::from_column_slice(&self.weights)
    }

    /// The variance of the day's offset once the workout is known, BPM².
    fn share(&self, moments: &Moments) -> f64 {
        let last = self.weights.len() - 1;
        1.0 / (1.0 / self.days + moments.gram[(last, last)] / self.noise)
    }

    /// Adds what a workout says, the day's offset averaged out.
    fn learn(&self, belief: &mut Belief, moments: &Moments) {
        let last = self.weights.len() - 1;
        let share = self.share(moments);
        let level = moments.gram.column(last) / self.noise;
        let left = self.left(moments) / self.noise;
        belief.precision += &moments.gram / self.noise - &level * level.transpose() * share;
        belief.pull += &left - level * (share * left[last]);
    }
}

impl Belief {
    /// The mean and the covariance.
    fn resolve(&self) -> Result<(DVector<f64>, DMatrix<f64>)> {
        let factor = Cholesky::new(self.precision.clone()).context("a user's line is not determined")?;
        Ok((factor.solve(&self.pull), factor.inverse()))
    }
}

/// The steps of a workout with a real sample.
fn real(sequences: &Sequences, place: usize) -> impl Iterator<Item = usize> + '_ {
    sequences.steps(place).filter(|step| sequences.real[*step] == 1)
}

/// The line through the samples of all workouts, faintly drawn to zero.
fn pooled(moments: &[Moments], size: usize) -> Result<DVector<f64>> {
    let mut gram = DMatrix::identity(size, size);
    let mut product = DVector::zeros(size);
    for one in moments {
        gram += &one.gram;
        product += &one.product;
    }
    solved(&gram, &product)
}

fn solved(gram: &DMatrix<f64>, product: &DVector<f64>) -> Result<DVector<f64>> {
    Ok(Cholesky::new(gram.clone()).context("the features of the line are no numbers")?.solve(product))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sequences::{DataSource, Grid, Header};
    use crate::simulate::noise::{normal, uniform};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    /// Users whose heart rate is 140 + level + slope · (speed − 3) + a day's offset of sd 3 + noise of sd 1: and those
    /// lines, with standard deviations 10 and 4 about 0 and 15.
    fn population(users: usize, workouts: usize) -> (Sequences, Vec<[f64; 2]>) {
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        let header =
            Header { features: vec!["speed".into()], grid: Grid::Time { step_s: 10.0 }, data: DataSource::Synthetic };
        let (mut all, mut lines) = (Sequences::empty(header), Vec::new());
        for user in 0..users {
            let line = [140.0 + normal(rng, 0.0, 10.0), normal(rng, 15.0, 4.0)];
            lines.push(line);
            for workout in 0..workouts {
                let day = normal(rng, 0.0, 3.0);
                for step in 0..40 {
                    let speed = uniform(rng, 2.0, 4.0);
                    all.features.push(speed as f32);
                    all.target.push((line[0] + line[1] * (speed - 3.0) + day + normal(rng, 0.0, 1.0)) as f32);
                    all.time.push(10.0 * step as f32);
                    all.real.push(1);
                    all.valid.push(1);
                }
                all.offsets.push(all.target.len() as i64);
                all.workout.push((user * 1000 + workout) as i64);
                all.user.push(user as i64);
                all.start.push(86_400 * workout as i64);
            }
        }
        (all, lines)
    }

    fn fit(all: &Sequences, workouts: &[usize]) -> Mixed {
        Mixed::fit(all, vec!["speed".into()], workouts, 32).unwrap()
    }

    #[test]
    fn a_population_is_found_as_it_was_drawn() {
        let (all, _) = population(80, 6);
        let mixed = fit(&all, &(0..all.len()).collect::<Vec<_>>());
        let sd = mixed.scaler.sd[0];
        let (slope, level) = (mixed.weights[0] / sd, mixed.weights[1] + mixed.scaler.target_mean);
        assert!((slope - 15.0).abs() < 1.5 && (level - 140.0).abs() < 3.0, "{slope} {level}");
        let (slopes, levels) = (mixed.between[0].sqrt() / sd, mixed.between[3].sqrt());
        assert!((slopes - 4.0).abs() < 0.8 && (levels - 10.0).abs() < 1.7, "{slopes} {levels}");
        let (days, noise) = (mixed.days.sqrt(), mixed.noise.sqrt());
        assert!((days - 3.0).abs() < 0.4 && (noise - 1.0).abs() < 0.15, "{days} {noise}");
    }

    #[test]
    fn a_stranger_has_the_line_of_the_population_and_comes_to_have_one_of_his_own() {
        let (all, lines) = population(60, 12);
        let mixed = fit(&all, &(0..50 * 12).collect::<Vec<_>>());
        let found = mixed.lines(&all).unwrap();
        let error = |user: usize, workout: usize| {
            let line = &found[2 * (user * 12 + workout)..][..2];
            (line[1] + mixed.scaler.target_mean - lines[user][0]).abs()
                + (line[0] / mixed.scaler.sd[0] - lines[user][1]).abs()
        };
        let mean = |workout: usize| (50..60).map(|user| error(user, workout)).sum::<f64>() / 10.0;
        assert_eq!(found[2 * 50 * 12..][..2], mixed.weights[..]);
        assert!(mean(1) < 0.6 * mean(0) && mean(11) < 0.6 * mean(1), "{} {} {}", mean(0), mean(1), mean(11));
        let rates = mixed.along(&found, &all).unwrap();
        let last = all.steps(59 * 12 + 11);
        let miss = last.clone().map(|step| f64::from((rates[step] - all.target[step]).abs())).sum::<f64>();
        assert!(miss / (last.len() as f64) < 8.0);
    }

    #[test]
    fn neither_a_workout_itself_nor_a_later_one_is_looked_at() {
        let (all, _) = population(3, 4);
        let mixed = fit(&all, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let mut other = all.clone();
        for step in all.steps(10).start..all.steps(11).end {
            other.target[step] = 60.0;
        }
        let (honest, perturbed) = (mixed.lines(&all).unwrap(), mixed.lines(&other).unwrap());
        assert_eq!(honest[..22], perturbed[..22]);
        assert_ne!(honest[22..], perturbed[22..], "the last one has seen it");
    }

    #[test]
    fn one_user_alone_is_the_population() {
        let (all, lines) = population(1, 8);
        let mixed = fit(&all, &[0, 1, 2, 3, 4, 5, 6, 7]);
        assert!((mixed.weights[0] / mixed.scaler.sd[0] - lines[0][1]).abs() < 0.5);
        assert!(mixed.lines(&all).unwrap().iter().all(|weight| weight.is_finite()));
    }
}
