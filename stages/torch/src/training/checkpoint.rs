//! The states that trainings of one course go on from: when they are written, which are kept, and which one a
//! training begins with. Unaware of how a step is taken.
//!
//! The folder holds `<step>.safetensors`, the latest few, for what was killed or stopped, and for good an
//! `end-<step>.safetensors` for each end of a phase, which a longer training goes on from. Trainings that differ
//! in their end alone share it; one job at a time uses it.

mod cadence;
pub mod file;

use std::fs;
use std::time::Instant;

use pacer_stages::stage::Context;
use tch::Device;

use crate::training::Recipe;
use crate::training::checkpoint::cadence::{Cadence, Passed};
use crate::training::checkpoint::file::Stored;
use crate::training::state::State;

/// Writes and finds the states of a training.
pub struct Keeper<'a> {
    context: &'a Context<'a>,
    identity: String,
    parameters: usize,
    cadence: Cadence,
    began: Instant,
    /// When the latest state was written, or when the training began.
    rested: Instant,
    /// The step of the latest state written, or of the one gone on from.
    step: u64,
    /// The step of the latest end written, or of the one gone on from.
    end: Option<u64>,
    written: usize,
    failed: bool,
}

/// What a state is kept for; at the same step an end lies further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// To go on with the same training.
    Latest,
    /// To go on with a longer one.
    End,
}

impl Role {
    fn prefix(self) -> &'static str {
        match self {
            Self::Latest => "",
            Self::End => "end-",
        }
    }

    fn file_name(self, step: u64) -> String {
        format!("{}{step:012}.safetensors", self.prefix())
    }
}

/// The step and the role that a file's name tells, if it is that of a state.
fn parse(name: &str) -> Option<(u64, Role)> {
    let stem = name.strip_suffix(".safetensors")?;
    let (role, digits) = stem.strip_prefix("end-").map_or((Role::Latest, stem), |digits| (Role::End, digits));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| is_number)?, role))
}

impl<'a> Keeper<'a> {
    /// Keeps the states of a training of so many weights that `identity` tells from those of every other course.
    pub fn new(context: &'a Context<'a>, identity: String, parameters: i64) -> Self {
        let now = Instant::now();
        Self {
            context,
            identity,
            parameters: parameters as usize,
            cadence: Cadence::new(&context.job.checkpoints, file::BYTES_PER_PARAMETER * parameters as usize),
            began: now,
            rested: now,
            step: 0,
            end: None,
            written: 0,
            failed: false,
        }
    }

    /// The furthest sound state that a training by `recipe` comes by itself; files that hold none are left aside.
    pub fn find(&mut self, recipe: &Recipe, device: Device) -> Option<State> {
        for (step, role) in self.names() {
            let path = self.context.job.partial.join(role.file_name(step));
            let found = Stored::read(&path, &self.identity, self.parameters);
            match found.and_then(|found| found.at.lies_on(recipe).then(|| found.state(device)).transpose()) {
                Ok(Some(state)) => {
                    self.step = state.at.step;
                    self.end = (role == Role::End).then_some(self.step);
                    return Some(state);
                }
                Ok(None) => {}
                Err(error) => self.context.warn(format!("a checkpoint of the training is left aside: {error:#}")),
            }
        }
        None
    }

    /// Writes the state after a step, if one is due.
    pub fn after_step(&mut self, state: &State) {
        let (training, time) = (self.began.elapsed(), self.rested.elapsed());
        if self.cadence.is_due(Passed { training, time, steps: state.at.step - self.step }) {
            self.save(state);
        }
    }

    /// Writes the state after a step and removes what is older than the latest few. What lies further on stays:
    /// it is of a longer training, which would have to begin here otherwise.
    pub fn save(&mut self, state: &State) {
        self.write(state, Role::Latest);
    }

    /// Writes the state at the end of a phase, for good, unless it is there already.
    pub fn end(&mut self, state: &State) {
        if self.end != Some(state.at.step) {
            self.write(state, Role::End);
            self.end = Some(state.at.step);
        }
    }

    /// Tells the log what the checkpoints of the training took.
    pub fn tell_cost(&self) {
        let (spent, all) = (self.cadence.spent.as_secs_f64(), self.began.elapsed().as_secs_f64());
        self.context.log(format!("{} checkpoints took {spent:.4} s of {all:.3} s", self.written));
    }

    /// Writes a state; where that fails the training goes on, and a person is told once.
    fn write(&mut self, state: &State, role: Role) {
        let start = Instant::now();
        let name = role.file_name(state.at.step);
        let folder = &self.context.job.partial;
        match Stored::of(state).and_then(|stored| stored.write(folder, &name, &self.identity)) {
            Ok(()) => self.written += 1,
            Err(error) => {
                let path = folder.join(name);
                let message = format!(
                    "checkpoint `{}` is not written, and an interruption would cost the training since the one \
                     before: {error:#}",
                    path.display()
                );
                if self.failed {
                    self.context.log(message);
                } else {
                    self.context.warn(message);
                    self.failed = true;
                }
            }
        }
        self.remove_old(state.at.step);
        self.cadence.took(start.elapsed());
        (self.rested, self.step) = (Instant::now(), state.at.step);
    }

    /// Removes all but the latest few of the states up to a step.
    fn remove_old(&self, step: u64) {
        let up_to = |name: &(u64, Role)| name.1 == Role::Latest && name.0 <= step;
        for (step, role) in self.names().into_iter().filter(up_to).skip(self.context.job.checkpoints.keep.max(1)) {
            // Best effort: an old state that stays only takes room.
            let _ = fs::remove_file(self.context.job.partial.join(role.file_name(step)));
        }
    }

    /// The states in the folder by their names, the furthest first.
    fn names(&self) -> Vec<(u64, Role)> {
        let entries = fs::read_dir(&self.context.job.partial).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| parse(entry.file_name().to_str()?)).collect();
        names.sort_unstable();
        names.reverse();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_tells_its_step_and_no_other_name_does() {
        for (step, role) in [(0, Role::Latest), (1260, Role::Latest), (1260, Role::End)] {
            assert_eq!(parse(&role.file_name(step)), Some((step, role)));
        }
        for name in ["unfinished", "checkpoint.safetensors", ".safetensors", "+12.safetensors", "end-.safetensors"] {
            assert_eq!(parse(name), None, "{name}");
        }
        let mut roles = [(5, Role::Latest), (9, Role::Latest), (5, Role::End), (7, Role::End)];
        roles.sort_unstable();
        assert_eq!(roles.map(|(step, _)| step), [5, 5, 7, 9]);
        assert_eq!(roles[1].1, Role::End);
    }
}
