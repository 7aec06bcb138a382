//! The fuzz target of `checks/tcx.rs`.

#![no_main]

#[path = "../checks/tcx.rs"]
mod tcx;
#[path = "../checks/workouts.rs"]
mod workouts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tcx::check(bytes));
