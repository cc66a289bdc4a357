//! The guard around html5ever: it keeps the limits on depth, nodes and attributes.
//!
//! Depth and nodes are watched between tokenizer and tree construction, where tokens can be dropped. Attributes cannot be watched
//! there: the tokenizer compares each with all earlier ones of its tag, so a tag with millions of them would take hours before it
//! comes out. So the page is fed in small pieces; while pieces bring no token, the tokenizer is inside one (a long tag, or a comment),
//! the comparisons that it may be making are estimated from the separators it was fed, and past a budget the page ends there.

use std::cell::Cell;

use html5ever::TokenizerResult;
use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::{Tracer, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};

use super::dom::{NodeId, Tree};
use super::sink::Sink;
use super::{DEPTH_MAX, NODES_MAX};

/// Elements whose content is raw text: they cannot nest, and without them the tokenizer would take a script for text.
const RAW_TEXT: [&str; 7] = ["script", "style", "title", "textarea", "xmp", "iframe", "noscript"];

/// Bytes that are fed at a time.
const PIECE_BYTES: usize = 4 << 10;

/// Comparisons of attribute names that a page may cost: one or two seconds, far above what any honest page needs.
const COMPARISONS_MAX: u64 = 2_000_000_000;

struct Guard {
    builder: TreeBuilder<NodeId, Sink>,
    n_tokens: Cell<u64>,
}

impl Guard {
    fn is_dropped(&self, token: &Token) -> bool {
        let sink = &self.builder.sink;
        if sink.n_nodes() >= NODES_MAX {
            return !matches!(token, Token::EOFToken);
        }
        // The depth of the last insertion may be stale after end tags; only where it is large the open elements are counted.
        matches!(token, Token::TagToken(Tag { kind: TagKind::StartTag, name, .. })
            if sink.depth() >= DEPTH_MAX && !RAW_TEXT.contains(&&**name) && self.n_open() >= DEPTH_MAX)
    }

    /// Elements that the tree construction holds: open ones, and formatting ones to be opened again.
    fn n_open(&self) -> u32 {
        let counter = Counter(Cell::new(0));
        self.builder.trace_handles(&counter);
        counter.0.get()
    }
}

struct Counter(Cell<u32>);

impl Tracer for Counter {
    type Handle = NodeId;

    fn trace_handle(&self, _node: &NodeId) {
        self.0.set(self.0.get() + 1);
    }
}

impl TokenSink for Guard {
    type Handle = NodeId;

    fn process_token(&self, token: Token, line_number: u64) -> TokenSinkResult<NodeId> {
        self.n_tokens.set(self.n_tokens.get() + 1);
        if self.is_dropped(&token) {
            self.builder.sink.mark_truncated();
            return TokenSinkResult::Continue;
        }
        self.builder.process_token(token, line_number)
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// Parses a whole page.
pub(super) fn parse(text: &str) -> Tree {
    // Scripts do not run here, so what a page shows without them is content like any other.
    let options = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let builder = TreeBuilder::new(Sink::new(), options);
    let tokenizer = Tokenizer::new(Guard { builder, n_tokens: Cell::new(0) }, TokenizerOpts::default());
    let input = BufferQueue::default();
    let mut rest = StrTendril::from(text);
    let (mut separators, mut comparisons) = (0, 0);
    while !rest.is_empty() && comparisons < COMPARISONS_MAX {
        let length = text_prefix(&rest, PIECE_BYTES);
        let piece = rest.subtendril(0, length);
        rest.pop_front(length);
        let n_separators = piece.bytes().filter(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'=')).count() as u64;
        let n_tokens = tokenizer.sink.n_tokens.get();
        input.push_back(piece);
        // The tokenizer returns at the end of every script so that it may be run; nothing is run here.
        while !matches!(tokenizer.feed(&input), TokenizerResult::Done) {}
        let is_silent = tokenizer.sink.n_tokens.get() == n_tokens;
        separators = if is_silent { separators + n_separators } else { n_separators };
        comparisons += if is_silent { separators * n_separators } else { 0 };
    }
    if !rest.is_empty() {
        tokenizer.sink.builder.sink.mark_truncated();
    }
    tokenizer.end();
    tokenizer.sink.builder.sink.finish()
}

/// The largest length up to `limit` that does not cut a character.
fn text_prefix(text: &str, limit: usize) -> u32 {
    text.floor_char_boundary(limit) as u32
}
