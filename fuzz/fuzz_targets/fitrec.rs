//! The fuzz target of `checks/fitrec.rs`.

#![no_main]

#[path = "../checks/fitrec.rs"]
mod fitrec;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fitrec::check(bytes));
