//! LSTM and GRU over the steps of a run, with a linear head: functions of one flat tensor of parameters and of
//! padded sequences. Unaware of losses, of optimizers and of files.
//!
//! All weights live in one flat tensor, so that the gradient, Adam's moments, a freezing mask and a checkpoint
//! are one array each. Names, shapes and order are those of a PyTorch module
//! `{ rnn: nn.LSTM(...), head: nn.Linear(...) }`.

use anyhow::{Context as _, Result, bail, ensure};
use pacer_stages::model::{Architecture, Model, Weights};
use tch::{Device, Kind, Tensor};

use crate::random::{Purpose, stream, uniform};

/// A recurrent network: its sizes, without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrent {
    cell: Cell,
    inputs: usize,
    layers: usize,
    hidden: usize,
    dropout: f64,
    bidirectional: bool,
    parameters: Vec<Parameter>,
}

/// The recurrent cell; it decides how many gates a layer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Lstm,
    Gru,
}

/// A named array within the flat tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in a PyTorch state dict.
    pub name: String,
    /// Its shape.
    pub shape: Vec<i64>,
}

impl Parameter {
    /// How many numbers it holds.
    pub fn len(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sequences of different lengths, the shorter ones padded at their end.
///
/// What stands in the padding reaches no step of its sequence: the forward direction comes to it last, and the
/// backward direction begins at each sequence's own end. LibTorch's packed form would need no padding, but its
/// backward pass on the CPU takes fifty times as long.
pub struct Padded {
    /// Features, shape `[longest, sequences, inputs]`.
    pub steps: Tensor,
    /// Steps of each sequence.
    pub lengths: Vec<usize>,
}

impl Padded {
    /// For each step of each sequence, counted through as `[longest, sequences]`, the one that takes its place
    /// when every sequence is read from its own end; padding stays where it is. Applied twice it does nothing.
    fn reversal(&self) -> Result<Tensor> {
        let (longest, sequences) = (self.lengths.iter().max().copied().unwrap_or(0), self.lengths.len());
        let places = (0..longest).flat_map(|step| {
            let ends = self.lengths.iter().enumerate();
            ends.map(move |(sequence, length)| {
                let from = if step < *length { length - 1 - step } else { step };
                (from * sequences + sequence) as i64
            })
        });
        let places: Vec<i64> = places.collect();
        Ok(Tensor::f_from_slice(&places)?.f_to(self.steps.device())?)
    }
}

/// Whether a pass is part of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout acts, drawing from LibTorch's generator.
    Train,
    /// Nothing is random.
    Predict,
}

impl Recurrent {
    /// The network that an architecture describes, for a number of features.
    pub fn new(architecture: &Architecture, inputs: usize) -> Result<Self> {
        let Architecture::Recurrent { cell, layers, hidden, dropout, bidirectional } = architecture else {
            bail!("`{architecture:?}` is no recurrent network");
        };
        let cell = match cell.as_str() {
            "lstm" => Cell::Lstm,
            "gru" => Cell::Gru,
            other => bail!("`{other}` is no recurrent cell: `lstm` and `gru` are"),
        };
        let (layers, hidden, dropout, bidirectional) = (*layers, *hidden, *dropout, *bidirectional);
        let parameters = parameters(cell.gates(), inputs, layers, hidden, bidirectional);
        Ok(Self { cell, inputs, layers, hidden, dropout, bidirectional, parameters })
    }

    /// The weights in their order within the flat tensor.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Length of the flat tensor.
    pub fn len(&self) -> i64 {
        self.parameters.iter().map(Parameter::len).sum()
    }

    /// Whether there is no weight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Random weights, uniform within ±1/√fan as PyTorch draws them, from the project's own generator, so that
    /// they are alike on every device.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut generator = stream(seed, Purpose::Weights, 0);
        let recurrent = 1.0 / (self.hidden as f32).sqrt();
        let head = 1.0 / ((self.hidden * self.directions()) as f32).sqrt();
        let bounds = self.parameters.iter().flat_map(|parameter| {
            let bound = if parameter.name.starts_with("head") { head } else { recurrent };
            std::iter::repeat_n(bound, parameter.len() as usize)
        });
        bounds.map(|bound| uniform(bound, &mut generator)).collect()
    }

