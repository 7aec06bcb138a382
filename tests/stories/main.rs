//! Stories of whole runs, told through the binary: write files, run, compare, run again.

mod caching;
mod collecting;
mod commands;
mod damage;
mod disk;
mod explaining;
mod extending;
mod faults;
mod fuzzed;
mod garbage;
mod harness;
mod interruption;
mod kills;
mod limits;
mod many;
mod memory;
mod paths;
mod pipelines;
mod properties;
mod recordings;
mod security;
mod signals;
mod tidy;
mod tracer;
mod trainings;
