//! The crate on whole files: golden archives, and the pipeline on the bundled sample.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it fails")]

mod charset;
mod corpus;
mod extract;
mod golden;
mod main_content;
mod models;
mod pages;
mod rules;
mod stages;
mod warc;
