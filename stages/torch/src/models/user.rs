//! What a network makes of the user: an embedding of its own for each known user, and an encoder of the earlier
//! workouts. Unaware of what the network does with it.

use anyhow::{Context as _, Result};
use pacer_stages::about::About;
use pacer_stages::history::History;
use pacer_stages::model::UserInput;
use tch::{Kind, Tensor};

use crate::models::input::Input;
use crate::models::pass::Pass;
use crate::models::weights::{Named, Parameter, Start};

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
        Self { about: input.about.clone(), known: input.users.len(), numbers: History::width(features) }
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
            all.extend(Parameter::linear("user.weigh", 1, self.numbers));
            all.extend(Parameter::linear("user.mix", width, width + 1));
        }
        all
    }

    /// What is made of the users, shape `[workouts, width]`; none where nothing is told.
    ///
    /// Earlier workouts are read one by one, weighed by a softmax among themselves (attention with one learned
    /// question), and mixed together with how many there are, since a mean over two tells less than one over twenty.
    pub fn forward(&self, weights: &Named<'_>, input: &Input, pass: &mut Pass) -> Result<Option<Tensor>> {
        let mut parts = Vec::new();
        if self.about.embedding > 0 {
            let users = pass.hide(&input.users, self.about.hide)?;
            parts.push(weights["user.embedding"].f_index_select(0, &users)?);
        }
        if self.about.history > 0 {
            let history = input.history.as_ref().context("the earlier workouts are not there")?;
            let read = weights.linear("user.read", &history.rows)?.f_tanh()?;
            let there = history.there.f_unsqueeze(2)?;
            // What is not there weighs nothing; where nothing is there, all are zero.
            let weigh = weights.linear("user.weigh", &history.rows)?.f_clamp(-10.0, 10.0)?.f_exp()?.f_mul(&there)?;
            let dims: &[i64] = &[1];
            let all = weigh.f_sum_dim_intlist(dims, false, Kind::Float)?.f_clamp_min(1e-6)?;
            let mean = read.f_mul(&weigh)?.f_sum_dim_intlist(dims, false, Kind::Float)?.f_div(&all)?;
            let count = there.f_sum_dim_intlist(dims, false, Kind::Float)?;
            let share = count.f_div(&count.f_add_scalar(2.0)?)?;
            parts.push(weights.linear("user.mix", &Tensor::f_cat(&[mean, share], 1)?)?);
        }
        if parts.is_empty() { Ok(None) } else { Ok(Some(Tensor::f_cat(&parts, 1)?)) }
    }
}
