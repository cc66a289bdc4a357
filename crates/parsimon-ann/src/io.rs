//! Files of vectors, ids and ground truth, as the field's benchmarks use them.
//!
//! | format | layout |
//! |---|---|
//! | fvecs, bvecs, ivecs | per row `i32 d`, then `d` elements: f32, u8, i32; every row has the same `d` |
//! | fbin, u8bin, i8bin, ibin | `u32 n, u32 d`, then `n d` elements: f32, u8, i8, i32, row after row |
//! | npy | versions 1.0 to 3.0, C order, little-endian |
//! | ground truth | `u32 nq, u32 k, u32 id[nq k], f32 distance[nq k]` |
//!
//! Files are mapped, and their size is compared with what the header says before anything is allocated. A byte too much is an error
//! as well: it means that the header is wrong.

mod truth;
mod vectors;

pub use truth::{GroundTruth, read_ids, write_ids, write_results};
pub use vectors::{VectorFile, VectorWriter};

#[cfg(test)]
mod tests;
