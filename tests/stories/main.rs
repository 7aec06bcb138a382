//! Stories of whole runs, told through the binary: write files, run, compare, run again.

mod caching;
mod damage;
mod faults;
mod harness;
mod interruption;
mod limits;
mod pipelines;
mod properties;
mod tidy;
