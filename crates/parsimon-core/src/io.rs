//! Files: mapped safetensors and GGUF, `.npy`, and writing that survives being killed.

mod atomic;
mod error;
pub mod gguf;
mod json;
#[allow(unsafe_code)]
mod map;
mod npy;
mod pth;
mod safetensors;

pub use atomic::{AtomicFile, copy_file};
pub use error::FormatError;
pub use gguf::{Dialect, Gguf, GgufTensor, GgufWriter, OpenOptions};
pub use json::{JSON_BYTES_MAX, read_json, write_json};
pub use map::{Map, Pages};
pub use npy::{NpyArray, NpyElement, write_npy};
#[doc(hidden)]
pub use pth::read_names as read_pth_names;
pub use pth::{PthError, PthFile};
pub use safetensors::{Checkpoint, SafetensorsWriter, TensorData, TensorSpec, write_safetensors};
