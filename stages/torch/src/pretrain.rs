//! Runs the kind `pretrain`: a network from random weights. Unaware of the loop's inside.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use pacer_stages::kinds::pretrain::{Network, Pretrain};
use pacer_stages::mixed::Mixed;
use pacer_stages::model::{Architecture, Model, ModelConfig, Scaler, UserInput};
use pacer_stages::sequences::Sequences;
use pacer_stages::split::{Part, Split};
use pacer_stages::stage::{Blame, Context, Metrics, Stage as _};
use serde_json::Value;

use crate::device;
use crate::models;
use crate::models::recurrent::BACKBONE;
use crate::models::weights::{self, Parameter};
use crate::training::checkpoint::Keeper;
use crate::training::loss::Objective;
use crate::training::outcome;
use crate::training::parts::{self, Parts};
use crate::training::{Phase, Recipe, train};

/// Trains and writes the model and the history of its epochs.
pub fn run(params: &Value, context: &Context<'_>) -> Result<Metrics> {
    let params: Pretrain = serde_json::from_value(params.clone())?;
    let device = device::open(context.job.device)?;
    let sequences = Sequences::read(context.job.input("sequences")?)?;
    let split = Split::read(context.job.input("split")?)?;
    let backbone = context.job.optional_input("backbone").map(Model::read).transpose()?;
    let mut config = config(&params, &sequences, &split, backbone.as_ref())?;
    let network = models::network(&config)?;
    let mut start = weights::initial(network.parameters(), context.job.seed);
    if let Some(ridge) = backbone.as_ref().filter(|model| line(model).is_none()) {
        place_backbone(ridge, &config, network.parameters(), &mut start)?;
    }
    let recipe = recipe(&params, network.parameters());
    let parts = Parts::new(&sequences, &split, &config, device, context)?;
    parts.fit(&recipe)?;
    let course = params.course().expect("a training has a course");
    let length = weights::len(network.parameters());
    let mut keeper = Keeper::new(context, parts.identity(context.job, &course, &start)?, length);
    let trained = train(&*network, &start, &parts, &recipe, &mut keeper, context)?;
    let training = parts.training(&sequences, &split, context.job.seed);
    // What the backbone learnt from, the network says too.
    config.training = match &backbone {
        Some(backbone) => outcome::joined(&backbone.config.training, training),
        None => training,
    };
    let model = Model { config, tensors: weights::unpack(network.parameters(), &trained.theta) };
    model.write(&context.output(&Pretrain::MODEL))?;
    outcome::warn_if_idle(&trained, context);
    outcome::history(&trained)?.write(&context.output(&Pretrain::HISTORY))?;
    Ok(outcome::metrics(&trained, &*network, &parts, &model.config.training))
}

/// What is to be trained, with a scaler that the training part alone was asked for.
fn config(params: &Pretrain, sequences: &Sequences, split: &Split, backbone: Option<&Model>) -> Result<ModelConfig> {
    let features = features(params, sequences)?;
    let columns = sequences.select(&features).map_err(|error| parts::blame("features", error))?;
    let places = split.workouts(sequences, Part::Train)?;
    let scaler = Scaler::fit(sequences, &columns, &places)?;
    let users: BTreeSet<i64> = places.iter().map(|place| sequences.user[*place]).collect();
    let users = if params.about.embedding > 0 { users.into_iter().collect() } else { Vec::new() };
    let line = backbone.and_then(line).cloned();
    let backbone = backbone.is_some() && line.is_none();
    let user = UserInput { about: params.about.clone(), users, line };
    let (layers, hidden, dropout) = (params.layers, params.hidden, params.dropout);
    let architecture = match params.model {
        Network::Lstm | Network::Gru => Architecture::Recurrent {
            cell: params.model.name().into(),
            layers,
            hidden,
            dropout,
            bidirectional: params.bidirectional,
            start: params.start,
            backbone,
            user,
        },
        _ if backbone => bail!("`{}` has no place for a ridge: wire it to a recurrent network", params.model.name()),
        Network::Hybrid => Architecture::Hybrid { hidden, user },
        Network::Decoder => {
            let attention = params.attention.clone();
            let (heads, width, lags) = (attention.heads, attention.width, attention.lags);
            Architecture::Decoder { layers, heads, width, lags, dropout, user }
        }
    };
    let training = pacer_stages::model::Training {
        data: sequences.header.data,
        split: split.by,
        users: 0,
        workouts: 0,
        seed: None,
    };
    Ok(ModelConfig { architecture, features, scaler, training, head: params.head.clone() })
}

/// The lines of users, where a backbone consists of them.
fn line(backbone: &Model) -> Option<&Mixed> {
    match &backbone.config.architecture {
        Architecture::Mixed { line } => Some(line),
        _ => None,
    }
}

/// Puts a ridge into the place of the linear model beside the network, in the network's own units.
///
/// The ridge says bias + Σ w · (x − m)/s in BPM of features x by its scaler; the network's linear model says the
/// standardised heart rate of features that its own scaler standardised.
fn place_backbone(ridge: &Model, config: &ModelConfig, parameters: &[Parameter], theta: &mut [f32]) -> Result<()> {
    if !matches!(ridge.config.architecture, Architecture::Ridge { .. }) {
        let name = ridge.config.architecture.name();
        bail!("the backbone is a model `{name}`: wire a `baseline` with `model = \"ridge\"` or `\"mixed\"` to it");
    }
    let tensor = |name: &str| ridge.tensors.get(name).with_context(|| format!("the ridge lacks its tensor `{name}`"));
    let (weight, bias) = (&tensor("weight")?.values, tensor("bias")?.values[0]);
    let (theirs, own) = (&ridge.config.scaler, &config.scaler);
    let mut weights = vec![0.0; config.features.len()];
    let mut constant = (f64::from(bias) - own.target_mean) / own.target_sd;
    for (at, name) in ridge.config.features.iter().enumerate() {
        let place = config.features.iter().position(|feature| feature == name);
        let place = place.ok_or_else(|| Blame {
            parameter: "features".into(),
            message: format!("the backbone needs the feature `{name}`, which the network is not given: add it"),
        })?;
        let slope = f64::from(weight[at]) / theirs.sd[at] / own.target_sd;
        weights[place] = (slope * own.sd[place]) as f32;
        constant += slope * (own.mean[place] - theirs.mean[at]);
    }
    weights::place(parameters, theta, BACKBONE[0], &weights);
    weights::place(parameters, theta, BACKBONE[1], &[constant as f32]);
    Ok(())
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

fn recipe(params: &Pretrain, parameters: &[Parameter]) -> Recipe {
    // The backbone stays the ridge that it was: what it cannot tell is the network's to learn.
    let frozen = |parameter: &Parameter| BACKBONE.contains(&parameter.name.as_str());
    let numbers = parameters.iter().flat_map(|parameter| {
        let free = if frozen(parameter) { 0.0 } else { 1.0 };
        std::iter::repeat_n(free, parameter.len() as usize)
    });
    let mask = parameters.iter().any(frozen).then(|| numbers.collect());
    let (epochs, rate) = (params.epochs, params.learning_rate);
    Recipe {
        objective: Objective { head: params.head.clone(), loss: params.loss },
        batch_size: params.batch_size,
        batches: params.batches.clone(),
        schedule: params.schedule.clone(),
        clip_norm: (params.clip_norm > 0.0).then_some(params.clip_norm),
        patience: params.patience,
        weight_decay: params.weight_decay,
        phases: vec![Phase { epochs, rate, mask, rate_parameter: "learning_rate".into() }],
    }
}
