#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_fuzz::state_files(data));
