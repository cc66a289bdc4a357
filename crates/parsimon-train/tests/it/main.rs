//! Training through the public interface: golden models, learning, repeatability, resuming, folders.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod folder;
mod golden;
mod run;
mod runtime;
mod tiny;
