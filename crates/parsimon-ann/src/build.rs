//! Building an index from a file of vectors. PAPER(spfresh SPANN §3).
//!
//! Balanced clustering, again and again, cuts the vectors into small leaves; the medoid of every leaf becomes a head. Then every vector
//! chooses its postings by closure and the RNG rule, and a posting keeps the nearest records up to the limit, but never at the cost of
//! a vector's last copy. Vectors stay in the mapped file (for l2; other metrics keep their normalised rows in memory).

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use parsimon_core::{Control, SplitMix64, Unit};
use rayon::prelude::*;

use crate::assign::Pool;
use crate::cluster::cluster;
use crate::config::{IndexConfig, Runtime};
use crate::heads::{HeadScratch, Heads};
use crate::index::write_first;
use crate::io::VectorFile;
use crate::storage::chunk::Records;
use crate::storage::generation::{DATA_FILE, Generation, IdColumns, Post, chunk_format};
use crate::storage::pool::{ChunkPool, FreeList};
use crate::storage::{StdVfs, Vfs};
use crate::{AnnError, Index, Metric, Space, StorageError};

/// Vectors on which the size of leaves is tried.
const TRIAL: usize = 10_000;
const TRIALS: usize = 6;
/// How far the number of heads may be from the wanted one.
const RATIO_ERROR: f64 = 0.03;
/// Measured: leaves of target size t give about this many heads a vector, times t.
pub(crate) const HEADS_PER_LEAF: f64 = 1.85;
const FANOUT_MAX: usize = 32;
/// Leaves between two looks at the cancel flag.
const BATCH: usize = 1024;

/// Stored rows of all vectors.
enum Rows<'a> {
    Mapped(&'a VectorFile),
    Owned { bytes: Vec<u8>, stride: usize },
}

impl Rows<'_> {
    fn row(&self, i: usize) -> &[u8] {
        match self {
            Rows::Mapped(file) => file.row(i),
            Rows::Owned { bytes, stride } => &bytes[i * stride..][..*stride],
        }
    }
}

/// A record on its way into a posting.
#[derive(Clone, Copy)]
struct Placed {
    head: u32,
    distance: f32,
    row: u32,
    /// The vector's nearest head.
    is_first: bool,
}

/// The largest norm of the vectors, for the inner product's bound.
pub fn max_norm(vectors: &VectorFile) -> f32 {
    let norm = |i: usize| {
        let values = vectors.element().decode(vectors.row(i));
        values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt() as f32
    };
    (0..vectors.len()).into_par_iter().map(norm).reduce(|| 0.0, f32::max)
}

impl Index {
    /// Builds an index in `dir`, which must not exist: beside it first, renamed when it is whole. Without `ids` the row numbers are ids.
    ///
    /// # Errors
    ///
    /// What is wrong with the vectors or the ids, [`AnnError::Cancelled`], I/O.
    pub fn build(
        dir: &Path,
        space: &Space,
        config: &IndexConfig,
        uuid: [u8; 16],
        vectors: &VectorFile,
        ids: Option<&[u64]>,
        control: &Control<'_>,
    ) -> Result<(), AnnError> {
        let place = StdVfs::beside(dir)?;
        let vfs: Arc<dyn Vfs> = Arc::new(place.clone());
        build_on(&vfs, space, config, uuid, vectors, ids, control)?;
        {
            // Postings that kept last copies may be longer than the limit.
            let index = Index::open_on(Arc::clone(&vfs), Runtime::default())?;
            index.split_long()?;
            index.checkpoint()?;
        }
        place.rename_to(dir)?;
        Ok(())
    }
}

