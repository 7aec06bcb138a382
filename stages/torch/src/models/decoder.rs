//! A decoder-only transformer over the steps of a run: the architecture of Lag-Llama, told features instead of a past
//! of heart rates. Unaware of losses, of optimizers and of files.

use anyhow::{Result, bail};
use pacer_stages::head::Head;
use pacer_stages::model::Architecture;
use tch::{Kind, Tensor};

use crate::models::Network;
use crate::models::input::Input;
use crate::models::llama::Blocks;
use crate::models::pass::Pass;
use crate::models::recurrent::with_user;
use crate::models::user::User;
use crate::models::weights::{Named, Parameter, Start};

/// A decoder: its sizes, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoder {
    blocks: Blocks,
    lags: Vec<usize>,
    user: User,
    parameters: Vec<Parameter>,
}

impl Decoder {
    /// The network that an architecture describes, for a number of features.
    pub fn new(architecture: &Architecture, features: usize, head: &Head) -> Result<Self> {
        let Architecture::Decoder { layers, heads, width, lags, dropout, user } = architecture else {
            bail!("`{architecture:?}` is no decoder");
        };
        if *heads == 0 || *width == 0 || width % 2 == 1 || lags.is_empty() {
            bail!("{heads} heads of {width} numbers over {} lags make no decoder", lags.len());
        }
        let (layers, heads, width, dropout) = (*layers, *heads, *width, *dropout);
        let (blocks, user) = (Blocks { layers, heads, width, dropout, stretch: 1.0 }, User::new(user, features));
        let mut parameters = blocks.parameters(features * lags.len() + user.width());
        parameters.extend(Parameter::linear("head", head.outputs(), blocks.size()));
        parameters.extend(user.parameters());
        if user.width() > 0 {
            parameters.push(Parameter::new("head.user", &[head.outputs(), user.width()], Start::Fixed(0.0)));
        }
        Ok(Self { blocks, lags: lags.clone(), user, parameters })
    }
}

impl Network for Decoder {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(&self, theta: &Tensor, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        let weights = Named::new(theta, &self.parameters)?;
        let user = self.user.forward(&weights, input, pass)?;
        let inputs = with_user(&lagged(&input.steps, &self.lags)?, user.as_ref())?;
        let rows = inputs.f_transpose(0, 1)?.f_contiguous()?;
        let steps = self.blocks.forward(&weights, &rows, None, pass)?;
        let outputs = weights.linear("head", &steps)?.f_transpose(0, 1)?;
        match &user {
            None => Ok(outputs.f_contiguous()?),
            Some(user) => Ok(outputs.f_add(&user.f_linear(&weights["head.user"], None::<&Tensor>)?)?),
        }
    }
}

