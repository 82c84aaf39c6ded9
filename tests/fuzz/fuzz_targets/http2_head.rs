#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sidelock_fuzz::http2_head::run(data));