/// Builds an index in an empty folder.
fn build_on(
    vfs: &Arc<dyn Vfs>,
    space: &Space,
    config: &IndexConfig,
    uuid: [u8; 16],
    vectors: &VectorFile,
    ids: Option<&[u64]>,
    control: &Control<'_>,
) -> Result<(), AnnError> {
    config.check()?;
    let n = vectors.len();
    check(space, vectors, ids)?;
    let rows = stored_rows(space, vectors)?;
    let row = |i: usize| rows.row(i);
    control.progress.start("cluster", None, Unit::Items("vectors"));
    let upper = upper(space, config, n, &row, control)?;
    let leaf = leaf_size(space, config, &upper, &row);
    let leaves = lower(space, &upper.iter().collect::<Vec<_>>(), &row, leaf, config.seed, control)?;
    let medoids = distinct_rows(&row, &leaves);
    let mut heads = Heads::new(space.clone(), Default::default());
    let padded = |i: u32| {
        let mut bytes = row(i as usize)[..space.row_bytes()].to_vec();
        bytes.resize(space.stride(), 0);
        bytes
    };
    for (head, &i) in medoids.iter().enumerate() {
        heads.insert(head as u32, &padded(i));
    }
    let format = chunk_format(space, uuid);
    let limit = config.posting_limit.unwrap_or_else(|| format.geometry.default_limit()) as usize;
    let (placed, copies) = place_all(space, config, &heads, &leaves, &row, limit, control)?;

    vfs.create_dir("").map_err(|e| StorageError::io(".", "create", e))?;
    let file = vfs.open(DATA_FILE, true).map_err(|e| StorageError::io(DATA_FILE, "create", e))?;
    file.write_at(&format.superblock(), 0).map_err(|e| StorageError::io(DATA_FILE, "write", e))?;
    let pool = ChunkPool::new(DATA_FILE, file, format, FreeList::new(1, []), 1);
    control.progress.start("write", Some(medoids.len() as u64), Unit::Items("postings"));
    let (mut posts, mut held, mut begin) = (Vec::new(), Vec::new(), 0);
    for head in 0..medoids.len() as u32 {
        control.cancel.check()?;
        let end = begin + placed[begin..].partition_point(|p| p.head == head);
        let mut records = Records::default();
        for p in &placed[begin..end] {
            records.push(p.row, 0, &padded(p.row));
        }
        begin = end;
        let chunks = pool.write(head, 0, &records, 0, records.len())?;
        let numbers = chunks.iter().map(|chunk| chunk.number).collect();
        posts.push(Post { head, records: records.len() as u32, flags: 0, chunks: numbers });
        held.extend(chunks);
        control.progress.advance(1);
    }
    pool.sync()?;
    control.progress.finish();
    let columns = IdColumns {
        ext: ids.map_or_else(|| (0..n as u64).collect(), <[u64]>::to_vec),
        born: vec![0; n],
        version: vec![0; n],
        copies,
        state: vec![2; n],
    };
    let mut manifest = crate::index::first_manifest(space, config, uuid);
    manifest.data_chunks = pool.list.end();
    manifest.chunk_seq = pool.seq();
    manifest.next_head_id = medoids.len() as u32;
    manifest.heads = medoids.len() as u64;
    (manifest.live, manifest.internal_ids, manifest.records) = (n as u64, n as u64, placed.len() as u64);
    let head_rows = medoids.iter().flat_map(|&i| padded(i)).collect();
    write_first(&**vfs, space, Generation { manifest, head_rows, posts, ids: columns })
}

fn check(space: &Space, vectors: &VectorFile, ids: Option<&[u64]>) -> Result<(), AnnError> {
    if vectors.dim() != space.dim() {
        return Err(AnnError::Shape { what: "elements of a vector", expected: space.dim(), actual: vectors.dim() });
    }
    if vectors.element() != space.element() {
        return Err(AnnError::param(
            "element type",
            vectors.element(),
            "the vectors are of another type than the index",
        ));
    }
    if let Some(row) = vectors.first_not_finite() {
        return Err(AnnError::InvalidVector { row, why: "an element is not finite".into() });
    }
    if vectors.len() as u64 > crate::ids::IDS_MAX {
        return Err(AnnError::CapacityExceeded { limit: crate::ids::IDS_MAX });
    }
    let Some(ids) = ids else { return Ok(()) };
    if ids.len() != vectors.len() {
        return Err(AnnError::Shape { what: "ids", expected: vectors.len(), actual: ids.len() });
    }
    let mut seen = HashSet::with_capacity(ids.len());
    match ids.iter().find(|&&id| !seen.insert(id)) {
        Some(&id) => Err(AnnError::AlreadyExists { id }),
        None => Ok(()),
    }
}

fn stored_rows<'a>(space: &Space, vectors: &'a VectorFile) -> Result<Rows<'a>, AnnError> {
    if space.metric() == Metric::L2 {
        return Ok(Rows::Mapped(vectors));
    }
    let mut bytes = Vec::with_capacity(vectors.len() * space.stride());
    for i in 0..vectors.len() {
        space.push_row(i, vectors.row(i), &mut bytes)?;
    }
    Ok(Rows::Owned { bytes, stride: space.stride() })
}

