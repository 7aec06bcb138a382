//! Runs the kind `finetune`: a trained network on other workouts, some of its layers frozen. Unaware of the
//! loop's inside.

use anyhow::{Context as _, Result};
use pacer_stages::head::Head;
use pacer_stages::kinds::finetune::{self as declared, Finetune};
use pacer_stages::model::Model;
use pacer_stages::sequences::Sequences;
use pacer_stages::split::Split;
use pacer_stages::stage::{Blame, Context, Metrics, Stage as _};
use serde_json::Value;

use crate::device;
use crate::models;
use crate::models::weights::{self, Parameter};
use crate::training::checkpoint::Keeper;
use crate::training::loss::Objective;
use crate::training::outcome;
use crate::training::parts::Parts;
use crate::training::{Phase, Recipe, train};

/// Trains on and writes the model and the history of its epochs.
pub fn run(params: &Value, context: &Context<'_>) -> Result<Metrics> {
    let params: Finetune = serde_json::from_value(params.clone())?;
    let device = device::open(context.job.device)?;
    let path = context.job.input("model")?;
    let mut model = Model::read(path)?;
    let sequences = Sequences::read(context.job.input("sequences")?)?;
    let split = Split::read(context.job.input("split")?)?;
    let named = || format!("`{}` cannot be trained further", path.display());
    let network = models::network(&model.config).with_context(named)?;
    let start = weights::pack(network.parameters(), &model).with_context(named)?;
    let recipe = recipe(&params, &model.config.head, network.parameters())?;
    let parts = Parts::new(&sequences, &split, &model.config, device, context)?;
    parts.fit(&recipe)?;
    let course = params.course().expect("a training has a course");
    let length = weights::len(network.parameters());
    let mut keeper = Keeper::new(context, parts.identity(context.job, &course, &start)?, length);
    let trained = train(&*network, &start, &parts, &recipe, &mut keeper, context)?;
    let training = parts.training(&sequences, &split, context.job.seed);
    model.config.training = outcome::joined(&model.config.training, training);
    model.tensors = weights::unpack(network.parameters(), &trained.theta);
    model.write(&context.output(&Finetune::MODEL))?;
    outcome::warn_if_idle(&trained, context);
    outcome::history(&trained)?.write(&context.output(&Finetune::HISTORY))?;
    Ok(outcome::metrics(&trained, &*network, &parts, &model.config.training))
}

fn recipe(params: &Finetune, head: &Head, parameters: &[Parameter]) -> Result<Recipe> {
    let phases = params.phases.iter().enumerate().map(|(place, phase)| phase_of(place, phase, parameters));
    Ok(Recipe {
        objective: Objective { head: head.clone(), loss: params.loss },
        batch_size: params.batch_size,
        batches: params.batches.clone(),
        schedule: params.schedule.clone(),
        clip_norm: (params.clip_norm > 0.0).then_some(params.clip_norm),
        patience: params.patience,
        weight_decay: params.weight_decay,
        phases: phases.collect::<Result<_>>()?,
    })
}

fn phase_of(place: usize, phase: &declared::Phase, parameters: &[Parameter]) -> Result<Phase> {
    let patterns = phase.unfreeze.patterns();
    let mask = mask(&patterns, parameters)
        .map_err(|message| Blame { parameter: format!("phases[{place}].unfreeze"), message })?;
    Ok(Phase {
        epochs: phase.epochs,
        rate: phase.learning_rate,
        mask: mask.contains(&0.0).then_some(mask),
        rate_parameter: format!("phases[{place}].learning_rate"),
    })
}

/// 1 for every number of a weight that a pattern matches, else 0; a pattern that matches none is a fault.
fn mask(patterns: &[&str], parameters: &[Parameter]) -> std::result::Result<Vec<f32>, String> {
    for pattern in patterns {
        if !parameters.iter().any(|parameter| matches(pattern, &parameter.name)) {
            let names: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            return Err(format!("`{pattern}` matches no weight of the model, which has `{}`", names.join("`, `")));
        }
    }
    let numbers = parameters.iter().flat_map(|parameter| {
        let free = patterns.iter().any(|pattern| matches(pattern, &parameter.name));
        std::iter::repeat_n(f32::from(u8::from(free)), parameter.len() as usize)
    });
    Ok(numbers.collect())
}

/// Whether a pattern, in which `*` stands for anything, fits a name or a leading part of it that a dot ends.
fn matches(pattern: &str, name: &str) -> bool {
    let leading = name.match_indices('.').map(|(dot, _)| &name[..dot]);
    leading.chain([name]).any(|text| fits(pattern, text))
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::weights::Start;

    fn parameters() -> Vec<Parameter> {
        let names = ["rnn.weight_ih_l0", "rnn.weight_hh_l1", "rnn.bias_ih_l1", "head.weight", "head.bias"];
        names.map(|name| Parameter::new(name, &[2], Start::Fixed(0.0))).to_vec()
    }

    fn free(patterns: &[&str]) -> Vec<f32> {
        mask(patterns, &parameters()).unwrap().chunks(2).map(|pair| pair[0]).collect()
    }

    #[test]
    fn patterns_free_what_they_name_and_all_below_it() {
        assert_eq!(free(&["head"]), [0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(free(&["rnn.*_l1"]), [0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(free(&["rnn.weight*", "head.bias"]), [1.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(free(&["*"]), [1.0; 5]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_answered_with_the_names() {
        let message = mask(&["head", "rnn.*_l7"], &parameters()).unwrap_err();
        assert!(message.starts_with("`rnn.*_l7` matches no weight"), "{message}");
        assert!(message.contains("`rnn.weight_hh_l1`") && message.contains("`head.bias`"), "{message}");
    }
}
