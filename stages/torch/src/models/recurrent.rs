//! LSTM and GRU over the steps of a run, with a linear head. Unaware of losses, of optimizers and of files.
//!
//! Names, shapes and order of the weights are those of a PyTorch module
//! `{ rnn: nn.LSTM(...), head: nn.Linear(...) }`; what stands beside it (user, start, backbone) comes after.

use anyhow::{Result, bail};
use pacer_stages::head::Head;
use pacer_stages::model::Architecture;
use tch::{Kind, Tensor};

use crate::kernels::Cell;
use crate::models::Network;
use crate::models::input::Input;
use crate::models::layer::layer;
use crate::models::pass::Pass;
use crate::models::user::User;
use crate::models::weights::{Named, Parameter, Start};

/// A recurrent network: its sizes, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    cell: Cell,
    layers: usize,
    hidden: usize,
    dropout: f64,
    bidirectional: bool,
    start: bool,
    backbone: bool,
    user: User,
    head: Head,
    parameters: Vec<Parameter>,
}

/// The weight and the bias of the linear model beside a network.
pub const BACKBONE: [&str; 2] = ["backbone.weight", "backbone.bias"];

impl Recurrent {
    /// The network that an architecture describes, for a number of features.
    pub fn new(architecture: &Architecture, features: usize, head: &Head) -> Result<Self> {
        let Architecture::Recurrent { cell, layers, hidden, dropout, bidirectional, start, backbone, user } =
            architecture
        else {
            bail!("`{architecture:?}` is no recurrent network");
        };
        let cell = match cell.as_str() {
            "lstm" => Cell::Lstm,
            "gru" => Cell::Gru,
            other => bail!("`{other}` is no recurrent cell: `lstm` and `gru` are"),
        };
        let (layers, hidden, dropout, bidirectional) = (*layers, *hidden, *dropout, *bidirectional);
        let (start, backbone, head, user) = (*start, *backbone, head.clone(), User::new(user, features));
        let parameters = Vec::new();
        let mut network =
            Self { cell, layers, hidden, dropout, bidirectional, start, backbone, user, head, parameters };
        network.parameters = network.declare(features);
        Ok(network)
    }

    /// The names and shapes of PyTorch's `nn.LSTM` or `nn.GRU` called `rnn` and of `nn.Linear` called `head`, then
    /// what stands beside them.
    fn declare(&self, features: usize) -> Vec<Parameter> {
        let names: &[&str] = if self.bidirectional { &["", "_reverse"] } else { &[""] };
        let (rows, width) = (self.cell.gates() * self.hidden, self.hidden * self.directions());
        let inputs = features + self.user.width();
        let uniform = Start::Uniform(1.0 / (self.hidden as f32).sqrt());
        let mut all = Vec::new();
        for layer in 0..self.layers {
            let below = if layer == 0 { inputs } else { width };
            for direction in names {
                let mut push = |name: &str, shape: &[usize]| {
                    all.push(Parameter::new(format!("rnn.{name}_l{layer}{direction}"), shape, uniform));
                };
                push("weight_ih", &[rows, below]);
                push("weight_hh", &[rows, self.hidden]);
                push("bias_ih", &[rows]);
                push("bias_hh", &[rows]);
            }
        }
        let mut head = Parameter::linear("head", self.head.outputs(), width);
        if self.backbone {
            // So that the network begins as the linear model alone.
            head.iter_mut().for_each(|parameter| parameter.start = Start::Fixed(0.0));
        }
        all.extend(head);
        all.extend(self.user.parameters());
        if self.user.width() > 0 {
            let shape = [self.head.outputs(), self.user.width()];
            all.push(Parameter::new("head.user", &shape, Start::Fixed(0.0)));
        }
        if self.start {
            let states = self.layers * self.directions() * self.cell.states() * self.hidden;
            all.extend(Parameter::linear("start", states, inputs));
        }
        if self.backbone {
            all.push(Parameter::new(BACKBONE[0], &[1, features], Start::Fixed(0.0)));
            all.push(Parameter::new(BACKBONE[1], &[1], Start::Fixed(0.0)));
        }
        all
    }

