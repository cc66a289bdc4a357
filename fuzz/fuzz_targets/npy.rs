//! Any bytes as a npy file: an error or an array.
#![no_main]

use libfuzzer_sys::fuzz_target;
use parsimon_core::io::NpyArray;

fuzz_target!(|data: &[u8]| {
    parsimon_fuzz::as_file("input.npy", data, |path| {
        let Ok(array) = NpyArray::open(path) else { return };
        let _ = (array.to_vec::<f32>(), array.to_vec::<u16>(), array.to_vec::<u32>());
    });
});