/// Parts of the tree that the size of leaves does not shape: nodes with more members have the greatest fan-out whatever it is.
fn upper<'r>(
    space: &Space,
    config: &IndexConfig,
    n: usize,
    row: &(impl Fn(usize) -> &'r [u8] + Sync),
    control: &Control<'_>,
) -> Result<Vec<Leaf>, AnnError> {
    let all: Vec<u32> = (0..n as u32).collect();
    leaves(space, &all, row, FANOUT_MAX * leaf_max(config), config.seed, control)
}

/// The largest size of leaves that is tried.
fn leaf_max(config: &IndexConfig) -> usize {
    (2.0 * HEADS_PER_LEAF / config.head_ratio).ceil() as usize + 1
}

/// The size of leaves that gives the wanted number of heads, found on some of the tree's upper parts as they are.
fn leaf_size<'r>(
    space: &Space,
    config: &IndexConfig,
    upper: &[Leaf],
    row: &(impl Fn(usize) -> &'r [u8] + Sync),
) -> usize {
    let mut rng = SplitMix64::new(config.seed);
    let (mut trial, mut members): (Vec<&Leaf>, usize) = (Vec::new(), 0);
    let total: usize = upper.iter().map(|part| part.members.len()).sum();
    if total <= TRIAL {
        (trial, members) = (upper.iter().collect(), total);
    }
    while members < TRIAL.min(total) {
        let part = &upper[rng.below(upper.len() as u64) as usize];
        members += part.members.len();
        trial.push(part);
    }
    let wanted = config.head_ratio * members as f64;
    let quiet = parsimon_core::CancelFlag::new();
    let control = Control { progress: &parsimon_core::NoProgress, cancel: &quiet };
    let count = |leaf: usize| -> f64 {
        let found = lower(space, &trial, row, leaf, config.seed, &control);
        distinct_rows(row, &found.expect("nobody cancels")).len() as f64
    };
    let (mut low, mut high) = (1, leaf_max(config));
    let mut best = (f64::INFINITY, 1);
    let mut leaf = ((HEADS_PER_LEAF / config.head_ratio).round() as usize).clamp(1, high);
    for _ in 0..TRIALS {
        let heads = count(leaf);
        let error = (heads - wanted).abs();
        if error < best.0 {
            best = (error, leaf);
        }
        if error <= RATIO_ERROR * wanted {
            break;
        }
        if heads > wanted {
            low = leaf + 1
        } else {
            high = leaf.saturating_sub(1)
        }
        if low > high {
            break;
        }
        leaf = (low + high) / 2;
    }
    best.1
}

/// The leaves below parts of the tree, by medoid.
fn lower<'r>(
    space: &Space,
    upper: &[&Leaf],
    row: &(impl Fn(usize) -> &'r [u8] + Sync),
    leaf: usize,
    seed: u64,
    control: &Control<'_>,
) -> Result<Vec<Leaf>, AnnError> {
    let below = |part: &&Leaf| leaves(space, &part.members, row, leaf, seed ^ u64::from(part.medoid), control);
    let mut found: Vec<Leaf> =
        upper.par_iter().map(below).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    found.sort_by_key(|leaf| leaf.medoid);
    Ok(found)
}

/// Vectors of one place, and the one in their middle.
pub(crate) struct Leaf {
    pub(crate) medoid: u32,
    members: Vec<u32>,
}

