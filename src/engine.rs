//! The engine: decides what must run, runs it, and says why. Unaware of TOML and of the terminal.
//!
//! [`records`] makes key records, [`plan`] decides without running, [`reason`] explains a decision from the same
//! records, [`forward`] looks ahead, [`agenda`] decides what comes next from the [`slots`] that are free and the
//! [`urgency`] of each stage, [`run`] does it, [`courses`] orders the trainings that share a beginning, and [`rounds`]
//! decides between the runs of a search.

pub mod agenda;
pub mod courses;
pub mod forward;
pub mod plan;
pub mod reason;
pub mod records;
pub mod rerun;
pub mod rounds;
pub mod run;
#[cfg(test)]
mod sample;
pub mod slots;
mod task;
pub mod urgency;
