//! The forecaster beside a plain implementation in 64-bit floats, which knows no cache and sorts anew each time.

use pacer_stages::past::clock;
use tch::{Device, Kind};

use super::*;
use crate::models::llama::plain::Plain;
use crate::models::weights::{flatten, initial, len, unpack};
use crate::random::{Purpose, stream};

const CONTEXT: usize = 6;

/// A small forecaster of three blocks, and one as large as the published one.
fn small() -> Forecaster {
    let blocks = Blocks { layers: 3, heads: 2, width: 4, dropout: 0.0, stretch: 1.0 };
    Forecaster::new(blocks, vec![0, 2, 3, 11])
}

fn published() -> Forecaster {
    let wte = Weights { shape: vec![144, 92], values: Vec::new() };
    let mut weights = BTreeMap::from([("model.transformer.wte.weight".to_owned(), wte)]);
    for block in 0..8 {
        let name = format!("model.transformer.h.{block}.rms_1.scale");
        weights.insert(name, Weights { shape: vec![144], values: Vec::new() });
    }
    Forecaster::published(&weights, 1.0).unwrap()
}

/// A heart rate of so many steps, every fourth of them missing.
fn past(steps: usize) -> Past {
    let rate: Vec<f32> = (0..steps).map(|step| (140.0 + 15.0 * (step as f32 / 3.0).sin()).round()).collect();
    let real: Vec<u8> = (0..steps).map(|step| u8::from(step % 4 != 2)).collect();
    Past::new(&rate, &real).unwrap()
}

fn time(step: usize) -> [f64; 6] {
    clock(1_600_000_000.0 + 10.0 * step as f64)
}

fn random(step: usize) -> ChaCha8Rng {
    stream(9, Purpose::Future, step as u64)
}

fn draw(forecaster: &Forecaster, theta: &[f32], past: &Past, plan: Plan) -> Vec<Vec<f64>> {
    forecaster.draw(&Tensor::from_slice(theta), past, plan, time, random).unwrap()
}

/// Median and distance of the quartiles of unsorted values.
fn robust(values: &[f64]) -> [f64; 2] {
    let mut values = values.to_vec();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let quartile = |quarters: f64| {
        let place = quarters / 4.0 * (values.len() as f64 - 1.0);
        let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
        below * (1.0 - place.fract()) + above * place.fract()
    };
    [values[(values.len() - 1) / 2], quartile(3.0) - quartile(1.0)]
}

/// The same futures, with every step read anew by every later one.
fn plainly(forecaster: &Forecaster, theta: &[f32], past: &Past, plan: Plan) -> Vec<Vec<f64>> {
    let plain = Plain::new(&forecaster.blocks, &forecaster.parameters, theta, plan.context);
    let length = past.values.len();
    let mut generators: Vec<ChaCha8Rng> = (0..plan.horizon).map(random).collect();
    let mut drawn = vec![Vec::new(); plan.horizon];
    for _ in 0..plan.samples {
        let mut values = past.values.clone();
        let mut observed: Vec<f64> = (0..length).filter(|step| past.real[*step]).map(|step| values[step]).collect();
        let mut tokens: Vec<Vec<f64>> = Vec::new();
        for ahead in 0..plan.horizon {
            let [middle, spread] = robust(&observed);
            let now = values.len();
            for step in if ahead == 0 { now - plan.context..now } else { now - 1..now } {
                let lagged = forecaster.lags.iter().map(|lag| if *lag > step { 0.0 } else { values[step - lag] });
                let mut token: Vec<f64> = lagged.map(|value| (value - middle) / spread).collect();
                token.extend([(1.0 + middle.abs()).ln(), spread.ln()]);
                token.extend(time(step));
                tokens.push(token);
            }
            let made = plain.steps(&tokens);
            let [freedom, location, scale] = SAID.map(|name| plain.linear(name, made.last().unwrap())[0]);
            let plus = |x: f64| (1.0 + x.exp()).ln();
            let (above, around) = (fraction(&mut generators[ahead]), fraction(&mut generators[ahead]));
            let said = location + plus(scale) * student(2.0 + plus(freedom), above, around);
            values.push(said * spread + middle);
            observed.push(values[now]);
            drawn[ahead].push(values[now]);
        }
    }
    drawn
}

fn assert_close(found: &[Vec<f64>], expected: &[Vec<f64>], apart: f64) {
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < apart, "step {step}: {found} instead of {expected} BPM");
        }
    }
}