    /// The states before the first step, `[1, workouts, hidden]` each: layer by layer, direction by direction.
    fn states(&self, weights: &Named<'_>, inputs: &Tensor) -> Result<Vec<Tensor>> {
        let count = self.layers * self.directions() * self.cell.states();
        if !self.start {
            let shape = [1, inputs.size()[1], self.hidden as i64];
            let zeros = Tensor::f_zeros(shape, (Kind::Float, inputs.device()))?;
            return Ok((0..count).map(|_| zeros.shallow_clone()).collect());
        }
        let all = weights.linear("start", &inputs.f_narrow(0, 0, 1)?)?.f_tanh()?;
        Ok(all.f_chunk(count as i64, 2)?)
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }
}

impl Network for Recurrent {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(&self, theta: &Tensor, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        let weights = Named::new(theta, &self.parameters)?;
        let user = self.user.forward(&weights, input, pass)?;
        let inputs = with_user(&input.steps, user.as_ref())?;
        let states = self.states(&weights, &inputs)?;
        let mut states = states.chunks(self.cell.states());
        let reversal = self.bidirectional.then(|| input.reversal()).transpose()?;
        let mut steps = inputs;
        for number in 0..self.layers {
            // Dropout stands here and not within LibTorch's layers, because cuDNN keeps a random state of its
            // own that could not be set again when a training is resumed.
            if number > 0 {
                steps = pass.dropout(&steps, self.dropout)?;
            }
            let own = |direction: &str| {
                ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
                    .map(|name| weights[format!("rnn.{name}_l{number}{direction}").as_str()].shallow_clone())
            };
            let mut state = || states.next().expect("each layer and direction has one");
            let ahead = layer(self.cell, &steps, &own(""), state(), pass)?;
            steps = match &reversal {
                None => ahead,
                Some(reversal) => {
                    let back = layer(self.cell, &reordered(&steps, reversal)?, &own("_reverse"), state(), pass)?;
                    Tensor::f_cat(&[ahead, reordered(&back, reversal)?], 2)?
                }
            };
        }
        let mut outputs = weights.linear("head", &steps)?;
        if let Some(user) = &user {
            outputs = outputs.f_add(&user.f_linear(&weights["head.user"], None::<&Tensor>)?.f_unsqueeze(0)?)?;
        }
        if self.backbone {
            let [weight, bias] = BACKBONE.map(|name| &weights[name]);
            outputs = moved(&self.head, &outputs, &input.steps.f_linear(weight, Some(bias))?)?;
        }
        Ok(outputs)
    }
}

/// The steps `[longest, workouts, features]` with what is made of the user beside the features of each.
pub fn with_user(steps: &Tensor, user: Option<&Tensor>) -> Result<Tensor> {
    let Some(user) = user else { return Ok(steps.shallow_clone()) };
    let shape = steps.size();
    let user = user.f_unsqueeze(0)?.f_expand([shape[0], shape[1], -1], false)?;
    Ok(Tensor::f_cat(&[steps.shallow_clone(), user], 2)?)
}

/// What the head says, moved by a heart rate `[longest, workouts, 1]`.
pub fn moved(head: &Head, outputs: &Tensor, by: &Tensor) -> Result<Tensor> {
    match head {
        Head::Point | Head::Quantiles(_) => Ok(outputs.f_add(by)?),
        Head::StudentT => {
            let zero = by.f_zeros_like()?;
            Ok(outputs.f_add(&Tensor::f_cat(&[zero.shallow_clone(), by.shallow_clone(), zero], 2)?)?)
        }
    }
}

