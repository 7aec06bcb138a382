//! The fuzz target of `checks/gpx.rs`.

#![no_main]

#[path = "../checks/gpx.rs"]
mod gpx;
#[path = "../checks/workouts.rs"]
mod workouts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gpx::check(bytes));
