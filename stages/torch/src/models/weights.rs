//! Named weights within one flat tensor: their shapes, their first values, and the way to and from a model artifact.
//! Unaware of what networks do with them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Index;

use anyhow::{Context as _, Result, ensure};
use pacer_stages::model::{Model, Weights};
use tch::{Device, Tensor};

use crate::random::{Purpose, stream, uniform};

/// A named array within the flat tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in the model artifact.
    pub name: String,
    /// Its shape.
    pub shape: Vec<i64>,
    /// Its values before training.
    pub start: Start,
}

/// Values before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Uniform within ± this bound.
    Uniform(f32),
    /// This number throughout.
    Fixed(f32),
}

impl Parameter {
    /// An array of this name and shape.
    pub fn new(name: impl Into<String>, shape: &[usize], start: Start) -> Self {
        Self { name: name.into(), shape: shape.iter().map(|side| *side as i64).collect(), start }
    }

    /// The weight `[outputs, inputs]` and the bias `[outputs]` of a linear layer, as PyTorch draws them: within
    /// ± 1/√inputs.
    pub fn linear(name: &str, outputs: usize, inputs: usize) -> [Self; 2] {
        let start = Start::Uniform(1.0 / (inputs as f32).sqrt());
        [
            Self::new(format!("{name}.weight"), &[outputs, inputs], start),
            Self::new(format!("{name}.bias"), &[outputs], start),
        ]
    }

    /// How many numbers it holds.
    pub fn len(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Length of the flat tensor.
pub fn len(parameters: &[Parameter]) -> i64 {
    parameters.iter().map(Parameter::len).sum()
}

/// The weights before training, from the project's own generator, so that they are alike on every device.
pub fn initial(parameters: &[Parameter], seed: u64) -> Vec<f32> {
    let mut generator = stream(seed, Purpose::Weights, 0);
    let starts = parameters.iter().flat_map(|parameter| std::iter::repeat_n(parameter.start, parameter.len() as usize));
    let value = |start| match start {
        Start::Uniform(bound) => uniform(bound, &mut generator),
        Start::Fixed(value) => value,
    };
    starts.map(value).collect()
}

/// The weights by their names, as views of the flat tensor.
pub struct Named<'a>(HashMap<&'a str, Tensor>);

impl<'a> Named<'a> {
    /// Cuts `theta` `[len]` into the weights.
    pub fn new(theta: &Tensor, parameters: &'a [Parameter]) -> Result<Self> {
        let lengths: Vec<i64> = parameters.iter().map(Parameter::len).collect();
        let parts = theta.f_split_with_sizes(&lengths, 0)?;
        let shaped = parts.iter().zip(parameters).map(|(part, parameter)| {
            let view = part.f_view(&parameter.shape[..])?;
            Ok((parameter.name.as_str(), view))
        });
        Ok(Self(shaped.collect::<Result<_>>()?))
    }

    /// The steps `x` `[…, inputs]` through the linear layer `name`.
    pub fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let [weight, bias] = ["weight", "bias"].map(|part| &self[format!("{name}.{part}").as_str()]);
        Ok(x.f_linear(weight, Some(bias))?)
    }
}

impl Index<&str> for Named<'_> {
    type Output = Tensor;

    /// A network asks only for weights that it declared.
    fn index(&self, name: &str) -> &Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the network declares no weight `{name}`"))
    }
}

/// The weights of a flat array by their names, for the model artifact.
pub fn unpack(parameters: &[Parameter], theta: &[f32]) -> BTreeMap<String, Weights> {
    let mut rest = theta;
    let named = parameters.iter().map(|parameter| {
        let (values, tail) = rest.split_at(parameter.len() as usize);
        rest = tail;
        let shape = parameter.shape.iter().map(|side| *side as usize).collect();
        (parameter.name.clone(), Weights { shape, values: values.to_vec() })
    });
    named.collect()
}

/// The flat array of a model artifact's weights; a missing weight or a wrong shape is named.
pub fn pack(parameters: &[Parameter], model: &Model) -> Result<Vec<f32>> {
    flatten(parameters, &model.tensors)
}

/// The flat array of named weights; a missing weight or a wrong shape is named.
pub fn flatten(parameters: &[Parameter], tensors: &BTreeMap<String, Weights>) -> Result<Vec<f32>> {
    let mut theta = Vec::with_capacity(len(parameters) as usize);
    for Parameter { name, shape, .. } in parameters {
        let weights = tensors.get(name).with_context(|| format!("`{name}` is missing in the model"))?;
        let found: Vec<i64> = weights.shape.iter().map(|side| *side as i64).collect();
        ensure!(found == *shape, "`{name}` has shape {found:?} in the model where {shape:?} belongs");
        theta.extend_from_slice(&weights.values);
    }
    Ok(theta)
}

/// Puts values in the place of the weight `name` within a flat array.
pub fn place(parameters: &[Parameter], theta: &mut [f32], name: &str, values: &[f32]) {
    let before = parameters.iter().take_while(|parameter| parameter.name != name);
    let first = before.map(Parameter::len).sum::<i64>() as usize;
    theta[first..first + values.len()].copy_from_slice(values);
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

    #[test]
    fn a_weight_of_another_shape_is_named() {
        let parameters = Parameter::linear("head", 1, 3);
        let theta = initial(&parameters, 1);
        let mut tensors = unpack(&parameters, &theta);
        let model = |tensors| Model { config: crate::training::toy::config("gru", false), tensors };
        assert_eq!(pack(&parameters, &model(tensors.clone())).unwrap(), theta);
        tensors.insert("head.bias".into(), Weights { shape: vec![2], values: vec![0.0; 2] });
        let error = pack(&parameters, &model(tensors)).unwrap_err().to_string();
        assert_eq!(error, "`head.bias` has shape [2] in the model where [1] belongs");
    }

    #[test]
    fn values_are_put_in_the_place_of_their_weight_alone() {
        let parameters = [Parameter::new("a", &[2], Start::Fixed(1.0)), Parameter::new("b", &[2], Start::Fixed(2.0))];
        let mut theta = initial(&parameters, 1);
        place(&parameters, &mut theta, "b", &[5.0, 6.0]);
        assert_eq!(theta, [1.0, 1.0, 5.0, 6.0]);
    }
}
