//! The fuzz target of `checks/key.rs`.

#![no_main]

#[path = "../checks/key.rs"]
mod key;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| key::check(bytes));
