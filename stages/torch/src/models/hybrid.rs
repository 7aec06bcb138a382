//! A heart that follows demand by a differential equation, and a small network that says what a step demands. Unaware
//! of losses, of optimizers and of files.
//!
//! The equation is that of Nazaret et al. (npj Digital Medicine 2023), see [`equation`]. What a body is like follows
//! from what is known of the user, within the bounds of that work; where nothing is known it is one body for all. The
//! demand that is wanted at a step is 30 + 220 · sigmoid(s) BPM, where s is said by a network of one hidden layer over
//! features and user and is stretched and shifted for the user, times a fatigue 1 + κ (1 − exp(−t/T)), which rises
//! slowly with the seconds t since the start.
//!
//! LibTorch sees everything but the integration: step by step it would cost a hundred small operations for each step.

pub mod equation;

use anyhow::{Result, bail};
use pacer_stages::head::Head;
use pacer_stages::model::{Architecture, Scaler};
use tch::{Device, Kind, Tensor};

use crate::models::Network;
use crate::models::hybrid::equation::{Body, Course, Gradient};
use crate::models::input::Input;
use crate::models::pass::Pass;
use crate::models::recurrent::{moved, with_user};
use crate::models::user::User;
use crate::models::weights::{Named, Parameter, Start, to_device, to_host};

/// A number with bounds, and where it stands before training.
struct Bounded {
    low: f64,
    high: f64,
    start: f64,
}

const fn bounded(low: f64, high: f64, start: f64) -> Bounded {
    Bounded { low, high, start }
}

/// What follows from the user: A, B, α, β, lowest and highest heart rate (BPM), the stretch and the shift of what the
/// network says, and how far (κ) and how slowly (T, s) fatigue rises.
const OF_THE_USER: [Bounded; 10] = [
    bounded(-3.0, 5.0, 0.2),
    bounded(-3.0, 5.0, 1.0),
    bounded(0.1, 3.0, 0.5),
    bounded(0.1, 3.0, 0.5),
    bounded(40.0, 90.0, 60.0),
    bounded(140.0, 210.0, 190.0),
    bounded(0.2, 2.2, 1.0),
    bounded(-3.0, 3.0, 0.0),
    bounded(0.0, 0.3, 0.05),
    bounded(600.0, 14_400.0, 3600.0),
];

/// What follows from the user and the first step: the heart rate and the demand there, BPM.
const OF_THE_START: [Bounded; 2] = [bounded(40.0, 210.0, 105.0), bounded(30.0, 250.0, 130.0)];

/// The demand that may be wanted at a step, BPM.
const WANTED: [Bounded; 1] = [bounded(30.0, 250.0, 145.0)];

/// A differential equation with a learnt intensity: its sizes, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Hybrid {
    user: User,
    head: Head,
    target_mean: f64,
    target_sd: f64,
    parameters: Vec<Parameter>,
}

impl Hybrid {
    /// The network that an architecture describes, for a number of features; heart rates are standardised by `scaler`.
    pub fn new(architecture: &Architecture, features: usize, head: &Head, scaler: &Scaler) -> Result<Self> {
        let Architecture::Hybrid { hidden, user } = architecture else {
            bail!("`{architecture:?}` is no differential equation");
        };
        let user = User::new(user, features);
        let parameters = declare(*hidden, features, &user, head);
        let (target_mean, target_sd) = (scaler.target_mean, scaler.target_sd);
        Ok(Self { user, head: head.clone(), target_mean, target_sd, parameters })
    }

    /// The demand that is wanted before fatigue, `[longest, workouts]`, BPM.
    fn wanted(&self, weights: &Named<'_>, inputs: &Tensor, body: &Tensor) -> Result<Tensor> {
        let hidden = weights.linear("intensity.read", inputs)?.f_tanh()?;
        let said = weights.linear("intensity.say", &hidden)?.f_squeeze_dim(2)?;
        let said = said.f_mul(&body.f_select(1, 6)?)?.f_add(&body.f_select(1, 7)?)?;
        Ok(within(&said.f_unsqueeze(2)?, &WANTED)?.f_squeeze_dim(2)?)
    }

