//! Parsimon: an efficient language-model stack in Rust. Curate a corpus, train a small model, compress it, run it on a CPU without
//! dequantizing.
//!
//! This crate re-exports the others, one feature each, and holds the adapters between siblings.
//!
//! | module | crate | feature |
//! |---|---|---|
//! | [`tensor`] | parsimon-core: checkpoints, packed formats, seeds, progress | always |
//! | [`simd`] | parsimon-simd: instruction-set levels | always |
#![cfg_attr(feature = "lut", doc = "| [`lut`] | parsimon-lut: low-bit matrix multiply by table lookup | `lut` |")]
#![cfg_attr(feature = "attn", doc = "| [`attn`] | parsimon-attn: attention | `attn` |")]
#![cfg_attr(feature = "model", doc = "| [`model`] | parsimon-model: the transformer runtime | `model` |")]
#![cfg_attr(feature = "data", doc = "| [`data`] | parsimon-data: from web archives to token shards | `data` |")]
#![cfg_attr(feature = "train", doc = "| [`train`] | parsimon-train: pre-training with burn (long build) | `train` |")]
#![cfg_attr(
    feature = "vq",
    doc = "| [`vq`] | parsimon-vq: k-means, codebooks, VPTQ layers and their products | `vq` |"
)]
#![cfg_attr(feature = "ann", doc = "| [`ann`] | parsimon-ann: a vector index that is updated in place | `ann` |")]
#![cfg_attr(
    feature = "reason",
    doc = "| [`reason`] | parsimon-reason: rStar and rStar-Math, answer grading, sandboxed code | `reason` |"
)]
#![cfg_attr(feature = "hw", doc = "| [`hw`] | parsimon-hw: vocabulary of the hardware models | `hw` |")]
#![forbid(unsafe_code)]

#[cfg(all(feature = "model", feature = "reason"))]
mod local_policy;
#[cfg(all(feature = "ann", feature = "model"))]
mod passages;

#[cfg(all(feature = "model", feature = "reason"))]
pub use local_policy::LocalPolicy;
#[cfg(feature = "ann")]
pub use parsimon_ann as ann;
#[cfg(feature = "attn")]
pub use parsimon_attn as attn;
pub use parsimon_core as tensor;
#[cfg(feature = "data")]
pub use parsimon_data as data;
#[cfg(feature = "hw")]
pub use parsimon_hw as hw;
#[cfg(feature = "lut")]
pub use parsimon_lut as lut;
#[cfg(feature = "model")]
pub use parsimon_model as model;
#[cfg(feature = "reason")]
pub use parsimon_reason as reason;
pub use parsimon_simd as simd;
#[cfg(feature = "train")]
pub use parsimon_train as train;
#[cfg(feature = "vq")]
pub use parsimon_vq as vq;
#[cfg(all(feature = "ann", feature = "model"))]
pub use passages::{PassageError, PassageIndex};
