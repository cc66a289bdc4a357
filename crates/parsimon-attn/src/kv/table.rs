//! Pages that belong to someone else, found through a table.

use super::check_len;
use super::elements::{Block, KvData};
use crate::AttnError;

/// Pages of keys or of values, and where those of one sequence lie.
#[derive(Clone, Copy, Debug)]
pub struct PageTable<'a> {
    /// `[pages, page, heads, d]`.
    pub data: KvData<'a>,
    /// Positions of a page.
    pub page: usize,
    /// The pages of the sequence, [`PageTable::ABSENT`] where there is none.
    pub table: &'a [u32],
}

impl PageTable<'_> {
    /// The entry that names no page.
    pub const ABSENT: u32 = u32::MAX;
}

/// A checked table: every position of the sequence has a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableRows<'a> {
    pub(super) data: Block<'a>,
    page: usize,
    table: &'a [u32],
    heads: usize,
    pub(super) d: usize,
}

impl<'a> TableRows<'a> {
    pub(super) fn try_new(
        (seq, len): (usize, usize),
        PageTable { data, page, table }: PageTable<'a>,
        heads: usize,
        d: usize,
    ) -> Result<Self, AttnError> {
        if page == 0 {
            return Err(AttnError::ZeroDim { what: "page" });
        }
        let page_numbers = page * heads * d;
        let pages = data.len() / page_numbers;
        check_len("pages", pages * page_numbers, data.len())?;
        let needed = len.div_ceil(page);
        if table.len() < needed {
            return Err(AttnError::Shape { what: "page table", expected: needed, actual: table.len() });
        }
        for (page, &value) in table[..needed].iter().enumerate() {
            if value == PageTable::ABSENT {
                return Err(AttnError::PageMissing { seq, page });
            }
            if value as usize >= pages {
                return Err(AttnError::Page { seq, page, value, limit: pages });
            }
        }
        Ok(TableRows { data: data.block(heads * d), page, table, heads, d })
    }

    /// The rows of a head from position `t` to the end of its page, and how many they are.
    pub(super) fn run(&self, head: usize, t: usize) -> (Block<'a>, usize) {
        let row = self.table[t / self.page] as usize * self.page + t % self.page;
        (self.data.starting_at((row * self.heads + head) * self.d), self.page - t % self.page)
    }
}
