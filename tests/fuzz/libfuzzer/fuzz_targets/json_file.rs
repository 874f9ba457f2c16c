//! Feeds the target `json_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidemill_fuzz::run("json_file", bytes));
