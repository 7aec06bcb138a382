//! Runs the kind `pretrain`: a recurrent network from random weights. Unaware of the loop's inside.

use anyhow::{Result, bail};
use pacer_stages::kinds::pretrain::Pretrain;
use pacer_stages::model::{Architecture, Model, ModelConfig, Scaler};
use pacer_stages::sequences::Sequences;
use pacer_stages::split::{Part, Split};
use pacer_stages::stage::{Context, Metrics, Stage as _};
use serde_json::Value;

use crate::device;
use crate::models::recurrent::Recurrent;
use crate::training::checkpoint::Keeper;
use crate::training::outcome;
use crate::training::parts::{self, Parts};
use crate::training::{Phase, Recipe, train};

/// Trains and writes the model and the history of its epochs.
pub fn run(params: &Value, context: &Context<'_>) -> Result<Metrics> {
    let params: Pretrain = serde_json::from_value(params.clone())?;
    let device = device::open(context.job.device)?;
    let sequences = Sequences::read(context.job.input("sequences")?)?;
    let split = Split::read(context.job.input("split")?)?;
    let features = features(&params, &sequences)?;
    let columns = sequences.select(&features).map_err(|error| parts::blame("features", error))?;
    let scaler = Scaler::fit(&sequences, &columns, &split.workouts(&sequences, Part::Train)?)?;
    let architecture = Architecture::Recurrent {
        cell: params.cell.name().into(),
        layers: params.layers,
        hidden: params.hidden,
        dropout: params.dropout,
        bidirectional: params.bidirectional,
    };
    let network = Recurrent::new(&architecture, features.len())?;
    let recipe = recipe(&params);
    let parts = Parts::new(&sequences, &split, &columns, &scaler, device, context)?;
    parts.fit(&recipe)?;
    let start = network.initial(context.job.seed);
    let course = params.course().expect("a training has a course");
    let mut keeper = Keeper::new(context, parts.identity(context.job, &course, &start)?, network.len());
    let trained = train(&network, &start, &parts, &recipe, &mut keeper, context)?;
    let training = parts.training(&sequences, &split, context.job.seed);
    let config = ModelConfig { architecture, features, scaler, training };
    let model = Model { config, tensors: network.unpack(&trained.theta) };
    model.write(&context.output(&Pretrain::MODEL))?;
    outcome::warn_if_idle(&trained, context);
    outcome::history(&trained)?.write(&context.output(&Pretrain::HISTORY))?;
    Ok(outcome::metrics(&trained, &network, &parts))
}

/// The names of the features to use, in order.
fn features(params: &Pretrain, sequences: &Sequences) -> Result<Vec<String>> {
    match params.features() {
        Ok(chosen) => Ok(chosen.unwrap_or_else(|| sequences.header.features.clone())),
        Err(faults) => {
            let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
            bail!("`features`: {}", messages.join("; "))
        }
    }
}

fn recipe(params: &Pretrain) -> Recipe {
    let phase =
        Phase { epochs: params.epochs, rate: params.learning_rate, mask: None, rate_parameter: "learning_rate".into() };
    Recipe {
        loss: params.loss,
        batch_size: params.batch_size,
        schedule: params.schedule.clone(),
        clip_norm: (params.clip_norm > 0.0).then_some(params.clip_norm),
        patience: params.patience,
        weight_decay: params.weight_decay,
        phases: vec![phase],
    }
}
