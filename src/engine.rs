//! The engine: decides what must run, runs it, and says why. Unaware of TOML and of the terminal.
//!
//! [`records`] makes key records, [`plan`] decides without running, [`reason`] explains a decision from the same
//! records, [`run`] is the scheduler.

pub mod courses;
pub mod plan;
pub mod reason;
pub mod records;
pub mod run;
mod slots;
mod task;
