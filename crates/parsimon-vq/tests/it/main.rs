//! Golden data of an independent program in NumPy, and properties.
#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod codebooks;
mod folders;
mod layers;
mod synthetic;
