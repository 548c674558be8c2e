#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mosaik::__fuzz::run("raft_fed", data));
