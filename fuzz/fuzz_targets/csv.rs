//! The fuzz target of `checks/csv.rs`.

#![no_main]

#[path = "../checks/csv.rs"]
mod csv;
#[path = "../checks/workouts.rs"]
mod workouts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| csv::check(bytes));
