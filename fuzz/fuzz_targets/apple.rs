//! The fuzz target of `checks/apple.rs`.

#![no_main]

#[path = "../checks/apple.rs"]
mod apple;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apple::check(bytes));
