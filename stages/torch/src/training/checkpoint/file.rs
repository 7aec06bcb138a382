//! The file of one state. Unaware of how a state came about and of which states are kept.
//!
//! It is written whole under another name, synced and renamed, so that a kill at any moment leaves no half of it
//! under its own; and it carries a checksum over all that it holds, so that a damaged one is noticed: training
//! anew costs time, a wrong weight would cost the result.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pacer_stages::tensors::{self, Array, Arrays};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::models::weights::{to_device, to_host};
use crate::training::adam::Adam;
use crate::training::state::{Position, State};

/// The name under which a file is written before it gets its own; what lies there is nothing.
const UNFINISHED: &str = "unfinished";

/// The size of a file by the weights of the network: four arrays of 32-bit floats.
pub const BYTES_PER_PARAMETER: usize = 16;

/// What a state holds beside its tensors, and what all of it must add up to.
#[derive(Serialize, Deserialize)]
struct Header {
    identity: String,
    checksum: u64,
    adam_steps: u64,
    at: Position,
}

/// A sound state as a file holds it.
pub struct Stored {
    /// Where the training stood.
    pub at: Position,
    adam_steps: u64,
    theta: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    best: Vec<f32>,
}

impl Stored {
    /// A copy of a state that computes.
    pub fn of(state: &State) -> Result<Self> {
        let host = |tensor: &Tensor| to_host(&tensor.f_detach()?);
        Ok(Self {
            at: state.at.clone(),
            adam_steps: state.adam.steps,
            theta: host(&state.theta)?,
            first: host(&state.adam.first)?,
            second: host(&state.adam.second)?,
            best: host(&state.best)?,
        })
    }

    /// The state, ready to compute.
    pub fn state(&self, device: Device) -> Result<State> {
        let place = |values: &[f32]| to_device(values, device).context("the checkpoint does not fit the device");
        Ok(State {
            theta: place(&self.theta)?.f_set_requires_grad(true)?,
            adam: Adam { first: place(&self.first)?, second: place(&self.second)?, steps: self.adam_steps },
            best: place(&self.best)?,
            at: self.at.clone(),
        })
    }

    /// Writes the state of the training `identity` to `name` in a folder, which is made where it is missing.
    pub fn write(&self, folder: &Path, name: &str, identity: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let fresh = folder.join(UNFINISHED);
        let header = Header {
            identity: identity.to_owned(),
            checksum: self.checksum(identity)?,
            adam_steps: self.adam_steps,
            at: self.at.clone(),
        };
        let shape = [self.theta.len()];
        let arrays = self.arrays().map(|(name, values)| (name, Array::f32(&shape, values)));
        tensors::write(&fresh, &header, arrays)?;
        File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, folder.join(name))?;
        Ok(File::open(folder)?.sync_all()?)
    }

    /// Reads a state of `parameters` weights of the training `identity`; any other file is an error.
    pub fn read(path: &Path, identity: &str, parameters: usize) -> Result<Self> {
        let file = Arrays::open(path)?;
        let header: Header = file.header()?;
        ensure!(header.identity == identity, "`{}` is of another training", path.display());
        let array = |name| -> Result<Vec<f32>> {
            let (shape, values) = file.f32(name)?;
            file.expect_shape(name, &shape, &[parameters])?;
            Ok(values)
        };
        let stored = Self {
            theta: array("theta")?,
            first: array("first")?,
            second: array("second")?,
            best: array("best")?,
            adam_steps: header.adam_steps,
            at: header.at,
        };
        ensure!(stored.checksum(identity)? == header.checksum, "{}: its checksum is wrong", file.broken());
        Ok(stored)
    }

    fn arrays(&self) -> [(&'static str, &[f32]); 4] {
        [("theta", &self.theta), ("first", &self.first), ("second", &self.second), ("best", &self.best)]
    }

    /// A checksum over everything; it fails where the position holds a number that its text would not give back,
    /// such as an infinite error.
    fn checksum(&self, identity: &str) -> Result<u64> {
        let text = serde_json::to_string(&(identity, self.adam_steps, &self.at))?;
        let (_, _, again): (String, u64, Position) = serde_json::from_str(&text)?;
        ensure!(again == self.at, "a number of the training's history cannot be stored");
        let words = text.bytes().map(u64::from);
        Ok(fold(words.chain(bits(self.arrays().into_iter().map(|(_, values)| values)))))
    }
}

/// FNV-1a over the bits of arrays, a word at a time: against damage, not against malice.
pub fn checksum<'a>(arrays: impl IntoIterator<Item = &'a [f32]>) -> u64 {
    fold(bits(arrays))
}

/// The checksum of an array of these values.
pub fn checksum_of(values: impl Iterator<Item = f32>) -> u64 {
    fold(values.map(|value| u64::from(value.to_bits())))
}

fn bits<'a>(arrays: impl IntoIterator<Item = &'a [f32]>) -> impl Iterator<Item = u64> {
    arrays.into_iter().flatten().map(|value| u64::from(value.to_bits()))
}

fn fold(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}