    /// The standardised heart rate at every step, shape `[longest, sequences]`, from `theta` `[len]`.
    pub fn forward(&self, theta: &Tensor, batch: &Padded, mode: Mode) -> Result<Tensor> {
        let views = self.views(theta)?;
        let (rnn, head) = views.split_at(views.len() - 2);
        let reversal = self.bidirectional.then(|| batch.reversal()).transpose()?;
        let mut steps = batch.steps.shallow_clone();
        for (layer, weights) in rnn.chunks(4 * self.directions()).enumerate() {
            // Dropout stands here and not within LibTorch's layers, because cuDNN keeps a random state of its
            // own that could not be set again when a training is resumed.
            if layer > 0 && mode == Mode::Train && self.dropout > 0.0 {
                steps = steps.f_dropout(self.dropout, true)?;
            }
            let ahead = self.direction(&steps, &weights[..4], mode)?;
            steps = match &reversal {
                None => ahead,
                Some(reversal) => {
                    let back = self.direction(&reordered(&steps, reversal)?, &weights[4..], mode)?;
                    Tensor::f_cat(&[ahead, reordered(&back, reversal)?], 2)?
                }
            };
        }
        Ok(steps.f_linear(&head[0], Some(&head[1]))?.f_squeeze_dim(2)?)
    }

    /// One layer in one direction: `[longest, sequences, hidden]` from `[longest, sequences, width]`.
    fn direction(&self, steps: &Tensor, weights: &[Tensor], mode: Mode) -> Result<Tensor> {
        let zeros = Tensor::f_zeros([1, steps.size()[1], self.hidden as i64], (Kind::Float, steps.device()))?;
        let train = mode == Mode::Train;
        let output = match self.cell {
            Cell::Lstm => {
                let state = [zeros.shallow_clone(), zeros];
                steps.f_lstm(&state, weights, true, 1, 0.0, train, false, false)?.0
            }
            Cell::Gru => steps.f_gru(&zeros, weights, true, 1, 0.0, train, false, false)?.0,
        };
        Ok(output)
    }

    /// The weights as views of the flat tensor.
    fn views(&self, theta: &Tensor) -> Result<Vec<Tensor>> {
        let lengths: Vec<i64> = self.parameters.iter().map(Parameter::len).collect();
        let parts = theta.f_split_with_sizes(&lengths, 0)?;
        let shaped = parts.iter().zip(&self.parameters).map(|(part, parameter)| part.f_view(&parameter.shape[..]));
        Ok(shaped.collect::<Result<_, _>>()?)
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.bidirectional)
    }

    /// The weights of a flat array by their names, for the model artifact.
    pub fn unpack(&self, theta: &[f32]) -> std::collections::BTreeMap<String, Weights> {
        let mut rest = theta;
        let named = self.parameters.iter().map(|parameter| {
            let (values, tail) = rest.split_at(parameter.len() as usize);
            rest = tail;
            let shape = parameter.shape.iter().map(|side| *side as usize).collect();
            (parameter.name.clone(), Weights { shape, values: values.to_vec() })
        });
        named.collect()
    }

    /// The flat array of a model artifact's weights; a missing weight or a wrong shape is named.
    pub fn pack(&self, model: &Model) -> Result<Vec<f32>> {
        let mut theta = Vec::with_capacity(self.len() as usize);
        for Parameter { name, shape } in &self.parameters {
            let weights = model.tensors.get(name).with_context(|| format!("`{name}` is missing in the model"))?;
            let found: Vec<i64> = weights.shape.iter().map(|side| *side as i64).collect();
            ensure!(found == *shape, "`{name}` has shape {found:?} in the model where {shape:?} belongs");
            theta.extend_from_slice(&weights.values);
        }
        Ok(theta)
    }
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// The steps `[longest, sequences, width]` in another order of the first two sides taken together.
fn reordered(steps: &Tensor, places: &Tensor) -> Result<Tensor> {
    let shape = steps.size();
    let rows = steps.f_reshape([shape[0] * shape[1], shape[2]])?;
    Ok(rows.f_index_select(0, places)?.f_view(&shape[..])?)
}

/// The names and shapes of PyTorch's `nn.LSTM` or `nn.GRU` called `rnn` and of `nn.Linear` called `head`.
fn parameters(gates: usize, inputs: usize, layers: usize, hidden: usize, bidirectional: bool) -> Vec<Parameter> {
    let directions: &[&str] = if bidirectional { &["", "_reverse"] } else { &[""] };
    let width = hidden * directions.len();
    let rows = gates * hidden;
    let mut all = Vec::new();
    let mut push = |name: String, shape: &[usize]| {
        all.push(Parameter { name, shape: shape.iter().map(|side| *side as i64).collect() });
    };
    for layer in 0..layers {
        let below = if layer == 0 { inputs } else { width };
        for direction in directions {
            push(format!("rnn.weight_ih_l{layer}{direction}"), &[rows, below]);
            push(format!("rnn.weight_hh_l{layer}{direction}"), &[rows, hidden]);
            push(format!("rnn.bias_ih_l{layer}{direction}"), &[rows]);
            push(format!("rnn.bias_hh_l{layer}{direction}"), &[rows]);
        }
    }
    push("head.weight".into(), &[1, width]);
    push("head.bias".into(), &[1]);
    all
}

