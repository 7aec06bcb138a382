//! The fuzz target of `checks/results.rs`.

#![no_main]

#[path = "../checks/results.rs"]
mod results;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| results::check(bytes));