    /// What the head says around the heart rates `[longest, workouts, 1]`, both standardised.
    fn spread(&self, weights: &Named<'_>, rates: &Tensor, user: Option<&Tensor>) -> Result<Tensor> {
        if self.head == Head::Point {
            return Ok(rates.shallow_clone());
        }
        let mut around = weights["head.around"].f_unsqueeze(0)?;
        if let Some(user) = user {
            around = around.f_add(&user.f_linear(&weights["head.user"], None::<&Tensor>)?)?;
        }
        let shape = [rates.size()[0], rates.size()[1], self.head.outputs() as i64];
        moved(&self.head, &around.f_unsqueeze(0)?.f_expand(shape, false)?, rates)
    }
}

/// The weights: of the network, of what follows from the user, of the start, and of the head.
fn declare(hidden: usize, features: usize, user: &User, head: &Head) -> Vec<Parameter> {
    let (told, inputs) = (user.width(), features + user.width());
    let mut all = Vec::new();
    all.extend(Parameter::linear("intensity.read", hidden, inputs));
    all.extend(Parameter::linear("intensity.say", 1, hidden));
    if told > 0 {
        all.push(Parameter::new("body.weight", &[OF_THE_USER.len(), told], Start::Uniform(0.01)));
    }
    all.push(Parameter::new("body.bias", &[OF_THE_USER.len()], Start::Fixed(0.0)));
    all.push(Parameter::new("start.weight", &[OF_THE_START.len(), inputs], Start::Uniform(0.01)));
    all.push(Parameter::new("start.bias", &[OF_THE_START.len()], Start::Fixed(0.0)));
    all.extend(user.parameters());
    if *head != Head::Point {
        all.push(Parameter::new("head.around", &[head.outputs()], Start::Uniform(0.5)));
        if told > 0 {
            all.push(Parameter::new("head.user", &[head.outputs(), told], Start::Fixed(0.0)));
        }
    }
    all
}

/// Free numbers `[…, numbers]` brought within bounds, each beginning where it starts for 0.
fn within(free: &Tensor, bounds: &[Bounded]) -> Result<Tensor> {
    let all = |number: fn(&Bounded) -> f64| -> Result<Tensor> {
        let numbers: Vec<f32> = bounds.iter().map(|bounded| number(bounded) as f32).collect();
        to_device(&numbers, free.device())
    };
    let start = all(|b| ((b.start - b.low) / (b.high - b.start)).ln())?;
    let share = free.f_add(&start)?.f_sigmoid()?;
    Ok(share.f_mul(&all(|b| b.high - b.low)?)?.f_add(&all(|b| b.low)?)?)
}

impl Network for Hybrid {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(&self, theta: &Tensor, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        let weights = Named::new(theta, &self.parameters)?;
        let user = self.user.forward(&weights, input, pass)?;
        let inputs = with_user(&input.steps, user.as_ref())?;
        let workouts = inputs.size()[1];
        let bias = &weights["body.bias"];
        let free = match &user {
            Some(user) => user.f_linear(&weights["body.weight"], Some(bias))?,
            None => bias.f_unsqueeze(0)?.f_expand([workouts, -1], false)?,
        };
        let body = within(&free, &OF_THE_USER)?;
        let first = within(&weights.linear("start", &inputs.f_select(0, 0)?)?, &OF_THE_START)?;
        let wanted = self.wanted(&weights, &inputs, &body)?;
        let past = input.seconds.f_cumsum(0, Kind::Float)?.f_div(&body.f_select(1, 9)?)?;
        let fatigue = past.f_neg()?.f_expm1()?.f_neg()?.f_mul(&body.f_select(1, 8)?)?.f_add_scalar(1.0)?;
        let wanted = wanted.f_mul(&fatigue)?;
        let body = Tensor::f_cat(&[body.f_narrow(1, 0, 6)?, first], 1)?;
        let rates = integrated(&body, &wanted, &input.seconds, pass)?;
        let rates = rates.f_sub_scalar(self.target_mean)?.f_div_scalar(self.target_sd)?;
        self.spread(&weights, &rates.f_unsqueeze(2)?, user.as_ref())
    }
}

