//! Web archives: reading and writing WARC files.
//!
//! [`WarcReader`] walks a file record by record, whether it is plain, gzipped one member per record (the rule on the web), gzipped
//! as one member, or compressed with Zstandard (frames, and the dictionary frame that crawlers put first); ARC files of version 1 too. Every record knows where it lies ([`Location`]), so that a row of the corpus can always be traced back to its
//! bytes. [`WarcWriter`] writes one gzip member per record and takes nothing from the clock or from chance: packing the same pages
//! twice gives the same bytes.

mod arc;
mod digest;
mod error;
pub(crate) mod header;
mod member;
mod pages;
mod reader;
mod writer;
mod zstd_frame;

pub use digest::{sha1_base32, sha1_hex};
pub use error::WarcError;
pub use header::HeaderFields;
pub use pages::{PackFile, PackOptions, PackReport, pack_pages};
pub use reader::{Location, WarcOptions, WarcReader, WarcRecord};
pub use writer::{PageRecord, WarcWriter};

#[cfg(test)]
mod tests;
