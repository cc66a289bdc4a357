//! From web archives to training corpora: WARC, extraction, filters, deduplication, token shards (RedStone).
#![forbid(unsafe_code)]

pub mod charset;
pub mod dedup;
mod error;
pub mod extract;
pub mod html;
pub mod http;
pub mod io;
pub mod pack;
pub mod pipeline;
pub mod record;
pub mod rules;
pub mod stats;
pub mod text;
pub mod warc;

pub use error::CurateError;
pub use extract::{Extracted, Extractor, Profile};
pub use html::Document;
pub use pipeline::{Plan, Preset, Recipe, Report, RunOptions, Runner};
pub use record::{Decision, Record};
pub use rules::{Metrics, Rules};
pub use warc::WarcReader;
