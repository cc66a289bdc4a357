//! Compact: everything written anew, without stale records and holes. Salvage: what is left of a damaged index.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::{Core, Index};
use crate::config::Runtime;
use crate::io::VectorWriter;
use crate::storage::Vfs;
use crate::storage::chunk::{ChunkFormat, Records};
use crate::storage::generation::{CURRENT, Generation, IdColumns, Post, chunk_format, read_file};
use crate::storage::pool::{ChunkPool, FreeList};
use crate::{AnnError, Element, Metric, Space, StorageError};

/// What [`salvage`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SalvageReport {
    /// Vectors written.
    pub rows: u64,
    /// Chunks that are damaged.
    pub lost_chunks: Vec<u32>,
    /// Whether the table of ids was readable: otherwise dead vectors are among the rows, under internal ids.
    pub has_ids: bool,
}

impl Index {
    /// Writes postings beside each other in a new data file, numbers internal ids anew, publishes, and opens the result.
    ///
    /// # Errors
    ///
    /// [`AnnError::Storage`]; the old state is then still the current one.
    pub fn compact(mut self) -> Result<Index, AnnError> {
        self.core.jobs.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; there is nothing to add here.
            let _ = thread.join();
        }
        self.core.checkpoint()?;
        let (vfs, runtime): (Arc<dyn Vfs>, Runtime) = (Arc::clone(&self.core.vfs), self.core.runtime);
        let generation = self.core.rewritten()?;
        let (old_data, start_lsn) = (self.core.pool.name.clone(), generation.manifest.wal_start_lsn);
        let mut generation = generation;
        generation.publish(&*vfs, &self.core.space)?;
        super::checkpoint::remove_before(&self.core, generation.manifest.generation, start_lsn)?;
        vfs.remove_file(&old_data).map_err(|e| StorageError::io(&old_data, "remove", e))?;
        // The lock goes with the old value.
        drop(self);
        Index::open_on(vfs, runtime)
    }
}

