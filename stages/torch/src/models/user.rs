//! What a network makes of the user: an embedding of its own for each known user, and an encoder of the earlier
//! workouts. Unaware of what the network does with it.

use anyhow::{Context as _, Result};
use pacer_stages::about::About;
use pacer_stages::history::History as Past;
use pacer_stages::model::UserInput;
use tch::{Kind, Tensor};

use crate::models::input::{History, Input};
use crate::models::pass::Pass;
use crate::models::weights::{Named, Parameter, Start};

/// Numbers of an earlier workout are standardised; what lies farther out is no statistic but an accident.
const FARTHEST: f64 = 6.0;

/// The part of a network that reads the user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    about: About,
    known: usize,
    numbers: usize,
}

impl User {
    /// The part that an architecture describes, for workouts of so many features.
    pub fn new(input: &UserInput, features: usize) -> Self {
        Self { about: input.about.clone(), known: input.users.len(), numbers: Past::width(features) }
    }

    /// Numbers that it gives for each workout.
    pub fn width(&self) -> usize {
        self.about.embedding + if self.about.history > 0 { self.about.width } else { 0 }
    }

    /// Its weights. The embedding of place 0 stands for users that are not known.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut all = Vec::new();
        if self.about.embedding > 0 {
            all.push(Parameter::new("user.embedding", &[self.known + 1, self.about.embedding], Start::Uniform(0.1)));
        }
        if self.about.history > 0 {
            let width = self.about.width;
            all.extend(Parameter::linear("user.read", width, self.numbers));
            all.push(Parameter::new("user.line", &[width, self.numbers], Start::Uniform(0.1)));
            all.extend(Parameter::linear("user.weigh", 1, self.numbers));
            all.push(Parameter::new("user.prior", &[width], Start::Fixed(0.0)));
            all.extend(Parameter::linear("user.mix", width, width + 1));
            all.extend(Parameter::linear("user.hidden", width, width + 1));
            all.push(Parameter::new("user.bend", &[width, width], Start::Uniform(0.1)));
        }
        all
    }

    /// What is made of the users, shape `[workouts, width]`; none where nothing is told.
    pub fn forward(&self, weights: &Named<'_>, input: &Input, pass: &mut Pass) -> Result<Option<Tensor>> {
        let mut parts = Vec::new();
        if self.about.embedding > 0 {
            let users = pass.hide(&input.users, self.about.hide)?;
            parts.push(weights["user.embedding"].f_index_select(0, &users)?);
        }
        if self.about.history > 0 {
            let history = input.history.as_ref().context("the earlier workouts are not there")?;
            parts.push(looked_back(weights, history)?);
        }
        if parts.is_empty() { Ok(None) } else { Ok(Some(Tensor::f_cat(&parts, 1)?)) }
    }
}

/// What is made of earlier workouts, shape `[workouts, width]`.
///
/// Each is read by a line and a bend beside it, and weighs what it says it is worth. Their weighted sum is divided by
/// the sum of their weights and of a learned prior: as for the mean of a few draws from a population, one workout is
/// believed less than twenty, and none tells nothing. What the sum says is again read by a line and a bend, so that a
/// ratio of two means, such as a slope, is within reach.
fn looked_back(weights: &Named<'_>, history: &History) -> Result<Tensor> {
    let rows = history.rows.f_clamp(-FARTHEST, FARTHEST)?;
    let line = rows.f_linear(&weights["user.line"], None::<&Tensor>)?;
    let read = weights.linear("user.read", &rows)?.f_tanh()?.f_add(&line)?;
    let there = history.there.f_unsqueeze(2)?;
    // What is not there weighs nothing.
    let weigh = weights.linear("user.weigh", &rows)?.f_clamp(-10.0, 10.0)?.f_exp()?.f_mul(&there)?;
    let dims: &[i64] = &[1];
    let prior = weights["user.prior"].f_clamp(-10.0, 10.0)?.f_exp()?.f_unsqueeze(0)?;
    let all = weigh.f_sum_dim_intlist(dims, false, Kind::Float)?.f_add(&prior)?;
    let mean = read.f_mul(&weigh)?.f_sum_dim_intlist(dims, false, Kind::Float)?.f_div(&all)?;
    let count = there.f_sum_dim_intlist(dims, false, Kind::Float)?;
    let share = count.f_div(&count.f_add_scalar(2.0)?)?;
    let told = Tensor::f_cat(&[mean, share], 1)?;
    let bend = weights.linear("user.hidden", &told)?.f_tanh()?.f_linear(&weights["user.bend"], None::<&Tensor>)?;
    Ok(weights.linear("user.mix", &told)?.f_add(&bend)?)
}
