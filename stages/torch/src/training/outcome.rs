//! What is told of a training that ended: its history as a table, its figures. Unaware of the loop and of time,
//! which would make two equal trainings differ.

use anyhow::Result;
use pacer_stages::model::Training;
use pacer_stages::stage::{Context, Metrics};
use pacer_stages::table::{Column, Table};
use serde_json::json;

use crate::models::Network;
use crate::models::weights;
use crate::training::Trained;
use crate::training::parts::Parts;

/// One row for each epoch, the start included.
pub fn history(trained: &Trained) -> Result<Table> {
    let epochs = &trained.history;
    Table::new(vec![
        Column::int("epoch", epochs.iter().map(|epoch| epoch.epoch as i64)),
        Column::int("phase", epochs.iter().map(|epoch| epoch.phase as i64)),
        Column::float("learning_rate", epochs.iter().map(|epoch| epoch.learning_rate)),
        Column::float("train_loss", epochs.iter().map(|epoch| epoch.train_loss)),
        Column::float("validation_mae_bpm", epochs.iter().map(|epoch| epoch.validation_mae)),
    ])
}

/// The figures of the epoch that was kept, and what they rest on.
pub fn metrics(trained: &Trained, network: &dyn Network, parts: &Parts, training: &Training) -> Metrics {
    let best = &trained.history[trained.best_epoch];
    let figures = [
        ("best_epoch", json!(trained.best_epoch)),
        ("epochs", json!(trained.history.len() - 1)),
        ("train_loss", json!(best.train_loss)),
        ("validation_mae", json!(best.validation_mae)),
        ("parameters", json!(weights::len(network.parameters()))),
        ("n_train", json!(parts.train.len())),
        ("n_validation", json!(parts.validation.len())),
        ("data", json!(training.data)),
        ("split", json!(training.split.label())),
    ];
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Warns of a training that never became better than its start: its model says what it said before.
pub fn warn_if_idle(trained: &Trained, context: &Context<'_>) {
    if trained.best_epoch == 0 && trained.history.len() > 1 {
        context.warn(
            "no epoch was better on the validation part than the start, which is what the model holds: \
             lower `learning_rate`, train longer, or give it more data",
        );
    }
}

/// The record of a model that was trained twice, or over another one: counts of the later training, data of both.
pub fn joined(before: &Training, after: Training) -> Training {
    Training { data: before.data.and(after.data), ..after }
}