impl Core {
    /// The present state in a data file of its own.
    fn rewritten(&self) -> Result<Generation, AnnError> {
        let old = self.published().manifest.clone();
        let number = old.generation + 1;
        let name = format!("data-{number}.blk");
        let file = self.vfs.open(&name, true).map_err(|e| StorageError::io(&name, "create", e))?;
        let format = self.pool.format;
        file.write_at(&format.superblock(), 0).map_err(|e| StorageError::io(&name, "write", e))?;
        let pool = ChunkPool::new(&name, file, format, FreeList::new(1, []), 1);
        let heads = self.heads();
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut ids = IdColumns::default();
        let (mut posts, mut head_rows, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for head in heads.ids() {
            let posting = self.postings.open(head).expect("a head has a posting");
            let mut live = self.live_records(&self.load(head, &posting)?);
            for (iid, version) in live.iids.iter_mut().zip(&mut live.versions) {
                let old_iid = *iid;
                *iid = *numbers.entry(old_iid).or_insert_with(|| {
                    ids.ext.push(self.ids.ext(old_iid));
                    ids.born.push(old.wal_start_lsn);
                    ids.version.push(0);
                    ids.copies.push(0);
                    ids.state.push(2);
                    ids.ext.len() as u32 - 1
                });
                ids.copies[*iid as usize] += 1;
                *version = 0;
            }
            let chunks = pool.write(head, 0, &live, 0, live.len())?;
            posts.push(Post {
                head,
                records: live.len() as u32,
                flags: super::checkpoint::post(head, &posting).flags,
                chunks: chunks.iter().map(|chunk| chunk.number).collect(),
            });
            held.extend(chunks);
            head_rows.extend(heads.row(head).expect("a listed head has a row"));
        }
        pool.sync()?;
        let mut manifest = old;
        manifest.generation = number;
        manifest.data_chunks = pool.list.end();
        manifest.chunk_seq = pool.seq();
        manifest.live = ids.ext.len() as u64;
        manifest.internal_ids = ids.ext.len() as u64;
        manifest.records = posts.iter().map(|post| u64::from(post.records)).sum();
        manifest.data_file = name;
        Ok(Generation { manifest, head_rows, posts, ids })
    }
}

/// Writes the vectors of all intact chunks of a damaged index to `vectors` and their ids to `vectors` with the ending `ids.npy`.
///
/// # Errors
///
/// [`AnnError::Storage`] where not even the superblock can be read, and what writing fails with.
pub fn salvage(vfs: &Arc<dyn Vfs>, vectors: &Path) -> Result<SalvageReport, AnnError> {
    let read = Generation::read(&**vfs).ok();
    let data = match &read {
        Some((generation, _)) => generation.manifest.data_file.clone(),
        None => {
            let names = vfs.list("").map_err(|e| StorageError::io(".", "list", e))?;
            let found = names.into_iter().rfind(|name| name.starts_with("data") && name.ends_with(".blk"));
            found.ok_or_else(|| StorageError::NotAnIndex {
                why: format!("neither {CURRENT} nor a data file can be read"),
            })?
        }
    };
    let bytes = read_file(&**vfs, &data)?;
    let (space, format) = match &read {
        Some((generation, space)) => {
            (space.clone(), chunk_format(space, generation.manifest.uuid_bytes().expect("checked")))
        }
        None => from_superblock(&data, &bytes)?,
    };
    let mut report = SalvageReport { has_ids: read.is_some(), ..SalvageReport::default() };
    // Of several states of a posting the one written last is right; rows of one internal id are all equal.
    let mut rows: BTreeMap<u64, (u64, Vec<u8>)> = BTreeMap::new();
    for (number, chunk) in bytes.chunks_exact(format.geometry.chunk_bytes()).enumerate().skip(1) {
        let view = match format.decode(chunk) {
            Ok(view) => view,
            Err(_) if chunk.iter().all(|&byte| byte == 0) => continue,
            Err(_) => {
                report.lost_chunks.push(number as u32);
                continue;
            }
        };
        let mut records = Records::default();
        view.append_to(&mut records);
        for (i, &iid) in records.iids.iter().enumerate() {
            let ext = match &read {
                Some((generation, _)) if generation.ids.state.get(iid as usize) == Some(&2) => {
                    generation.ids.ext[iid as usize]
                }
                Some(_) => continue,
                None => u64::from(iid),
            };
            let row = &records.row(i, space.stride())[..space.vector_bytes()];
            let entry = rows.entry(ext).or_default();
            if view.seq >= entry.0 {
                *entry = (view.seq, row.to_vec());
            }
        }
    }
    let mut writer = VectorWriter::create(vectors, space.element(), space.dim())?;
    for (_, row) in rows.values() {
        writer.push(row)?;
    }
    report.rows = writer.finish()?;
    crate::io::write_ids(&vectors.with_extension("ids.npy"), rows.keys().copied())?;
    Ok(report)
}

fn from_superblock(name: &str, bytes: &[u8]) -> Result<(Space, ChunkFormat), AnnError> {
    let damage = || StorageError::damage(name, 0, "the superblock cannot be read");
    let head = bytes.get(..64).ok_or_else(damage)?;
    let element = Element::from_code(head[36]).ok_or_else(damage)?;
    let metric =
        [Metric::L2, Metric::Cosine, Metric::InnerProduct].get(usize::from(head[37])).copied().ok_or_else(damage)?;
    let row_dim = crate::storage::u32_at(head, 32) as usize;
    let is_ip = metric == Metric::InnerProduct;
    // The bound of norms is not in the superblock, and rows can be read without it.
    let space = Space::new(metric, element, row_dim - usize::from(is_ip && row_dim > 0), is_ip.then_some(1.0))?;
    let format = chunk_format(&space, head[16..32].try_into().expect("16 bytes"));
    if bytes.len() < format.geometry.chunk_bytes() {
        return Err(damage().into());
    }
    format.check_superblock(name, &bytes[..format.geometry.chunk_bytes()])?;
    Ok((space, format))
}