#[test]
fn futures_with_a_cache_are_those_of_loops_without_one() {
    let forecaster = small();
    let theta = initial(forecaster.parameters(), 2);
    // Both before and beyond the longest lag, and over more steps than a window holds.
    for steps in [CONTEXT, 9, 40] {
        let plan = Plan { context: CONTEXT, horizon: 15, samples: 3 };
        let found = draw(&forecaster, &theta, &past(steps), plan);
        assert_close(&found, &plainly(&forecaster, &theta, &past(steps), plan), 2e-3);
        assert!(found.iter().all(|step| step[0] != step[1]), "futures differ");
    }
}

#[test]
fn the_published_sizes_give_the_published_number_of_weights_and_say_what_loops_say() {
    let forecaster = published();
    assert_eq!(len(forecaster.parameters()), 2_449_299);
    assert_eq!((forecaster.lags.len(), forecaster.reach()), (84, 1092));
    let theta = initial(forecaster.parameters(), 2);
    let plan = Plan { context: 32, horizon: 3, samples: 2 };
    let found = draw(&forecaster, &theta, &past(200), plan);
    assert_close(&found, &plainly(&forecaster, &theta, &past(200), plan), 5e-3);
}

#[test]
fn names_are_those_of_the_published_state_dict() {
    let forecaster = published();
    let names: Vec<&str> = forecaster.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    let first = ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"];
    assert_eq!(names[..6], first.map(|name| format!("model.param_proj.proj.{name}")));
    assert_eq!(names[6..8], ["model.transformer.wte.weight", "model.transformer.wte.bias"]);
    let block = ["rms_1.scale", "attn.q_proj.weight", "attn.kv_proj.weight", "attn.c_proj.weight", "rms_2.scale"];
    let block = [&block[..], &["mlp.c_fc1.weight", "mlp.c_fc2.weight", "mlp.c_proj.weight"]].concat();
    let block: Vec<String> = block.iter().map(|name| format!("model.transformer.h.7.{name}")).collect();
    assert_eq!(names[names.len() - 9..names.len() - 1], block);
    assert_eq!(names[names.len() - 1], "model.transformer.ln_f.scale");
    let weights = unpack(forecaster.parameters(), &initial(forecaster.parameters(), 3));
    let shapes = ["h.0.attn.kv_proj", "h.0.mlp.c_fc1", "h.0.mlp.c_proj"];
    let shapes = shapes.map(|name| weights[&format!("model.transformer.{name}.weight")].shape.clone());
    assert_eq!(shapes, [[288, 144], [512, 144], [144, 512]]);
    assert_eq!(Forecaster::published(&weights, 1.0).unwrap(), forecaster);
}

#[test]
fn weights_of_something_else_are_named() {
    let forecaster = published();
    let mut weights = unpack(forecaster.parameters(), &initial(forecaster.parameters(), 3));
    weights.remove("model.transformer.h.3.mlp.c_fc2.weight");
    let error = flatten(forecaster.parameters(), &weights).unwrap_err().to_string();
    assert_eq!(error, "`model.transformer.h.3.mlp.c_fc2.weight` is missing in the model");
    weights.remove("model.transformer.wte.weight");
    let error = Forecaster::published(&weights, 1.0).unwrap_err().to_string();
    assert!(error.contains("no weights of Lag-Llama"), "{error}");
}

#[test]
fn the_same_draws_come_whatever_is_drawn_beside_them_and_later() {
    let forecaster = small();
    let theta = initial(forecaster.parameters(), 2);
    let plan = Plan { context: CONTEXT, horizon: 4, samples: 2 };
    let few = draw(&forecaster, &theta, &past(20), plan);
    let many = draw(&forecaster, &theta, &past(20), Plan { horizon: 9, samples: 5, ..plan });
    for (few, many) in few.iter().zip(&many) {
        assert!(few.iter().zip(many).all(|(few, many)| (few - many).abs() < 1e-2), "{few:?} {many:?}");
    }
}

#[test]
fn a_past_shorter_than_the_context_is_refused() {
    let forecaster = small();
    let theta = Tensor::zeros([len(forecaster.parameters())], (Kind::Float, Device::Cpu));
    let plan = Plan { context: CONTEXT, horizon: 1, samples: 1 };
    let error = forecaster.draw(&theta, &past(5), plan, time, random).unwrap_err().to_string();
    assert_eq!(error, "a past of 5 steps is shorter than a context of 6");
}
