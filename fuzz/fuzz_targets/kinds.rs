//! The fuzz target of `checks/kinds.rs`.

#![no_main]

#[path = "../checks/kinds.rs"]
mod kinds;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinds::check(bytes));
