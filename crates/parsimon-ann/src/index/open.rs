//! Creating and opening an index, and recovery from the log.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

use super::{Core, Index, Published, STRIPES};
use crate::config::{IndexConfig, Rebuild, Runtime};
use crate::epoch::Epochs;
use crate::heads::Heads;
use crate::ids::Ids;
use crate::jobs::{Counters, Jobs};
use crate::posting::{Posting, Postings};
use crate::storage::chunk::Geometry;
use crate::storage::generation::{
    CURRENT, DATA_FILE, Generation, IdColumns, Manifest, Post, RETRY_SHIFT, UNSPLITTABLE, chunk_format, parse_dir,
    read_file, remove_dir, uuid_text, write_file,
};
use crate::storage::pool::{ChunkPool, FreeList};
use crate::storage::wal::{LogBytes, Replay, Wal, parse_name, replay};
use crate::storage::{FileLock, StdVfs, Uuid, Vfs};
use crate::{AnnError, Space, StorageError};

const LOCK: &str = "LOCK";

/// Takes the writer's lock of a folder.
fn lock(vfs: &dyn Vfs) -> Result<FileLock, StorageError> {
    let lock = vfs.lock(LOCK).map_err(|e| StorageError::io(LOCK, "lock", e))?;
    lock.ok_or(StorageError::Locked)
}

/// The first manifest of an index.
pub(crate) fn first_manifest(space: &Space, config: &IndexConfig, uuid: Uuid) -> Manifest {
    let geometry = Geometry::of(space);
    Manifest {
        format: 1,
        uuid: uuid_text(uuid),
        generation: 1,
        dim: space.dim(),
        dtype: space.element().name().to_owned(),
        metric: space.metric().name().to_owned(),
        codec: "raw".to_owned(),
        max_norm: space.max_norm(),
        chunk_bytes: geometry.chunk_bytes(),
        chunk_cap: geometry.cap,
        data_chunks: 1,
        chunk_seq: 1,
        data_file: DATA_FILE.to_owned(),
        wal_start_lsn: 1,
        next_head_id: 0,
        heads: 0,
        live: 0,
        internal_ids: 0,
        records: 0,
        seed: config.seed,
        config: config.clone(),
        files: Default::default(),
        unknown: Default::default(),
    }
}

/// Makes an empty index in a folder that holds none; `uuid` names it and must differ from index to index.
///
/// # Errors
///
/// [`StorageError::AlreadyAnIndex`], [`StorageError::Locked`], I/O, and what is wrong with the parameters.
pub fn create(vfs: &Arc<dyn Vfs>, space: &Space, config: &IndexConfig, uuid: [u8; 16]) -> Result<(), AnnError> {
    config.check()?;
    vfs.create_dir("").map_err(|e| StorageError::io(".", "create", e))?;
    let _lock = lock(&**vfs)?;
    let names = vfs.list("").map_err(|e| StorageError::io(".", "list", e))?;
    if names.iter().any(|name| name == CURRENT) {
        return Err(StorageError::AlreadyAnIndex.into());
    }
    let manifest = first_manifest(space, config, uuid);
    write_file(&**vfs, DATA_FILE, &chunk_format(space, uuid).superblock())?;
    write_first(
        &**vfs,
        space,
        Generation { manifest, head_rows: Vec::new(), posts: Vec::new(), ids: IdColumns::default() },
    )
}

/// Publishes the first generation of an index whose data file is there. Logs of an interrupted attempt go first.
pub(crate) fn write_first(vfs: &dyn Vfs, space: &Space, mut generation: Generation) -> Result<(), AnnError> {
    for name in vfs.list("").map_err(|e| StorageError::io(".", "list", e))? {
        if parse_name(&name).is_some() {
            vfs.remove_file(&name).map_err(|e| StorageError::io(&name, "remove", e))?;
        }
    }
    Ok(generation.publish(vfs, space)?)
}

