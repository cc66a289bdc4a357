//! The crate on whole files: golden archives, and the pipeline on the bundled sample.

#![allow(clippy::unwrap_used, reason = "tests; clippy's own exception does not see the functions beside them")]

mod charset;
mod corpus;
mod extract;
mod warc;