/// The leaves by medoid. The levels of the tree are worked off one after another, the nodes of one in parallel.
pub(crate) fn leaves<'r>(
    space: &Space,
    all: &[u32],
    row: &(impl Fn(usize) -> &'r [u8] + Sync),
    leaf: usize,
    seed: u64,
    control: &Control<'_>,
) -> Result<Vec<Leaf>, AnnError> {
    let mut leaves = Vec::new();
    let mut level: Vec<(Vec<u32>, u32)> = if all.is_empty() { Vec::new() } else { vec![(all.to_vec(), all[0])] };
    let mut number = 0;
    while !level.is_empty() {
        control.cancel.check()?;
        let nodes: Vec<(u64, Vec<u32>, u32)> =
            level.into_iter().zip(number..).map(|((members, medoid), id)| (id, members, medoid)).collect();
        number += nodes.len() as u64;
        let split = |(id, members, medoid): (u64, Vec<u32>, u32)| -> (Option<Leaf>, Vec<(Vec<u32>, u32)>) {
            let is_leaf = members.len() <= leaf;
            let k = if is_leaf { 1 } else { (members.len() / leaf + 1).clamp(2, FANOUT_MAX) };
            let at = |i: usize| row(members[i] as usize);
            let clusters = cluster(space, members.len(), &at, k, seed ^ id.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if is_leaf {
                let medoid = members[clusters.medoids[0] as usize];
                return (Some(Leaf { medoid, members }), Vec::new());
            }
            // Members that are all alike: one head is enough for any number of them.
            if clusters.medoids.len() < 2 {
                return (Some(Leaf { medoid, members }), Vec::new());
            }
            let mut parts: Vec<(Vec<u32>, u32)> =
                clusters.medoids.iter().map(|&i| (Vec::new(), members[i as usize])).collect();
            for (&member, &label) in members.iter().zip(&clusters.labels) {
                parts[label as usize].0.push(member);
            }
            parts.retain(|(part, _)| !part.is_empty());
            if parts.len() < 2 { (Some(Leaf { medoid, members }), Vec::new()) } else { (None, parts) }
        };
        let done: Vec<_> = nodes.into_par_iter().map(split).collect();
        level = Vec::new();
        for (leaf, parts) in done {
            leaves.extend(leaf);
            level.extend(parts);
        }
    }
    leaves.sort_unstable_by_key(|leaf| leaf.medoid);
    Ok(leaves)
}

/// The medoids. Two heads never hold equal vectors: the later one goes.
fn distinct_rows<'r>(row: &impl Fn(usize) -> &'r [u8], leaves: &[Leaf]) -> Vec<u32> {
    let mut seen = HashSet::new();
    leaves.iter().map(|leaf| leaf.medoid).filter(|&i| seen.insert(row(i as usize))).collect()
}

/// Every vector's records, sorted by posting, cut at the limit, and the number of copies that each vector keeps.
///
/// The vectors of a leaf have nearly the same heads around them, so these are searched for once a leaf.
fn place_all<'r>(
    space: &Space,
    config: &IndexConfig,
    heads: &Heads,
    leaves: &[Leaf],
    row: &(impl Fn(usize) -> &'r [u8] + Sync),
    limit: usize,
    control: &Control<'_>,
) -> Result<(Vec<Placed>, Vec<u16>), AnnError> {
    let n: usize = leaves.iter().map(|leaf| leaf.members.len()).sum();
    control.progress.start("assign", Some(n as u64), Unit::Items("vectors"));
    let one = |scratch: &mut HeadScratch, leaf: &Leaf| -> Vec<Placed> {
        let pool = Pool::around(space, config, heads, &space.row_query(row(leaf.medoid as usize)), scratch);
        let mut placed = Vec::with_capacity(leaf.members.len() * config.replicas);
        for &i in &leaf.members {
            let chosen = pool.select(space, config, &space.row_query(row(i as usize)), &mut scratch.heads);
            let place = |(at, f): (usize, crate::heads::Found)| Placed {
                head: f.head,
                distance: f.distance,
                row: i,
                is_first: at == 0,
            };
            placed.extend(chosen.into_iter().enumerate().map(place));
        }
        placed
    };
    let mut placed = Vec::new();
    for leaves in leaves.chunks(BATCH) {
        control.cancel.check()?;
        let part: Vec<Vec<Placed>> = leaves.par_iter().map_init(HeadScratch::default, one).collect();
        placed.extend(part.into_iter().flatten());
        control.progress.advance(leaves.iter().map(|leaf| leaf.members.len() as u64).sum());
    }
    let order =
        |a: &Placed, b: &Placed| a.head.cmp(&b.head).then(a.distance.total_cmp(&b.distance)).then(a.row.cmp(&b.row));
    placed.par_sort_unstable_by(order);
    let mut copies = vec![0u16; n];
    let mut kept = Vec::with_capacity(placed.len());
    let mut cut = Vec::new();
    for posting in placed.chunk_by(|a, b| a.head == b.head) {
        let (near, far) = posting.split_at(limit.min(posting.len()));
        near.iter().for_each(|p| copies[p.row as usize] += 1);
        kept.extend_from_slice(near);
        cut.extend(far.iter().filter(|p| p.is_first).copied());
    }
    let lost: Vec<Placed> = cut.into_iter().filter(|p| copies[p.row as usize] == 0).collect();
    lost.iter().for_each(|p| copies[p.row as usize] = 1);
    kept.extend(lost);
    kept.par_sort_unstable_by(order);
    Ok((kept, copies))
}

#[cfg(test)]
mod tests;