impl Index {
    /// Makes an empty index in a folder and opens it.
    ///
    /// # Errors
    ///
    /// As [`create`] and [`Index::open`].
    pub fn create(
        dir: &Path,
        space: &Space,
        config: &IndexConfig,
        uuid: [u8; 16],
        runtime: Runtime,
    ) -> Result<Index, AnnError> {
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs::new(dir));
        create(&vfs, space, config, uuid)?;
        Index::open_on(vfs, runtime)
    }

    /// Opens an index for writing: reads the current generation and applies the log.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotAnIndex`], [`StorageError::Locked`] where another process writes, [`StorageError::Corruption`] with file and byte
    /// where anything is damaged that was acknowledged.
    pub fn open(dir: &Path, runtime: Runtime) -> Result<Index, AnnError> {
        Index::open_on(Arc::new(StdVfs::new(dir)), runtime)
    }

    /// As [`Index::open`], on any [`Vfs`].
    ///
    /// # Errors
    ///
    /// As [`Index::open`].
    pub fn open_on(vfs: Arc<dyn Vfs>, runtime: Runtime) -> Result<Index, AnnError> {
        let names = vfs.list("").map_err(|e| StorageError::io(".", "list", e))?;
        if !names.iter().any(|name| name == CURRENT || parse_dir(name.trim_end_matches(".tmp")).is_some()) {
            return Err(StorageError::NotAnIndex { why: "the folder has no CURRENT".into() }.into());
        }
        let lock = lock(&*vfs)?;
        let (generation, space) = Generation::read(&*vfs)?;
        let start_lsn = generation.manifest.wal_start_lsn;
        let uuid = generation.manifest.uuid_bytes().expect("it was checked");
        let logs = read_logs(&*vfs, start_lsn)?;
        let found = replay(&logs, start_lsn, uuid, space.dim() as u64, space.vector_bytes())?;
        remove_debris(&*vfs, &generation.manifest)?;
        cut_logs(&*vfs, &logs, &found)?;
        let dim = space.dim() as u64;
        let wal = match last_log(&logs, &found) {
            Some((name, length)) => Wal::resume(Arc::clone(&vfs), uuid, dim, name, length, found.next_lsn)?,
            None => Wal::create(Arc::clone(&vfs), uuid, dim, found.next_lsn)?,
        };
        let core = Core::assemble(vfs, generation, space, runtime, Some(wal), Some(lock))?;
        for (lsn, entry) in &found.entries {
            core.replay(*lsn, entry)?;
        }
        Ok(Index::start(core))
    }

    /// Opens the last published generation for searching; what is only in the log is not seen, and nothing is written.
    ///
    /// # Errors
    ///
    /// As [`Index::open`], without the lock.
    pub fn open_read_only(vfs: Arc<dyn Vfs>, runtime: Runtime) -> Result<Index, AnnError> {
        let (generation, space) = Generation::read(&*vfs)?;
        let runtime = Runtime { rebuild: Rebuild::Deferred, ..runtime };
        Ok(Index::start(Core::assemble(vfs, generation, space, runtime, None, None)?))
    }

    fn start(core: Core) -> Index {
        let core = Arc::new(core);
        let n = if let Rebuild::Threads(n) = core.runtime.rebuild { n } else { 0 };
        let work = |core: Arc<Core>| {
            move || {
                while let Some(job) = core.jobs.wait() {
                    core.run_counted(job);
                }
            }
        };
        let threads = (0..n).map(|_| std::thread::spawn(work(Arc::clone(&core)))).collect();
        Index { core, threads }
    }

    /// Where its vectors live.
    pub fn space(&self) -> &Space {
        &self.core.space
    }

    /// What it was made with.
    pub fn config(&self) -> &IndexConfig {
        &self.core.config
    }
}

impl Core {
    fn assemble(
        vfs: Arc<dyn Vfs>,
        generation: Generation,
        space: Space,
        runtime: Runtime,
        wal: Option<Wal>,
        lock: Option<FileLock>,
    ) -> Result<Core, AnnError> {
        let Generation { manifest, head_rows, posts, ids } = generation;
        let uuid = manifest.uuid_bytes().expect("it was checked");
        let pool = open_pool(&*vfs, &manifest, &space, uuid, &posts)?;
        let mut heads = Heads::new(space.clone(), runtime.heads);
        let postings = Postings::new();
        let mut chunks = Vec::new();
        for (post, row) in posts.iter().zip(head_rows.chunks_exact(space.stride())) {
            heads.insert(post.head, row);
            let own: Vec<_> = post.chunks.iter().map(|&number| pool.adopt(number)).collect();
            chunks.extend(own.clone());
            let retry_at = if post.flags & UNSPLITTABLE != 0 { post.flags >> RETRY_SHIFT } else { 0 };
            postings.set(post.head, Posting { chunks: own, on_disk: post.records as usize, tail: None, retry_at });
        }
        let config = manifest.config.clone();
        let limit = config.posting_limit.unwrap_or_else(|| pool.format.geometry.default_limit()) as usize;
        Ok(Core {
            vfs,
            limit,
            merge_threshold: config.merge_threshold.map_or(limit / 8, |records| records as usize),
            ids: Ids::load(&ids),
            heads: RwLock::new(heads),
            next_head: AtomicU32::new(manifest.next_head_id),
            postings,
            posting_locks: (0..STRIPES).map(|_| Mutex::default()).collect(),
            pool,
            wal,
            epochs: Epochs::new(),
            gate: RwLock::default(),
            checkpointing: Mutex::default(),
            jobs: Jobs::default(),
            counters: Counters::default(),
            new_heads: Mutex::default(),
            job_number: AtomicU64::new(manifest.chunk_seq),
            published: Mutex::new(Published { manifest, _chunks: chunks }),
            tail_bytes: AtomicU64::new(0),
            sweep_credit: AtomicU64::new(0),
            sweep_cursor: AtomicU32::new(0),
            rearranging: Mutex::new(()),
            regroup_credit: AtomicU64::new(0),
            regroup_cursor: AtomicU32::new(0),
            is_checkpoint_due: AtomicBool::new(false),
            space,
            config,
            runtime,
            _lock: lock,
        })
    }
}

