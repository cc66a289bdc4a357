//! From web archives to training corpora: WARC, extraction, filters, deduplication, token shards (RedStone).
//!
//! ```
//! use parsimon_data::{Document, Extractor, Metrics, Profile, Rules};
//!
//! let html = b"<nav>Home</nav><main><h1>Owls</h1><p>Owls hunt at night.</p><pre>let owl = 1;</pre></main>";
//! let page = Extractor::new(Profile::Balanced).extract(&Document::parse(html, None));
//! assert_eq!(page.text, "Owls\nOwls hunt at night.\nlet owl = 1;");
//!
//! let metrics = Metrics::compute(&page.text, &page.spans);
//! assert_eq!(metrics.get("doc_word_count"), Some(5.0)); // the code is masked
//! assert_eq!(Rules::technical().check(&metrics).reason(), Some("doc_word_count"));
//! ```
//!
//! # Overview
//!
//! - [`warc`]: [`WarcReader`] walks archives record by record and survives damage; [`warc::pack_pages`] makes archives of a folder
//!   of pages. [`http`] and [`charset`] turn a record into text.
//! - [`Document`] is a page as a tree; [`Extractor`] finds its main content and writes it as text with spans over code, tables and
//!   formulas ([`code`], [`math`]), and finds questions with answers ([`qa`]).
//! - [`text`] holds the views that everything below counts on: normalized, in words, in sentences.
//! - [`rules`]: [`Metrics`] and bounds on them ([`Rules`]), and the published sets by name ([`rules::RulePreset`]); every decision is a value,
//!   a threshold and a name. [`lid`] finds languages, [`fasttext`] reads, trains and applies classifiers.
//! - [`dedup`]: equal, nearly equal and partly equal texts. [`url_filter`], [`pii`] and [`decontam`] are what their names say.
//! - [`Recipe`], [`Plan`], [`Runner`]: the whole chain over many archives, resumable, down to tokenizer and token shards; [`Report`] and
//!   [`stats`] say what came in, what stayed and why the rest did not. [`Record`] is a row of the corpus; [`ops`] is one operation on rows.
//!
//! # When to use it
//!
//! To turn archives or folders of HTML into a corpus on one machine, or to take single parts (the archive reader, the extractor) into a
//! program of your own. It downloads nothing, and it reads no other document format than HTML.
//!
//! # Numerics
//!
//! Metrics are quotients of whole numbers in `f64`. Nothing depends on the number of threads: the bytes of a corpus are a function of
//! recipe, inputs and version.
//!
//! # Untrusted bytes
//!
//! Archives and pages are. No parser panics; records are limited to 64 MiB, payloads to 20 MiB and a ratio, pages to 64 MiB, 5 million nodes
//! and a depth of 512; a defect met by one record drops that record (`internal`) and not the run.
//!
//! # Features
//!
//! None yet.
//!
//! # The paper
//!
//! RedStone (arXiv:2412.03398) makes general, code, mathematics and question-answer data from Common Crawl. Here are its rules with
//! their exact thresholds, its candidates for code, mathematics and questions, and a recipe for each data set; the classifiers that the
//! authors trained are not published, so a recipe runs without them unless a model is given. Not here: Parquet, object stores,
//! near-duplicates on disk (signatures are held in memory, about 1.2 KiB a document), a model for the language of code.
#![forbid(unsafe_code)]

pub mod charset;
pub mod code;
pub mod decontam;
pub mod dedup;
mod error;
pub mod extract;
pub mod fasttext;
pub mod html;
pub mod http;
pub mod io;
pub mod lid;
pub mod math;
pub mod ops;
pub mod pack;
pub mod pii;
pub mod pipeline;
pub mod qa;
pub mod record;
pub mod rules;
pub mod stats;
pub mod text;
pub mod url_filter;
pub mod warc;

pub use error::CurateError;
pub use extract::{Extracted, Extractor, Profile};
pub use html::Document;
pub use pipeline::{Plan, Preset, Recipe, Report, RunOptions, Runner};
pub use record::{Decision, Record};
pub use rules::{Metrics, Rules};
pub use warc::WarcReader;
