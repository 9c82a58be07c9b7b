#![no_main]

#[path = "../invariants/mod.rs"]
#[allow(dead_code, reason = "each target holds to one of them")]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::body::hold(bytes));