/// Moves a flat array to a device.
pub fn to_device(values: &[f32], device: Device) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(values)?.f_to(device)?)
}

/// Copies a flat tensor of 32-bit floats to the host.
pub fn to_host(tensor: &Tensor) -> Result<Vec<f32>> {
    let mut values = vec![0.0; tensor.numel()];
    tensor.f_to(Device::Cpu)?.f_contiguous()?.f_copy_data(&mut values, tensor.numel())?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(cell: &str, bidirectional: bool) -> Recurrent {
        let architecture =
            Architecture::Recurrent { cell: cell.into(), layers: 2, hidden: 3, dropout: 0.0, bidirectional };
        Recurrent::new(&architecture, 2).unwrap()
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
            let architecture =
                Architecture::Recurrent { cell: cell.into(), layers: 1, hidden: 1, dropout: 0.0, bidirectional: false };
            let network = Recurrent::new(&architecture, 1).unwrap();
            let theta = network.initial(5);
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
            let batch = Padded { steps: Tensor::from_slice(&[x]).view([1, 1, 1]), lengths: vec![1] };
            let found = network.forward(&Tensor::from_slice(&theta), &batch, Mode::Predict).unwrap();
            let found = found.double_value(&[0, 0]) as f32;
            assert!((found - expected).abs() < 1e-6, "{cell}: {found} instead of {expected}");
        }
    }

    /// LibTorch's whole stacked, bidirectional module, which a state dict of PyTorch loads into.
    #[test]
    fn both_directions_of_two_layers_are_what_libtorch_computes_from_the_same_weights() {
        for cell in ["lstm", "gru"] {
            let network = network(cell, true);
            let theta = Tensor::from_slice(&network.initial(5));
            let views = network.views(&theta).unwrap();
            let (rnn, head) = views.split_at(16);
            let steps = Tensor::from_slice(&(0..24).map(|i| (i as f32).sin()).collect::<Vec<_>>()).view([6, 2, 2]);
            let zeros = Tensor::zeros([4, 2, 3], (Kind::Float, Device::Cpu));
            let whole = if cell == "lstm" {
                let state = [zeros.shallow_clone(), zeros];
                Tensor::lstm(&steps, &state, rnn, true, 2, 0.0, false, true, false).0
            } else {
                steps.gru(&zeros, rnn, true, 2, 0.0, false, true, false).0
            };
            let expected = to_host(&whole.linear(&head[0], Some(&head[1]))).unwrap();
            let batch = Padded { steps, lengths: vec![6, 6] };
            let found = to_host(&network.forward(&theta, &batch, Mode::Predict).unwrap()).unwrap();
            assert!(expected.iter().any(|value| (value - expected[0]).abs() > 0.01), "{expected:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{cell}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn a_sequence_is_read_from_its_own_end_whatever_stands_in_its_padding() {
        let network = network("gru", true);
        let theta = Tensor::from_slice(&network.initial(5));
        let predict = |steps: &[f32], sequences: i64, lengths: &[usize]| {
            let steps = Tensor::from_slice(steps).view([-1, sequences, 2]);
            let batch = Padded { steps, lengths: lengths.to_vec() };
            to_host(&network.forward(&theta, &batch, Mode::Predict).unwrap()).unwrap()
        };
        let alone = predict(&[0.1, 0.2, 0.3, 0.4], 1, &[2]);
        let beside = [0.1, 0.2, 9.0, 9.0, 0.3, 0.4, 8.0, 8.0, 1e6, -1e6, 7.0, 7.0];
        let beside = predict(&beside, 2, &[2, 3]);
        for (alone, beside) in alone.iter().zip([beside[0], beside[2]]) {
            assert!((alone - beside).abs() < 1e-6, "{alone} and {beside}");
        }
    }

    #[test]
    fn a_weight_of_another_shape_is_named() {
        let network = network("gru", false);
        let theta = network.initial(1);
        let mut tensors = network.unpack(&theta);
        let wrong = Weights { shape: vec![2], values: vec![0.0; 2] };
        let model = |tensors| Model { config: crate::training::toy::config("gru", false), tensors };
        assert_eq!(network.pack(&model(tensors.clone())).unwrap(), theta);
        tensors.insert("head.bias".into(), wrong);
        let error = network.pack(&model(tensors)).unwrap_err().to_string();
        assert_eq!(error, "`head.bias` has shape [2] in the model where [1] belongs");
    }
}
