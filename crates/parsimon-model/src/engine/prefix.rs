//! Whole pages of keys and values by the tokens that lead to them.

use std::cmp::Reverse;
use std::collections::HashMap;

use parsimon_attn::{KvPool, PageId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Pages that prompts may begin with. A page is found by a chain: its own tokens and the key of the page before it.
///
/// A chain is compared token by token, so that equal hashes of unequal texts are misses and no mistakes.
#[derive(Debug, Default)]
pub(super) struct PrefixCache {
    entries: HashMap<u64, Entry>,
    /// Counts look-ups; says which pages were used last.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    parent: u64,
    tokens: Vec<u32>,
    page: PageId,
    /// Pages before it.
    depth: usize,
    used: u64,
}

/// The key before the first page.
const ROOT: u64 = 0;

impl PrefixCache {
    /// The pages of the longest known beginning of `tokens`.
    pub(super) fn find(&mut self, tokens: &[u32]) -> Vec<PageId> {
        self.clock += 1;
        let (mut pages, mut parent) = (Vec::new(), ROOT);
        for tokens in tokens.chunks_exact(KvPool::PAGE) {
            let key = key(parent, tokens);
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.is(parent, tokens)) else { break };
            entry.used = self.clock;
            pages.push(entry.page);
            parent = key;
        }
        pages
    }

    /// Keeps the whole pages of a sequence whose first positions hold `tokens`. Those that are known stay as they are.
    pub(super) fn insert(&mut self, tokens: &[u32], pages: &[PageId], pool: &mut KvPool) {
        self.clock += 1;
        let mut parent = ROOT;
        for (depth, (tokens, &page)) in tokens.chunks_exact(KvPool::PAGE).zip(pages).enumerate() {
            let key = key(parent, tokens);
            match self.entries.get_mut(&key) {
                Some(entry) if entry.is(parent, tokens) => entry.used = self.clock,
                Some(_) => return,
                None => {
                    pool.retain(page);
                    let entry = Entry { parent, tokens: tokens.to_vec(), page, depth, used: self.clock };
                    self.entries.insert(key, entry);
                }
            }
            parent = key;
        }
    }

    /// Pages that nothing but this cache holds.
    pub(super) fn evictable(&self, pool: &KvPool) -> usize {
        self.entries.values().filter(|entry| pool.owners(entry.page) == 1).count()
    }

    /// Gives up pages until `pages` are free or nothing is left to give: the ones that were not used for longest first, of a chain the last first.
    pub(super) fn evict(&mut self, pages: usize, pool: &mut KvPool) {
        while pool.free_pages() < pages {
            let idle = self.entries.iter().filter(|(_, entry)| pool.owners(entry.page) == 1);
            let Some(key) = idle.min_by_key(|(_, entry)| (entry.used, Reverse(entry.depth))).map(|(&key, _)| key)
            else {
                return;
            };
            let entry = self.entries.remove(&key).expect("the key was just found");
            pool.release(entry.page);
        }
    }
}

impl Entry {
    fn is(&self, parent: u64, tokens: &[u32]) -> bool {
        self.parent == parent && self.tokens == tokens
    }
}

fn key(parent: u64, tokens: &[u32]) -> u64 {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    // Never the root's.
    xxh3_64_with_seed(&bytes, parent).max(1)
}

#[cfg(test)]
mod tests {
    use parsimon_attn::{HeadMap, KvDtype, KvSequence, KvShape};

    use super::*;

    #[test]
    fn chains_are_found_kept_and_given_up_from_the_end() {
        let heads = HeadMap::try_new(1, 1, 1).unwrap();
        let shape = KvShape { layers: 1, heads, d_qk: 1, d_v: 1, dtype: KvDtype::F32 };
        let (mut pool, mut cache) = (KvPool::new(shape, Some(7)), PrefixCache::default());
        let tokens = |first: u32| (first..first + 200).collect::<Vec<u32>>();
        let insert = |cache: &mut PrefixCache, pool: &mut KvPool, first| {
            let mut sequence = KvSequence::default();
            pool.reserve(&mut sequence, 150).unwrap();
            pool.advance(&mut sequence, 150);
            cache.insert(&tokens(first)[..150], sequence.pages(), pool);
            let pages = sequence.pages()[..2].to_vec();
            pool.truncate(&mut sequence, 0);
            pages
        };
        let first = insert(&mut cache, &mut pool, 0);
        let second = insert(&mut cache, &mut pool, 1000);
        assert_eq!((pool.free_pages(), cache.evictable(&pool)), (3, 4));
        // Inserting again changes nothing.
        assert_eq!(insert(&mut cache, &mut pool, 0).len(), 2);
        assert_eq!(cache.find(&tokens(0)), first);
        assert_eq!(cache.find(&tokens(0)[..127]), first[..1]);
        let mut other = tokens(0);
        other[100] = 7;
        assert_eq!(cache.find(&other), first[..1]);
        other[0] = 7;
        assert!(cache.find(&other).is_empty());

        // The second chain was not used for longest.
        cache.evict(4, &mut pool);
        assert_eq!(cache.find(&tokens(1000)), second[..1]);
        // A page that a sequence holds stays.
        let held = pool.share(&first);
        cache.evict(7, &mut pool);
        assert_eq!((pool.free_pages(), cache.find(&tokens(0))), (5, first));
        assert_eq!((held.len(), cache.evictable(&pool)), (128, 0));
    }
}