/// The heart rates `[longest, workouts]` of bodies `[workouts, 8]` of which demand is wanted `[longest, workouts]`,
/// `seconds` after the step before.
fn integrated(body: &Tensor, wanted: &Tensor, seconds: &Tensor, pass: &mut Pass) -> Result<Tensor> {
    let (body, wanted) = (body.f_to_kind(Kind::Float)?, wanted.f_to_kind(Kind::Float)?);
    let bodies = bodies(&body)?;
    let courses = courses(&wanted, seconds)?;
    let rates: Vec<Vec<f64>> = courses.iter().zip(&bodies).map(|(course, body)| course.solve(body)).collect();
    let (shape, device) = (wanted.size(), wanted.device());
    let output = by_steps(&rates, &shape, device)?;
    pass.cut(vec![body, wanted], output, move |gradient| {
        let by_rates = by_workouts(gradient)?;
        let each = courses.iter().zip(&bodies).zip(&by_rates);
        let back: Vec<Gradient> = each.map(|((course, body), by_rates)| course.back(body, by_rates)).collect();
        let numbers: Vec<f32> = back.iter().flat_map(|back| back.body.numbers()).map(|number| number as f32).collect();
        let by_wanted: Vec<Vec<f64>> = back.into_iter().map(|back| back.wanted).collect();
        let by_body = to_device(&numbers, device)?.f_view([-1, Body::NUMBERS as i64])?;
        Ok(vec![by_body, by_steps(&by_wanted, &shape, device)?])
    })
}

fn bodies(body: &Tensor) -> Result<Vec<Body>> {
    let numbers = to_host(body)?;
    let rows = numbers.as_chunks::<{ Body::NUMBERS }>().0.iter();
    Ok(rows.map(|row| Body::of(row.map(f64::from))).collect())
}

fn courses(wanted: &Tensor, seconds: &Tensor) -> Result<Vec<Course>> {
    let pairs = by_workouts(seconds)?.into_iter().zip(by_workouts(wanted)?);
    Ok(pairs.map(|(seconds, wanted)| Course { seconds, wanted }).collect())
}

/// A tensor `[longest, workouts]` as a row for each workout.
fn by_workouts(tensor: &Tensor) -> Result<Vec<Vec<f64>>> {
    let (longest, workouts) = (tensor.size()[0] as usize, tensor.size()[1] as usize);
    let numbers = to_host(&tensor.f_to_kind(Kind::Float)?)?;
    let row = |workout| (0..longest).map(|step| f64::from(numbers[step * workouts + workout])).collect();
    Ok((0..workouts).map(row).collect())
}

