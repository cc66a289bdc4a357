//! Any bytes as a GGUF file in any dialect: an error or readable tensors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_core::io::{Dialect, Gguf, OpenOptions};

const DIALECTS: [Dialect; 2] = [Dialect::Upstream, Dialect::BitnetCpp];

fuzz_target!(|data: &[u8]| {
    parsimon_fuzz::as_file("input.gguf", data, |path| {
        for dialect in DIALECTS {
            let Ok(gguf) = Gguf::open(path, &OpenOptions { dialect, ..OpenOptions::default() }) else { continue };
            for (key, _) in gguf.metadata() {
                let _ = (gguf.str(key), gguf.u64(key), gguf.f64(key), gguf.array(key).map(|array| array.len()));
            }
            for info in gguf.tensors() {
                let _ = gguf.tensor(&info.name).map(|tensor| tensor.to_f32());
            }
            let _ = gguf.validate();
        }
    });
});