/// The features `[longest, workouts, features]` of each step and of so many steps back, lag by lag:
/// `[longest, workouts, lags · features]`, 0 (the mean) before the start.
fn lagged(steps: &Tensor, lags: &[usize]) -> Result<Tensor> {
    let shape = steps.size();
    let longest = shape[0] as usize;
    let before = lags.iter().max().copied().unwrap_or(0).min(longest);
    let zeros = Tensor::f_zeros([before as i64, shape[1], shape[2]], (Kind::Float, steps.device()))?;
    let all = Tensor::f_cat(&[&zeros, steps], 0)?;
    let at = |lag: &usize| all.f_narrow(0, (before - (*lag).min(before)) as i64, shape[0]);
    let lagged: Vec<Tensor> = lags.iter().map(at).collect::<Result<_, _>>()?;
    Ok(Tensor::f_cat(&lagged, 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::input::History;
    use crate::models::llama::plain::Plain;
    use crate::models::weights::{initial, to_host};
    use crate::random::{Purpose, stream, uniform};
    use pacer_stages::about::About;
    use pacer_stages::history;
    use pacer_stages::model::UserInput;
    use tch::Device;

    const LAGS: [usize; 4] = [0, 1, 3, 40];

    fn decoder(about: About, head: &Head, dropout: f64) -> Decoder {
        let user = UserInput { about, users: vec![5, 9] };
        let architecture = Architecture::Decoder { layers: 2, heads: 2, width: 4, lags: LAGS.into(), dropout, user };
        Decoder::new(&architecture, 2, head).unwrap()
    }

    fn stranger() -> Decoder {
        decoder(About::default(), &Head::Point, 0.0)
    }

    fn steps(longest: i64, workouts: i64) -> Tensor {
        Tensor::arange(longest * workouts * 2, (Kind::Float, Device::Cpu)).sin().view([longest, workouts, 2])
    }

    fn predict(decoder: &Decoder, theta: &[f32], steps: &Tensor) -> Vec<f32> {
        let shape = steps.size();
        let input = Input::plain(steps.shallow_clone(), vec![shape[0] as usize; shape[1] as usize]).unwrap();
        let outputs = decoder.forward(&Tensor::from_slice(theta), &input, &mut Pass::predict()).unwrap();
        assert_eq!(outputs.size()[..2], shape[..2]);
        to_host(&outputs).unwrap()
    }

    #[test]
    fn it_says_what_loops_over_64_bit_floats_say() {
        let decoder = decoder(About::default(), &Head::StudentT, 0.0);
        let theta = initial(decoder.parameters(), 8);
        let found = predict(&decoder, &theta, &steps(11, 3));
        let plain = Plain::new(&decoder.blocks, decoder.parameters(), &theta, 99);
        for workout in 0..3 {
            let feature = |step: usize, at: usize| f64::from(((step * 6 + workout * 2 + at) as f32).sin());
            let input = |step: usize| -> Vec<f64> {
                let at = |lag: usize, at: usize| if lag > step { 0.0 } else { feature(step - lag, at) };
                LAGS.iter().flat_map(|lag| [at(*lag, 0), at(*lag, 1)]).collect()
            };
            let inputs: Vec<_> = (0..11).map(input).collect();
            for (step, made) in plain.steps(&inputs).iter().enumerate() {
                for (at, expected) in plain.linear("head", made).iter().enumerate() {
                    let found = f64::from(found[(step * 3 + workout) * 3 + at]);
                    assert!((found - expected).abs() < 1e-5, "{step} {workout}: {found} instead of {expected}");
                }
            }
        }
    }

    #[test]
    fn no_step_looks_ahead_and_padding_reaches_nothing() {
        let decoder = stranger();
        let theta = initial(decoder.parameters(), 8);
        let plain = steps(20, 2);
        let before = predict(&decoder, &theta, &plain);
        for first in [1, 7, 19] {
            let changed = plain.copy();
            let _ = changed.narrow(0, first, 20 - first).fill_(1e3);
            let after = predict(&decoder, &theta, &changed);
            let (kept, rest) = (2 * first as usize, 2 * first as usize + 2);
            assert_eq!(after[..kept], before[..kept], "{first}");
            assert!(after[kept..rest].iter().zip(&before[kept..rest]).all(|(a, b)| a != b), "{first}");
        }
        let alone = predict(&decoder, &theta, &plain.narrow(0, 0, 6));
        assert!(alone.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    /// A decoder that is told its users and what they did before, with weights that all matter.
    fn told() -> (Decoder, Vec<f32>, Input) {
        let decoder = decoder(About { embedding: 2, hide: 0.0, history: 2, width: 3 }, &Head::StudentT, 0.0);
        let mut generator = stream(3, Purpose::Weights, 1);
        let length = crate::models::weights::len(decoder.parameters()) as usize;
        let theta = (0..length).map(|_| uniform(0.4, &mut generator)).collect();
        let mut input = Input::plain(steps(4, 2), vec![4, 4]).unwrap();
        input.users = Tensor::from_slice(&[1i64, 0]);
        let numbers = history::History::width(2) as i64;
        input.history = Some(History {
            rows: Tensor::arange(4 * numbers, (Kind::Float, Device::Cpu)).sin().view([2, 2, numbers]),
            there: Tensor::ones([2, 2], (Kind::Float, Device::Cpu)),
        });
        (decoder, theta, input)
    }

    #[test]
    fn the_gradient_is_that_of_small_differences() {
        let (decoder, theta, input) = told();
        let weigh = Tensor::arange(24, (Kind::Float, Device::Cpu)).cos().view([4, 2, 3]);
        let leaf = Tensor::from_slice(&theta).set_requires_grad(true);
        let mut pass = Pass::learn(stream(1, Purpose::Dropout, 0));
        let loss = (decoder.forward(&leaf, &input, &mut pass).unwrap() * &weigh).sum(Kind::Float);
        let gradient = to_host(&pass.gradient(&loss, &leaf).unwrap()).unwrap();
        let value = |theta: &[f32]| {
            let outputs = decoder.forward(&Tensor::from_slice(theta), &input, &mut Pass::predict()).unwrap();
            (outputs * &weigh).sum(Kind::Double).double_value(&[])
        };
        let mut largest: f64 = 0.0;
        for at in (0..theta.len()).step_by(97) {
            let moved = |by: f32| {
                let mut theta = theta.clone();
                theta[at] += by;
                value(&theta)
            };
            let expected = (moved(0.01) - moved(-0.01)) / 0.02;
            largest = largest.max(expected.abs());
            assert!((f64::from(gradient[at]) - expected).abs() < 3e-3, "{at}: {} instead of {expected}", gradient[at]);
        }
        assert!(largest > 0.1, "{largest}");
    }

    #[test]
    fn dropout_hides_parts_while_it_learns_alone() {
        let decoder = decoder(About::default(), &Head::Point, 0.5);
        let theta = Tensor::from_slice(&initial(decoder.parameters(), 8));
        let input = Input::plain(steps(5, 2), vec![5, 5]).unwrap();
        let said = |mut pass: Pass| to_host(&decoder.forward(&theta, &input, &mut pass).unwrap()).unwrap();
        let learn = |count| said(Pass::learn(stream(1, Purpose::Dropout, count)));
        assert_eq!(learn(0), learn(0));
        assert_ne!(learn(0), learn(1));
        assert_eq!(said(Pass::predict()), said(Pass::predict()));
        assert_eq!(said(Pass::predict()), predict(&stranger(), &to_host(&theta).unwrap(), &input.steps));
    }
}
