//! Shapes, dtypes, packed low-bit formats, checkpoint files, seeded random numbers, progress and cancel: what every other crate
//! of Parsimon stands on.
//!
//! ```no_run
//! use parsimon_core::io::Checkpoint;
//!
//! let checkpoint = Checkpoint::open("model".as_ref())?;
//! let embed = checkpoint.tensor("model.embed_tokens.weight")?;
//! println!("{:?} {} -> {} floats", embed.shape(), embed.dtype(), embed.to_f32()?.len());
//! # Ok::<(), parsimon_core::io::FormatError>(())
//! ```
//!
//! # Overview
//!
//! - [`io`]: memory-mapped safetensors ([`io::Checkpoint`]) and GGUF ([`io::Gguf`]), their writers, `.npy`, and [`io::AtomicFile`],
//!   which writes beside and renames. The only room of the workspace's lower half that opens files.
//! - [`DType`] and [`TensorView`]: borrowed tensors with a name, a shape and bytes.
//! - [`quant`]: uniform low-bit codes with group scales and zero points ([`quant::GroupQuantized`]), round-to-nearest, the GPTQ
//!   packing, the block types of GGUF ([`quant::BlockMatrix`]) and their quantizers ([`quant::encode`]), and what other programs pack into
//!   safetensors ([`quant::packed`]).
//! - [`SplitMix64`] and [`fnv1a64`]: the only source of randomness; a seed is always a parameter.
//! - [`Progress`], [`CancelFlag`], [`Control`]: how long work reports and stops.
//! - [`Diagnose`]: what every error type of the workspace tells the command line about itself.
//!
//! # When to use it
//!
//! When you read or write checkpoints or packed weights next to Parsimon's kernels. It knows no model architecture
//! (parsimon-model does) and holds no kernels.
//!
//! # Untrusted bytes
//!
//! Files are never trusted: lengths are checked against the file before anything is allocated, no parser panics, and a tensor
//! of an unknown type is an error only when that tensor is read. What a file does not say about itself (the dialect of its type
//! numbers, whether a scale divides, the order of a tile) is a parameter, and an error at most suggests it.
//!
//! # Numerics
//!
//! Blocks decode to f32 bit for bit as the reference decoders do, and the quantizers give their bytes; the golden data is in
//! `tests/data`. Uniform blocks become codes and group scales without loss where the type has a zero point, and within the rounding of one
//! f32 where it has a minimum.
//!
//! # Features
//!
//! `ndarray`: [`TensorView`]s as ndarray arrays, for programs that compute with that crate.
#![deny(unsafe_code)]

mod diagnose;
mod dtype;
pub mod io;
mod progress;
pub mod quant;
mod rng;
mod tensor;

pub use diagnose::{Diagnose, variant_name};
pub use dtype::DType;
pub use progress::{CancelFlag, Cancelled, Control, NoProgress, Progress, Unit};
pub use rng::{SplitMix64, fnv1a64};
pub use tensor::TensorView;
