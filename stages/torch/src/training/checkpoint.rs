//! The file that an interrupted training goes on from. Unaware of how a state came about.
//!
//! It is written whole under another name, synced and renamed, so that a kill at any moment leaves the previous
//! one; and it carries a checksum, so that a damaged one is noticed and left aside: training anew costs time, a
//! wrong weight would cost the result.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use pacer_stages::stage::Context;
use pacer_stages::tensors::{self, Array, Arrays};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::models::recurrent::{to_device, to_host};
use crate::training::adam::Adam;
use crate::training::state::{Position, State};

/// Where checkpoints of one training lie.
pub struct Checkpoint {
    path: PathBuf,
    identity: String,
    parameters: usize,
}

/// What a state holds beside its tensors, and what the tensors must add up to.
#[derive(Serialize, Deserialize)]
struct Header {
    identity: String,
    checksum: u64,
    adam_steps: u64,
    at: Position,
}

impl Checkpoint {
    /// The checkpoint in a folder of a training that `identity` tells from every other (parameters, seed, data).
    pub fn new(folder: &Path, identity: String, parameters: i64) -> Self {
        Self { path: folder.join("checkpoint.safetensors"), identity, parameters: parameters as usize }
    }

    /// Writes a state; where that fails the training goes on, and a person is told.
    pub fn save(&self, state: &State, context: &Context<'_>) {
        if let Err(error) = self.write(state) {
            let path = self.path.display();
            context.warn(format!("checkpoint `{path}` is not written, an interruption would begin anew: {error:#}"));
        }
    }

    /// The state to go on from, if there is a sound one of this very training; others are left aside.
    pub fn load(&self, device: Device, context: &Context<'_>) -> Option<State> {
        if !self.path.exists() {
            return None;
        }
        match self.read(device) {
            Ok(state) => Some(state),
            Err(error) => {
                context.warn(format!("training begins anew, the checkpoint is left aside: {error:#}"));
                None
            }
        }
    }

    fn write(&self, state: &State) -> Result<()> {
        let arrays = [&state.theta, &state.adam.first, &state.adam.second, &state.best];
        let arrays = arrays.map(|tensor| to_host(&tensor.detach()));
        let [theta, first, second, best] = arrays;
        let (theta, first, second, best) = (theta?, first?, second?, best?);
        let header = Header {
            identity: self.identity.clone(),
            checksum: checksum([&theta, &first, &second, &best]),
            adam_steps: state.adam.steps,
            at: state.at.clone(),
        };
        let shape = [self.parameters];
        let arrays = [("theta", &theta), ("first", &first), ("second", &second), ("best", &best)];
        let arrays = arrays.map(|(name, values)| (name, Array::f32(&shape, values)));
        let folder = self.path.parent().expect("the path is a file in a folder");
        fs::create_dir_all(folder)?;
        let fresh = self.path.with_extension("new");
        tensors::write(&fresh, &header, arrays)?;
        File::open(&fresh)?.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        Ok(File::open(folder)?.sync_all()?)
    }

    fn read(&self, device: Device) -> Result<State> {
        let file = Arrays::open(&self.path)?;
        let header: Header = file.header()?;
        ensure!(header.identity == self.identity, "`{}` is of another training", self.path.display());
        let array = |name| -> Result<Vec<f32>> {
            let (shape, values) = file.f32(name)?;
            file.expect_shape(name, &shape, &[self.parameters])?;
            Ok(values)
        };
        let (theta, first, second, best) = (array("theta")?, array("first")?, array("second")?, array("best")?);
        let sum = checksum([&theta, &first, &second, &best]);
        ensure!(sum == header.checksum, "{}: its checksum is wrong", file.broken());
        ensure!(!header.at.history.is_empty(), "{}: it has no history", file.broken());
        let place = |values: &[f32]| to_device(values, device).context("the checkpoint does not fit the device");
        Ok(State {
            theta: place(&theta)?.f_set_requires_grad(true)?,
            adam: Adam { first: place(&first)?, second: place(&second)?, steps: header.adam_steps },
            best: place(&best)?,
            at: header.at,
        })
    }
}

/// FNV-1a over the bits of arrays, a word at a time: against damage, not against malice.
pub fn checksum<'a>(arrays: impl IntoIterator<Item = &'a Vec<f32>>) -> u64 {
    let words = arrays.into_iter().flatten().map(|value| u64::from(value.to_bits()));
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}
