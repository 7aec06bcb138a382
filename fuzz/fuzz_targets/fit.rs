//! The fuzz target of `checks/fit.rs`.

#![no_main]

#[path = "../checks/fit.rs"]
mod fit;
#[path = "../checks/workouts.rs"]
mod workouts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fit::check(bytes));
