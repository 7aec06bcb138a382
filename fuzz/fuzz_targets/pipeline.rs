//! The fuzz target of `checks/pipeline.rs`.

#![no_main]

#[path = "../checks/pipeline.rs"]
mod pipeline;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pipeline::check(bytes));
