//! One layer of LSTM or GRU in one direction, on a processor by our kernels and on a GPU by LibTorch. Unaware of how
//! layers are stacked.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::kernels::{Cell, Given, Gradients, Instructions, Layer, Made, Sizes, Start, Weights};
use crate::models::pass::Pass;

/// `[longest, workouts, hidden]` from the steps `[longest, workouts, width]`, the four weights in PyTorch's order, and
/// the states before the first step, `[1, workouts, hidden]` each: the hidden state and an LSTM's memory.
pub fn layer(cell: Cell, steps: &Tensor, weights: &[Tensor; 4], states: &[Tensor], pass: &mut Pass) -> Result<Tensor> {
    if steps.device() == Device::Cpu && steps.numel() > 0 {
        return by_kernels(cell, steps, weights, states, pass);
    }
    let train = pass.learns();
    let states: Vec<Tensor> = states.iter().map(Tensor::f_contiguous).collect::<Result<_, _>>()?;
    let output = match cell {
        Cell::Lstm => steps.f_lstm(&states, weights, true, 1, 0.0, train, false, false)?.0,
        Cell::Gru => steps.f_gru(&states[0], weights, true, 1, 0.0, train, false, false)?.0,
    };
    Ok(output)
}

/// What both ways of a layer read: the steps, the weights and the states.
struct Read {
    layer: Layer,
    steps: Tensor,
    weights: Vec<Tensor>,
    states: Vec<Tensor>,
}

fn by_kernels(cell: Cell, steps: &Tensor, weights: &[Tensor; 4], states: &[Tensor], pass: &mut Pass) -> Result<Tensor> {
    let (shape, hidden) = (steps.size(), weights[1].size()[1]);
    let [longest, rows, inputs] = [shape[0], shape[1], shape[2]].map(|side| side as usize);
    let sizes = Sizes { steps: longest, rows, inputs, hidden: hidden as usize };
    let read = Read {
        layer: Layer::new(cell, sizes, Instructions::chosen()),
        steps: plain(steps)?,
        weights: weights.iter().map(plain).collect::<Result<_>>()?,
        states: states.iter().map(plain).collect::<Result<_>>()?,
    };
    let mut outputs = empty(&[shape[0], shape[1], hidden])?;
    if !pass.learns() {
        read.layer.forward(&read.given(), floats_mut(&mut outputs), None);
        return Ok(outputs);
    }
    let mut record = empty(&[read.layer.record() as i64])?;
    read.layer.forward(&read.given(), floats_mut(&mut outputs), Some(floats_mut(&mut record)));
    let all = std::iter::once(steps).chain(weights).chain(states);
    let inputs = all.map(Tensor::shallow_clone).collect();
    let (made, needs_steps) = (outputs.shallow_clone(), steps.requires_grad());
    pass.cut(inputs, outputs, move |gradient| read.back(&made, &record, &plain(gradient)?, needs_steps))
}

impl Read {
    fn given(&self) -> Given<'_> {
        let [input, hidden, input_bias, hidden_bias] = [0, 1, 2, 3].map(|at| floats(&self.weights[at]));
        Given {
            weights: Weights { input, hidden, input_bias, hidden_bias },
            inputs: floats(&self.steps),
            start: Start { hidden: floats(&self.states[0]), memory: self.states.get(1).map(floats) },
        }
    }

    /// The gradients of steps, weights and states; of the steps, where they are not needed, one that means nothing.
    fn back(&self, outputs: &Tensor, record: &Tensor, by_outputs: &Tensor, needs_steps: bool) -> Result<Vec<Tensor>> {
        let all = std::iter::once(&self.steps).chain(&self.weights).chain(&self.states);
        let mut gradients = all.map(|input| empty(&input.size())).collect::<Result<Vec<_>>>()?;
        let mut places = gradients.iter_mut().map(floats_mut);
        let mut next = || places.next().expect("steps, four weights and a state have gradients");
        let steps = next();
        let weights = Weights { input: next(), hidden: next(), input_bias: next(), hidden_bias: next() };
        let start = Start { hidden: next(), memory: places.next() };
        let to = Gradients { weights, inputs: needs_steps.then_some(steps), start };
        let made = Made { outputs: floats(outputs), record: floats(record) };
        self.layer.back(&self.given(), made, floats(by_outputs), to);
        Ok(gradients)
    }
}

/// The numbers of a tensor one after the other and outside of LibTorch's graph, as the kernels read them.
fn plain(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_detach()?.f_to_kind(Kind::Float)?.f_contiguous()?)
}

fn empty(shape: &[i64]) -> Result<Tensor> {
    Ok(Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?)
}

fn floats(tensor: &Tensor) -> &[f32] {
    assert!(tensor.kind() == Kind::Float && tensor.device() == Device::Cpu && tensor.is_contiguous());
    // SAFETY: the tensor holds so many 32-bit floats one after the other in the memory of the processor, which lives
    // as long as the tensor; nobody writes to what a pass reads.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<f32>(), tensor.numel()) }
}

fn floats_mut(tensor: &mut Tensor) -> &mut [f32] {
    assert!(tensor.kind() == Kind::Float && tensor.device() == Device::Cpu && tensor.is_contiguous());
    // SAFETY: as above, and the tensor was made here and is shown to nobody before it is filled. It is handed over
    // as LibTorch allocated it: every bit is one of a float, and the kernels write before they read.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f32>(), tensor.numel()) }
}