/// A row for each workout as a tensor `[longest, workouts]`.
fn by_steps(rows: &[Vec<f64>], shape: &[i64], device: Device) -> Result<Tensor> {
    let steps = 0..shape[0] as usize;
    let numbers: Vec<f32> = steps.flat_map(|step| rows.iter().map(move |row| row[step] as f32)).collect();
    Ok(to_device(&numbers, device)?.f_view(shape)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::input::History;
    use crate::models::weights::len;
    use crate::random::{Purpose, stream, uniform};
    use pacer_stages::about::About;
    use pacer_stages::model::UserInput;

    const SCALER: (f64, f64) = (140.0, 15.0);

    fn network(about: About, head: &Head) -> Hybrid {
        let users = if about.embedding > 0 { vec![5, 9] } else { Vec::new() };
        let architecture = Architecture::Hybrid { hidden: 4, user: UserInput { about, users } };
        let scaler = Scaler { mean: vec![0.0; 2], sd: vec![1.0; 2], target_mean: SCALER.0, target_sd: SCALER.1 };
        Hybrid::new(&architecture, 2, head, &scaler).unwrap()
    }

    /// Weights all of which move something.
    fn theta(network: &Hybrid) -> Vec<f32> {
        let mut generator = stream(3, Purpose::Weights, 1);
        (0..len(network.parameters())).map(|_| uniform(0.4, &mut generator)).collect()
    }

    /// Two workouts of five and three steps at uneven times, the last two of the second padding.
    fn input(history: usize) -> Input {
        let steps = Tensor::arange(20, (Kind::Float, Device::Cpu)).sin().view([5, 2, 2]);
        let mut input = Input::plain(steps, vec![5, 3]).unwrap();
        let seconds = [0.0f32, 0.0, 7.0, 3.0, 49.0, 12.0, 1.0, 0.0, 23.0, 0.0];
        input.seconds = Tensor::from_slice(&seconds).view([5, 2]);
        input.users = Tensor::from_slice(&[1i64, 0]);
        let numbers = pacer_stages::history::History::width(2) as i64;
        let rows = Tensor::arange(2 * history as i64 * numbers, (Kind::Float, Device::Cpu)).sin();
        input.history = (history > 0).then(|| History {
            rows: rows.view([2, history as i64, numbers]),
            there: Tensor::ones([2, history as i64], (Kind::Float, Device::Cpu)),
        });
        input
    }

    fn predict(network: &Hybrid, theta: &[f32], input: &Input) -> Tensor {
        network.forward(&Tensor::from_slice(theta), input, &mut Pass::predict()).unwrap()
    }

    #[test]
    fn before_training_a_heart_goes_from_its_start_towards_what_is_wanted() {
        let network = network(About::default(), &Head::Point);
        let theta = vec![0.0; len(network.parameters()) as usize];
        let rates = to_host(&(predict(&network, &theta, &input(0)) * SCALER.1 + SCALER.0)).unwrap();
        let first: Vec<f32> = rates.iter().step_by(2).copied().collect();
        assert!((first[0] - 105.0).abs() < 1e-3, "{first:?}");
        assert!(first.is_sorted() && first[4] > 125.0 && first[4] < 145.0, "{first:?}");
    }

    #[test]
    fn what_stands_in_the_padding_reaches_no_step() {
        let network = network(About::default(), &Head::Point);
        let mut other = input(0);
        other.steps = other.steps.copy();
        let _ = other.steps.narrow(0, 3, 2).narrow(1, 1, 1).fill_(1e3);
        let [a, b] = [input(0), other].map(|input| to_host(&predict(&network, &theta(&network), &input)).unwrap());
        assert_eq!(a[..6], b[..6]);
        assert_eq!((a[6], a[8]), (b[6], b[8]));
    }

    #[test]
    fn users_of_another_past_have_other_hearts() {
        let about = About { history: 2, width: 3, ..About::default() };
        let network = network(about, &Head::Point);
        let mut other = input(2);
        if let Some(history) = &mut other.history {
            history.rows = &history.rows * -1.0;
        }
        let [a, b] = [input(2), other].map(|input| to_host(&predict(&network, &theta(&network), &input)).unwrap());
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() > 1e-4), "{a:?} {b:?}");
    }

    #[test]
    fn the_gradient_by_every_weight_is_that_of_small_differences() {
        let heads = [Head::Point, Head::Quantiles(vec![0.1, 0.5, 0.9]), Head::StudentT];
        let abouts = [About::default(), About { embedding: 2, hide: 0.0, history: 2, width: 3 }];
        for (head, about) in heads.iter().flat_map(|head| abouts.iter().map(move |about| (head, about))) {
            let network = network(about.clone(), head);
            let (theta, input) = (theta(&network), input(about.history));
            let shape = [5, 2, head.outputs() as i64];
            let weigh = Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu)).cos().view(shape);
            let leaf = Tensor::from_slice(&theta).set_requires_grad(true);
            let mut pass = Pass::learn(stream(1, Purpose::Dropout, 0));
            let loss = (network.forward(&leaf, &input, &mut pass).unwrap() * &weigh).sum(Kind::Float);
            let gradient = to_host(&pass.gradient(&loss, &leaf).unwrap()).unwrap();
            for at in 0..theta.len() {
                let moved = |by: f32| {
                    let mut theta = theta.clone();
                    theta[at] += by;
                    (predict(&network, &theta, &input) * &weigh).sum(Kind::Double).double_value(&[])
                };
                let (found, expected) = (f64::from(gradient[at]), (moved(0.01) - moved(-0.01)) / 0.02);
                assert!((found - expected).abs() < 3e-3, "{head:?} {about:?} {at}: {found} instead of {expected}");
            }
        }
    }
}
