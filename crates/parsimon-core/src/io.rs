//! Files: mapped safetensors and GGUF, `.npy`, and writing that survives being killed.

mod atomic;
mod error;
pub mod gguf;
mod json;
#[allow(unsafe_code)]
mod map;
mod npy;
mod safetensors;

pub use atomic::{AtomicFile, copy_file};
pub use error::FormatError;
pub use gguf::{Dialect, Gguf, GgufTensor, GgufWriter, OpenOptions};
pub use json::{JSON_BYTES_MAX, read_json, write_json};
pub use map::{Map, Pages};
pub use npy::{NpyArray, NpyElement, write_npy};
pub use safetensors::{Checkpoint, SafetensorsWriter, TensorData, TensorSpec, write_safetensors};
