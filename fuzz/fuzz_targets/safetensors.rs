//! Any bytes as a safetensors file: an error or readable tensors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_core::io::Checkpoint;

fuzz_target!(|data: &[u8]| {
    parsimon_fuzz::as_file("model.safetensors", data, |path| {
        let Ok(checkpoint) = Checkpoint::open(path) else { return };
        for name in checkpoint.names() {
            let _ = checkpoint.tensor(name).map(|tensor| tensor.to_f32());
        }
    });
});
