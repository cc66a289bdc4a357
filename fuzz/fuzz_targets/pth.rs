//! Any bytes as a PyTorch file: an error or the names of its tensors; nothing in it runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_core::io::PthFile;

fuzz_target!(|data: &[u8]| {
    parsimon_fuzz::as_file("input.pth", data, |path| {
        let Ok(file) = PthFile::open(path) else { return };
        for name in file.names() {
            let tensor = file.tensor(name).expect("every name has a tensor");
            let _ = tensor.to_f32();
        }
    });
});
