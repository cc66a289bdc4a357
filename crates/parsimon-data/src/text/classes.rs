//! Classes of characters, as the general categories of Unicode make them.
//!
//! One 16-bit set of classes a character, in a two-stage table: blocks of 256 characters, equal blocks stored once. The table is made
//! from the categories that regex-syntax carries, once, when the first character is asked for; a look-up is two loads.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex_syntax::hir::{Class as HirClass, HirKind};

/// A set of classes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Class(u16);

impl Class {
    /// Lu.
    pub(crate) const UPPER: Class = Class(1);
    /// L.
    pub(crate) const LETTER: Class = Class(1 << 1);
    /// Lo.
    pub(crate) const LETTER_OTHER: Class = Class(1 << 2);
    /// Nd.
    pub(crate) const DIGIT: Class = Class(1 << 3);
    /// N.
    pub(crate) const NUMBER: Class = Class(1 << 4);
    /// Z.
    pub(crate) const SEPARATOR: Class = Class(1 << 5);
    /// Zs.
    pub(crate) const SPACE_SEPARATOR: Class = Class(1 << 6);
    /// C.
    pub(crate) const OTHER: Class = Class(1 << 7);
    /// P.
    pub(crate) const PUNCTUATION: Class = Class(1 << 8);
    /// Pi.
    pub(crate) const INITIAL: Class = Class(1 << 9);
    /// Pf.
    pub(crate) const FINAL: Class = Class(1 << 10);
    /// Mn.
    pub(crate) const MARK_NONSPACING: Class = Class(1 << 11);
    /// A letter, a number or `_`.
    pub(crate) const WORD: Class = Class(1 << 12);
    /// Every character of [`super::words`]'s symbols: what `simplify` takes for a blank.
    pub(crate) const SIMPLIFY_PUNCTUATION: Class = Class(1 << 13);
    /// Ends a sentence by the Unicode property `Sentence_Terminal`.
    pub(crate) const TERMINAL: Class = Class(1 << 14);

    /// Whether one of `other`'s classes is among these.
    pub(crate) fn has(self, other: Class) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub(crate) const fn or(self, other: Class) -> Class {
        Class(self.0 | other.0)
    }
}

/// Which classes are made of which categories.
const SOURCES: [(Class, &str); 13] = [
    (Class::UPPER, r"\p{Lu}"),
    (Class::LETTER, r"\p{L}"),
    (Class::LETTER_OTHER, r"\p{Lo}"),
    (Class::DIGIT, r"\p{Nd}"),
    (Class::NUMBER, r"\p{N}"),
    (Class::SEPARATOR, r"\p{Z}"),
    (Class::SPACE_SEPARATOR, r"\p{Zs}"),
    (Class::OTHER, r"\p{C}"),
    (Class::PUNCTUATION, r"\p{P}"),
    (Class::INITIAL, r"\p{Pi}"),
    (Class::FINAL, r"\p{Pf}"),
    (Class::MARK_NONSPACING, r"\p{Mn}"),
    (Class::WORD, r"[\p{L}\p{N}_]"),
];

const BLOCK: usize = 256;

struct Table {
    blocks: Vec<u16>,
    sets: Vec<[Class; BLOCK]>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut flat = vec![Class(0); char::MAX as usize + 1];
    let mut add = |class: Class, range: std::ops::RangeInclusive<usize>| {
        flat[range].iter_mut().for_each(|set| *set = set.or(class));
    };
    for (class, pattern) in SOURCES {
        let hir = regex_syntax::parse(pattern).expect("the pattern is a constant");
        let HirKind::Class(HirClass::Unicode(ranges)) = hir.kind() else { unreachable!("a class of characters") };
        for range in ranges.ranges() {
            add(class, range.start() as usize..=range.end() as usize);
        }
    }
    for &(start, end) in super::words::SYMBOLS {
        add(Class::SIMPLIFY_PUNCTUATION, start as usize..=end as usize);
    }
    for &(start, end) in super::words::TERMINALS {
        add(Class::TERMINAL.or(Class::SIMPLIFY_PUNCTUATION), start as usize..=end as usize);
    }
    let (mut sets, mut blocks, mut known) = (Vec::new(), Vec::new(), HashMap::new());
    for block in flat.chunks_exact(BLOCK) {
        let key: Vec<u16> = block.iter().map(|set| set.0).collect();
        let at = *known.entry(key).or_insert_with(|| {
            sets.push(block.try_into().expect("a block"));
            sets.len() as u16 - 1
        });
        blocks.push(at);
    }
    Table { blocks, sets }
});

/// The classes of a character.
pub(crate) fn classes_of(c: char) -> Class {
    let (table, c) = (&*TABLE, c as usize);
    table.sets[table.blocks[c / BLOCK] as usize][c % BLOCK]
}

/// White space as the tools behind the published rules see it: Unicode's, and the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
