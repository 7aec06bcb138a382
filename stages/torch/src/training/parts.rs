//! The data of a training: its two parts on the device, and what must hold of them. Unaware of the loop.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use pacer_stages::job::Job;
use pacer_stages::model::{ModelConfig, Training};
use pacer_stages::sequences::Sequences;
use pacer_stages::split::{Part, Split};
use pacer_stages::stage::{Blame, Context, Course};
use tch::Device;

use crate::training::Recipe;
use crate::training::checkpoint::file::checksum;
use crate::training::data::Set;

/// The data that a network is trained with.
pub struct Parts {
    /// What the weights are fitted to; every workout has a real sample.
    pub train: Set,
    /// What the epoch is chosen by; may be empty.
    pub validation: Set,
    /// Standard deviation of the heart rate that a standardised unit stands for, BPM.
    pub unit_bpm: f64,
}

impl Parts {
    /// Takes the training and the validation part; workouts without a real sample are set aside and counted.
    pub fn new(
        sequences: &Sequences,
        split: &Split,
        config: &ModelConfig,
        device: Device,
        context: &Context<'_>,
    ) -> Result<Self> {
        let set = |part| Set::new(sequences, &split.workouts(sequences, part)?, config, device);
        let (mut train, mut validation) = (set(Part::Train)?, set(Part::Validation)?);
        let dropped = train.drop_unmeasured() + validation.drop_unmeasured();
        if dropped > 0 {
            context.warn(format!("{dropped} workouts have no real heart rate sample and are left out"));
        }
        ensure!(!train.is_empty(), "the training part holds no workout with a real heart rate sample");
        if validation.is_empty() {
            context.warn("the validation part is empty: the last epoch stands, chosen by nothing");
        }
        Ok(Self { train, validation, unit_bpm: config.scaler.target_sd })
    }

    /// Checks what a recipe asks of the data.
    pub fn fit(&self, recipe: &Recipe) -> Result<()> {
        let (size, workouts) = (recipe.batch_size, self.train.len());
        if size > workouts {
            let message = format!("a batch of {size} is larger than the training part of {workouts} workouts");
            return Err(Blame { parameter: "batch_size".into(), message }.into());
        }
        if recipe.patience.is_some() && self.validation.is_empty() {
            let message = "patience needs a validation part, which is empty".into();
            return Err(Blame { parameter: "patience".into(), message }.into());
        }
        Ok(())
    }

    /// What tells trainings of this course from all others: the kind, the course's parameters, seed and device,
    /// the data, and the checksum of the weights that they start from.
    pub fn identity(&self, job: &Job, course: &Course, start: &[f32]) -> Result<String> {
        let data = [self.train.checksum(), self.validation.checksum(), checksum([start])];
        let parts = (&job.kind, &job.code, &course.params, job.seed, job.device, data);
        Ok(serde_json::to_string(&parts)?)
    }

    /// The record of a training on these parts.
    pub fn training(&self, sequences: &Sequences, split: &Split, seed: u64) -> Training {
        let spans = self.train.spans();
        let users: BTreeSet<i64> = spans.iter().map(|span| sequences.user[span.place]).collect();
        Training {
            data: sequences.header.data,
            split: split.by,
            users: users.len(),
            workouts: spans.len(),
            seed: Some(seed),
        }
    }
}

/// An error that points at a parameter.
pub fn blame(parameter: &str, error: anyhow::Error) -> anyhow::Error {
    Blame { parameter: parameter.into(), message: format!("{error:#}") }.into()
}
