//! What people see: the only part that writes to the terminal. Results go to stdout, progress to stderr.

pub mod artifacts;
pub mod chart;
pub mod columns;
pub mod comparison;
pub mod diagnostics;
pub mod draw;
pub mod groups;
pub mod output;
pub mod progress;
pub mod runs;
pub mod section;
pub mod standing;
pub mod tables;
pub mod transfer;
