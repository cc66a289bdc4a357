//! The crate on whole files: golden archives, and the pipeline on the bundled sample.

mod charset;
mod corpus;
mod extract;
mod warc;