fn open_pool(
    vfs: &dyn Vfs,
    manifest: &Manifest,
    space: &Space,
    uuid: Uuid,
    posts: &[Post],
) -> Result<ChunkPool, AnnError> {
    let name = manifest.data_file.as_str();
    let format = chunk_format(space, uuid);
    let file = vfs.open(name, false).map_err(|e| StorageError::io(name, "open", e))?;
    let needed = u64::from(manifest.data_chunks) * format.geometry.chunk_bytes() as u64;
    let length = file.len().map_err(|e| StorageError::io(name, "read the length of", e))?;
    if length < needed || manifest.data_chunks == 0 {
        return Err(StorageError::damage(name, length, format!("it ends here, {needed} bytes are needed")).into());
    }
    let mut superblock = vec![0; format.geometry.chunk_bytes()];
    file.read_at(&mut superblock, 0).map_err(|e| StorageError::io(name, "read", e))?;
    format.check_superblock(name, &superblock)?;
    let list = FreeList::new(manifest.data_chunks, posts.iter().flat_map(|post| &post.chunks).copied());
    Ok(ChunkPool::new(name, file, format, list, manifest.chunk_seq))
}

/// The logs that hold records from `start_lsn` on, in order.
fn read_logs(vfs: &dyn Vfs, start_lsn: u64) -> Result<Vec<LogBytes>, StorageError> {
    let names = vfs.list("").map_err(|e| StorageError::io(".", "list", e))?;
    let mut logs = Vec::new();
    for name in names.into_iter().filter(|name| parse_name(name).is_some_and(|first| first >= start_lsn)) {
        logs.push(LogBytes { bytes: read_file(vfs, &name)?, name });
    }
    logs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(logs)
}

/// Removes what an interrupted checkpoint left: its commit was never durable, or its clean-up not complete.
fn remove_debris(vfs: &dyn Vfs, manifest: &Manifest) -> Result<(), StorageError> {
    let io = |name: &str, e| StorageError::io(name, "remove", e);
    for name in vfs.list("").map_err(|e| StorageError::io(".", "list", e))? {
        if let Some(stem) = name.strip_suffix(".tmp") {
            match parse_dir(stem) {
                Some(_) => remove_dir(vfs, &name)?,
                None => vfs.remove_file(&name).map_err(|e| io(&name, e))?,
            }
        } else if parse_dir(&name).is_some_and(|number| number != manifest.generation) {
            remove_dir(vfs, &name)?;
        } else if parse_name(&name).is_some_and(|first| first < manifest.wal_start_lsn)
            || (name.starts_with("data") && name.ends_with(".blk") && name != manifest.data_file)
        {
            vfs.remove_file(&name).map_err(|e| io(&name, e))?;
        }
    }
    Ok(())
}

/// Cuts a group off that was never acknowledged, so that new records follow sound ones.
fn cut_logs(vfs: &dyn Vfs, logs: &[LogBytes], found: &Replay) -> Result<(), StorageError> {
    let Some((number, length)) = found.cut else { return Ok(()) };
    // Later files first: a crash between leaves the same tear.
    for log in logs[number + 1..].iter().rev() {
        vfs.remove_file(&log.name).map_err(|e| StorageError::io(&log.name, "remove", e))?;
    }
    vfs.sync_dir("").map_err(|e| StorageError::io(".", "synchronize", e))?;
    let name = &logs[number].name;
    if length == 0 {
        return vfs.remove_file(name).map_err(|e| StorageError::io(name, "remove", e));
    }
    let file = vfs.open(name, false).map_err(|e| StorageError::io(name, "open", e))?;
    file.set_len(length).and_then(|()| file.sync()).map_err(|e| StorageError::io(name, "cut", e))
}

/// The log that goes on, and its sound length; `None` where the last one is sealed or there is none.
fn last_log<'a>(logs: &'a [LogBytes], found: &Replay) -> Option<(&'a str, u64)> {
    if found.sealed {
        return None;
    }
    match found.cut {
        Some((_, 0)) => None,
        Some((number, length)) => Some((&logs[number].name, length)),
        None => logs.last().map(|log| (log.name.as_str(), log.bytes.len() as u64)),
    }
}
