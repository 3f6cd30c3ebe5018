#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_fuzz::batches_on_disk(data));
