//! Training through the public interface: golden models, learning, repeatability, resuming, folders.

mod folder;
mod golden;
mod run;
mod runtime;
mod tiny;
