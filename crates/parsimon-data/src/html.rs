//! HTML: a page as a tree in an arena.
//!
//! [`Document::parse`] is total: any bytes give a tree. The tokenizer and the tree construction are html5ever's, with the full
//! behaviour of the WHATWG specification; the tree is ours, an arena whose nodes are linked by 32-bit indices, so that nothing
//! recurses and a page is freed at once. Three limits keep hostile pages bounded in time and memory: start tags below a depth
//! of 512 are dropped (their content stays, one level up), behind 5 million nodes the rest of the page is dropped, and so it is once
//! tags with many thousands of attributes have used up a budget. Each sets [`Document::is_truncated`].

mod dom;
mod guard;
mod sink;
mod walk;

pub use dom::{Document, NodeId};
pub use walk::{Event, Walk};

/// The longest input that is parsed, in bytes; the rest is dropped.
pub const INPUT_BYTES_MAX: usize = 64 << 20;
/// The most nodes of a tree.
pub const NODES_MAX: usize = 5_000_000;
/// The depth below which start tags are dropped.
pub const DEPTH_MAX: u32 = 512;

#[cfg(test)]
mod tests;