/// The steps `[longest, sequences, width]` in another order of the first two sides taken together.
fn reordered(steps: &Tensor, places: &Tensor) -> Result<Tensor> {
    let shape = steps.size();
    let rows = steps.f_reshape([shape[0] * shape[1], shape[2]])?;
    Ok(rows.f_index_select(0, places)?.f_view(&shape[..])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::weights::{initial, to_host};
    use crate::random::{Purpose, stream};
    use pacer_stages::about::About;
    use pacer_stages::model::UserInput;
    use tch::Device;

    fn architecture(cell: &str, layers: usize, hidden: usize, bidirectional: bool) -> Architecture {
        Architecture::Recurrent {
            cell: cell.into(),
            layers,
            hidden,
            dropout: 0.0,
            bidirectional,
            start: false,
            backbone: false,
            user: UserInput::default(),
        }
    }

    fn network(cell: &str, bidirectional: bool) -> Recurrent {
        Recurrent::new(&architecture(cell, 2, 3, bidirectional), 2, &Head::Point).unwrap()
    }

    fn predict(network: &Recurrent, theta: &Tensor, input: &Input) -> Tensor {
        network.forward(theta, input, &mut Pass::predict()).unwrap()
    }

    #[test]
    fn names_and_shapes_are_those_of_a_pytorch_state_dict() {
        let network = network("lstm", true);
        let listed: Vec<_> = network.parameters().iter().map(|p| format!("{} {:?}", p.name, p.shape)).collect();
        let second = [
            "rnn.weight_ih_l1 [12, 6]",
            "rnn.weight_hh_l1 [12, 3]",
            "rnn.bias_ih_l1 [12]",
            "rnn.bias_hh_l1 [12]",
            "rnn.weight_ih_l1_reverse [12, 6]",
        ];
        assert_eq!(listed[0], "rnn.weight_ih_l0 [12, 2]");
        assert_eq!(listed[8..13], second);
        assert_eq!(listed[16..], ["head.weight [1, 6]", "head.bias [1]"]);
    }

    /// The equations of `nn.LSTM` and `nn.GRU`, written out for one layer and one unit.
    #[test]
    fn one_step_of_each_cell_is_what_its_equations_say() {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        for (cell, gates) in [("lstm", 4), ("gru", 3)] {
            let network = Recurrent::new(&architecture(cell, 1, 1, false), 1, &Head::Point).unwrap();
            let theta = initial(network.parameters(), 5);
            let (x, w, b) = (0.7, &theta[..gates], &theta[2 * gates..]);
            let gate = |k: usize| w[k] * x + b[k] + b[gates + k];
            let output = if cell == "lstm" {
                let state = sigmoid(gate(0)) * gate(2).tanh();
                sigmoid(gate(3)) * state.tanh()
            } else {
                let candidate = (w[2] * x + b[2] + sigmoid(gate(0)) * b[5]).tanh();
                (1.0 - sigmoid(gate(1))) * candidate
            };
            let expected = output * theta[4 * gates] + theta[4 * gates + 1];
            let input = Input::plain(Tensor::from_slice(&[x]).view([1, 1, 1]), vec![1]).unwrap();
            let found = predict(&network, &Tensor::from_slice(&theta), &input).double_value(&[0, 0, 0]) as f32;
            assert!((found - expected).abs() < 1e-6, "{cell}: {found} instead of {expected}");
        }
    }

    /// LibTorch's whole stacked, bidirectional module, which a state dict of PyTorch loads into.
    #[test]
    fn both_directions_of_two_layers_are_what_libtorch_computes_from_the_same_weights() {
        for cell in ["lstm", "gru"] {
            let network = network(cell, true);
            let theta = Tensor::from_slice(&initial(network.parameters(), 5));
            let weights = Named::new(&theta, network.parameters()).unwrap();
            let rnn: Vec<_> = network.parameters()[..16].iter().map(|p| weights[p.name.as_str()].copy()).collect();
            let steps = Tensor::from_slice(&(0..24).map(|i| (i as f32).sin()).collect::<Vec<_>>()).view([6, 2, 2]);
            let zeros = Tensor::zeros([4, 2, 3], (Kind::Float, Device::Cpu));
            let whole = if cell == "lstm" {
                let state = [zeros.shallow_clone(), zeros];
                Tensor::lstm(&steps, &state, &rnn, true, 2, 0.0, false, true, false).0
            } else {
                steps.gru(&zeros, &rnn, true, 2, 0.0, false, true, false).0
            };
            let expected = to_host(&weights.linear("head", &whole).unwrap()).unwrap();
            let input = Input::plain(steps, vec![6, 6]).unwrap();
            let found = to_host(&predict(&network, &theta, &input)).unwrap();
            assert!(expected.iter().any(|value| (value - expected[0]).abs() > 0.01), "{expected:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{cell}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_sequence_is_read_from_its_own_end_whatever_stands_in_its_padding() {
        let network = network("gru", true);
        let theta = Tensor::from_slice(&initial(network.parameters(), 5));
        let predict = |steps: &[f32], sequences: i64, lengths: &[usize]| {
            let steps = Tensor::from_slice(steps).view([-1, sequences, 2]);
            to_host(&predict(&network, &theta, &Input::plain(steps, lengths.to_vec()).unwrap())).unwrap()
        };
        let alone = predict(&[0.1, 0.2, 0.3, 0.4], 1, &[2]);
        let beside = [0.1, 0.2, 9.0, 9.0, 0.3, 0.4, 8.0, 8.0, 1e6, -1e6, 7.0, 7.0];
        let beside = predict(&beside, 2, &[2, 3]);
        for (alone, beside) in alone.iter().zip([beside[0], beside[2]]) {
            assert!((alone - beside).abs() < 1e-6, "{alone} and {beside}");
        }
    }

    /// All that may stand beside the network: a user's embedding and history, a start, a backbone, three outputs.
    fn told(history: usize) -> (Recurrent, Vec<f32>) {
        let about = About { embedding: 2, hide: 0.0, history, width: 3 };
        let architecture = Architecture::Recurrent {
            cell: "lstm".into(),
            layers: 2,
            hidden: 3,
            dropout: 0.0,
            bidirectional: true,
            start: true,
            backbone: true,
            user: UserInput { about, users: vec![5, 9] },
        };
        let network = Recurrent::new(&architecture, 2, &Head::StudentT).unwrap();
        let mut generator = stream(3, Purpose::Weights, 1);
        let length = crate::models::weights::len(network.parameters()) as usize;
        let theta = (0..length).map(|_| crate::random::uniform(0.5, &mut generator)).collect();
        (network, theta)
    }

    fn input(users: &[i64], history: usize) -> Input {
        let steps = Tensor::from_slice(&(0..16).map(|i| (i as f32).sin()).collect::<Vec<_>>()).view([4, 2, 2]);
        let mut input = Input::plain(steps, vec![4, 4]).unwrap();
        input.users = Tensor::from_slice(users);
        let numbers = pacer_stages::history::History::width(2) as i64;
        let rows = Tensor::arange(2 * history as i64 * numbers, (Kind::Float, Device::Cpu)).sin();
        input.history = Some(crate::models::input::History {
            rows: rows.view([2, history as i64, numbers]),
            there: Tensor::ones([2, history as i64], (Kind::Float, Device::Cpu)),
        });
        input
    }

    #[test]
    fn users_of_different_embedding_are_told_different_heart_rates() {
        let (network, theta) = told(2);
        let of = |users: &[i64]| to_host(&predict(&network, &Tensor::from_slice(&theta), &input(users, 2))).unwrap();
        let (one, other) = (of(&[1, 0]), of(&[2, 0]));
        assert!(one.chunks(6).zip(other.chunks(6)).all(|(a, b)| a[1] != b[1] && a[3..] == b[3..]));
    }

    #[test]
    fn the_gradient_with_all_that_may_stand_beside_is_that_of_small_differences() {
        let (network, theta) = told(2);
        let input = input(&[1, 0], 2);
        let weigh = Tensor::arange(24, (Kind::Float, Device::Cpu)).cos().view([4, 2, 3]);
        let leaf = Tensor::from_slice(&theta).set_requires_grad(true);
        let mut pass = Pass::learn(stream(1, Purpose::Dropout, 0));
        let loss = (network.forward(&leaf, &input, &mut pass).unwrap() * &weigh).sum(Kind::Float);
        let gradient = to_host(&pass.gradient(&loss, &leaf).unwrap()).unwrap();
        let value = |theta: &[f32]| {
            let outputs = predict(&network, &Tensor::from_slice(theta), &input);
            (outputs * &weigh).sum(Kind::Double).double_value(&[])
        };
        for at in (0..theta.len()).step_by(7) {
            let moved = |by: f32| {
                let mut theta = theta.clone();
                theta[at] += by;
                value(&theta)
            };
            let expected = (moved(0.01) - moved(-0.01)) / 0.02;
            assert!((f64::from(gradient[at]) - expected).abs() < 2e-3, "{at}: {} instead of {expected}", gradient[at]);
        }
    }
}
