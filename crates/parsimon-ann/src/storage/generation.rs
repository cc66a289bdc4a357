//! Generations: a consistent state of an index, published by replacing one line.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chunk::{ChunkFormat, Geometry};
use super::{HEADER, Uuid, VERSION, Vfs, put, u16_at, u32_at, u64_at};
use crate::config::IndexConfig;
use crate::{AnnError, Element, Metric, Space, StorageError};

const FORMAT: u64 = 1;
pub(crate) const CURRENT: &str = "CURRENT";
pub(crate) const DATA_FILE: &str = "data.blk";
/// The manifest is small; a longer file is damaged.
const MANIFEST_MAX: u64 = 1 << 20;
/// A posting's flag: it cannot be split; the bits above [`RETRY_SHIFT`] are the size at which to try again.
pub(crate) const UNSPLITTABLE: u32 = 1;
pub(crate) const RETRY_SHIFT: u32 = 8;

pub(crate) fn dir_name(generation: u64) -> String {
    format!("gen-{generation:020}")
}

pub(crate) fn parse_dir(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("gen-")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// What `manifest.json` holds; keys that are not known are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u64,
    pub(crate) uuid: String,
    pub(crate) generation: u64,
    pub(crate) dim: usize,
    pub(crate) dtype: String,
    pub(crate) metric: String,
    pub(crate) codec: String,
    pub(crate) max_norm: Option<f32>,
    pub(crate) chunk_bytes: usize,
    pub(crate) chunk_cap: usize,
    pub(crate) data_chunks: u32,
    pub(crate) chunk_seq: u64,
    #[serde(default = "data_file")]
    pub(crate) data_file: String,
    pub(crate) wal_start_lsn: u64,
    pub(crate) next_head_id: u32,
    pub(crate) heads: u64,
    pub(crate) live: u64,
    pub(crate) internal_ids: u64,
    pub(crate) records: u64,
    pub(crate) seed: u64,
    pub(crate) config: IndexConfig,
    pub(crate) files: BTreeMap<String, FileSum>,
    #[serde(flatten)]
    pub(crate) unknown: BTreeMap<String, Value>,
}

fn data_file() -> String {
    DATA_FILE.to_owned()
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct FileSum {
    pub(crate) bytes: u64,
    pub(crate) crc32c: String,
}

impl Manifest {
    pub(crate) fn space(&self) -> Result<Space, AnnError> {
        let (metric, element): (Metric, Element) = (self.metric.parse()?, self.dtype.parse()?);
        Space::new(metric, element, self.dim, self.max_norm)
    }

    pub(crate) fn uuid_bytes(&self) -> Option<Uuid> {
        let byte = |i: usize| self.uuid.get(2 * i..2 * i + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let bytes: Option<Vec<u8>> = (0..16).map(byte).collect();
        bytes.filter(|_| self.uuid.len() == 32)?.try_into().ok()
    }
}

pub(crate) fn uuid_text(uuid: Uuid) -> String {
    uuid.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The format of chunks in `space`.
pub(crate) fn chunk_format(space: &Space, uuid: Uuid) -> ChunkFormat {
    let metric = match space.metric() {
        Metric::L2 => 0,
        Metric::Cosine => 1,
        Metric::InnerProduct => 2,
    };
    let geometry = Geometry::of(space);
    ChunkFormat { geometry, uuid, row_dim: space.row_dim() as u32, element: space.element().code(), metric }
}

/// A posting as a generation stores it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Post {
    pub(crate) head: u32,
    pub(crate) records: u32,
    pub(crate) flags: u32,
    pub(crate) chunks: Vec<u32>,
}

/// The table of internal ids, by column.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct IdColumns {
    pub(crate) ext: Vec<u64>,
    pub(crate) born: Vec<u64>,
    pub(crate) version: Vec<u16>,
    pub(crate) copies: Vec<u16>,
    pub(crate) state: Vec<u8>,
}

/// A generation in memory. `head_rows` are stored rows, one stride each, in the order of `posts`.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) manifest: Manifest,
    pub(crate) head_rows: Vec<u8>,
    pub(crate) posts: Vec<Post>,
    pub(crate) ids: IdColumns,
}

fn file(magic: &[u8; 8], count: u64, aux: u64, uuid: Uuid, body: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    put(&mut bytes, 0, magic);
    put(&mut bytes, 8, &VERSION.to_le_bytes());
    put(&mut bytes, 12, &crc32c::crc32c(&body).to_le_bytes());
    put(&mut bytes, 16, &(body.len() as u64).to_le_bytes());
    put(&mut bytes, 24, &count.to_le_bytes());
    put(&mut bytes, 32, &aux.to_le_bytes());
    put(&mut bytes, 40, &uuid);
    let crc = crc32c::crc32c(&bytes[..60]);
    put(&mut bytes, 60, &crc.to_le_bytes());
    bytes.extend(body);
    bytes
}

impl Generation {
    fn heads_file(&self, space: &Space, uuid: Uuid) -> Vec<u8> {
        let mut body: Vec<u8> = self.posts.iter().flat_map(|post| post.head.to_le_bytes()).collect();
        body.resize(body.len().next_multiple_of(64), 0);
        for row in self.head_rows.chunks_exact(space.stride()) {
            body.extend(space.element().decode(&row[..space.row_bytes()]).iter().flat_map(|v| v.to_le_bytes()));
        }
        file(b"PANNHEAD", self.posts.len() as u64, self.manifest.next_head_id.into(), uuid, body)
    }

    fn posts_file(&self, uuid: Uuid) -> Vec<u8> {
        let mut body = Vec::new();
        for post in &self.posts {
            for word in [post.head, post.records, post.chunks.len() as u32, post.flags] {
                body.extend(word.to_le_bytes());
            }
        }
        body.extend(self.posts.iter().flat_map(|post| &post.chunks).flat_map(|chunk| chunk.to_le_bytes()));
        let chunks = self.posts.iter().map(|post| post.chunks.len() as u64).sum();
        file(b"PANNPOST", self.posts.len() as u64, chunks, uuid, body)
    }

    fn ids_file(&self, uuid: Uuid) -> Vec<u8> {
        let ids = &self.ids;
        let mut body: Vec<u8> = ids.ext.iter().chain(&ids.born).flat_map(|v| v.to_le_bytes()).collect();
        body.extend(ids.version.iter().chain(&ids.copies).flat_map(|v| v.to_le_bytes()));
        body.extend(&ids.state);
        body.resize(body.len().next_multiple_of(8), 0);
        file(b"PANNVIDS", ids.ext.len() as u64, self.manifest.live, uuid, body)
    }

    /// Writes the generation's folder and makes it the current one: the commit point of a checkpoint.
    pub(crate) fn publish(&mut self, vfs: &dyn Vfs, space: &Space) -> Result<(), StorageError> {
        let uuid = self.manifest.uuid_bytes().expect("our manifest has a uuid");
        let files = [
            ("heads.bin", self.heads_file(space, uuid)),
            ("posts.bin", self.posts_file(uuid)),
            ("ids.bin", self.ids_file(uuid)),
        ];
        let sum =
            |bytes: &[u8]| FileSum { bytes: bytes.len() as u64, crc32c: format!("{:08x}", crc32c::crc32c(bytes)) };
        self.manifest.files = files.iter().map(|(name, bytes)| ((*name).to_owned(), sum(bytes))).collect();
        let value = serde_json::to_value(&self.manifest).expect("a manifest is plain data");
        let manifest = sorted(value).to_string().into_bytes();

        let (dir, temporary) =
            (dir_name(self.manifest.generation), format!("{}.tmp", dir_name(self.manifest.generation)));
        remove_dir(vfs, &temporary)?;
        remove_dir(vfs, &dir)?;
        vfs.create_dir(&temporary).map_err(|e| StorageError::io(&temporary, "create", e))?;
        for (name, bytes) in files.iter().map(|(name, bytes)| (*name, bytes)).chain([("manifest.json", &manifest)]) {
            write_file(vfs, &format!("{temporary}/{name}"), bytes)?;
        }
        vfs.sync_dir(&temporary).map_err(|e| StorageError::io(&temporary, "synchronize", e))?;
        vfs.rename(&temporary, &dir).map_err(|e| StorageError::io(&dir, "rename to", e))?;
        vfs.sync_dir("").map_err(|e| StorageError::io(".", "synchronize", e))?;
        let line = format!(
            "parsimon-ann {FORMAT} {} {} {:08x}",
            self.manifest.generation,
            manifest.len(),
            crc32c::crc32c(&manifest)
        );
        let line = format!("{line} {:08x}\n", crc32c::crc32c(line.as_bytes()));
        write_file(vfs, "CURRENT.tmp", line.as_bytes())?;
        vfs.rename("CURRENT.tmp", CURRENT).map_err(|e| StorageError::io(CURRENT, "rename to", e))?;
        vfs.sync_dir("").map_err(|e| StorageError::io(".", "synchronize", e))
    }

    /// Reads the current generation and checks every byte of it.
    pub(crate) fn read(vfs: &dyn Vfs) -> Result<(Generation, Space), AnnError> {
        let manifest = read_manifest(vfs)?;
        let dir = dir_name(manifest.generation);
        let bad = |what: String| StorageError::damage(&format!("{dir}/manifest.json"), 0, what);
        let space = manifest.space().map_err(|e| bad(e.to_string()))?;
        let uuid = manifest.uuid_bytes().ok_or_else(|| bad("the uuid is no 32 hex digits".into()))?;
        if manifest.codec != "raw" {
            return Err(AnnError::Unsupported { what: "codec rabitq1" });
        }
        let geometry = Geometry::of(&space);
        if (manifest.chunk_bytes, manifest.chunk_cap) != (geometry.chunk_bytes(), geometry.cap) {
            return Err(bad("the chunk geometry does not follow from dimension and type".into()).into());
        }
        manifest.config.check().map_err(|e| bad(e.to_string()))?;
        let body = |name: &str, magic: &[u8; 8]| read_body(vfs, &manifest, name, magic, uuid);
        let (heads, posts, ids) =
            (body("heads.bin", b"PANNHEAD")?, body("posts.bin", b"PANNPOST")?, body("ids.bin", b"PANNVIDS")?);
        let (ids_of_heads, head_rows) = parse_heads(&heads, &space)?;
        let posts = parse_posts(&posts, &ids_of_heads, manifest.data_chunks)?;
        let ids = parse_ids(&ids)?;
        let live = ids.state.iter().filter(|&&state| state == 2).count() as u64;
        let records: u64 = posts.iter().map(|post| u64::from(post.records)).sum();
        let told = (manifest.heads, manifest.live, manifest.internal_ids, manifest.records);
        let found = (posts.len() as u64, live, ids.ext.len() as u64, records);
        if told != found {
            return Err(
                bad(format!("heads, live, internal ids, records are {found:?}, the manifest says {told:?}")).into()
            );
        }
        Ok((Generation { manifest, head_rows, posts, ids }, space))
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> =
                map.into_iter().map(|(key, value)| (key, self::sorted(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        other => other,
    }
}

pub(crate) fn write_file(vfs: &dyn Vfs, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let file = vfs.open(path, true).map_err(|e| StorageError::io(path, "create", e))?;
    file.write_at(bytes, 0).map_err(|e| StorageError::io(path, "write", e))?;
    file.sync().map_err(|e| StorageError::io(path, "synchronize", e))
}

pub(crate) fn read_file(vfs: &dyn Vfs, path: &str) -> Result<Vec<u8>, StorageError> {
    let file = vfs.open(path, false).map_err(|e| StorageError::io(path, "open", e))?;
    read_open(&file, path)
}

fn read_open(file: &Arc<dyn super::VfsFile>, path: &str) -> Result<Vec<u8>, StorageError> {
    let len = file.len().map_err(|e| StorageError::io(path, "read the length of", e))?;
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, 0).map_err(|e| StorageError::io(path, "read", e))?;
    Ok(bytes)
}

/// Removes a folder of files, if it is there.
pub(crate) fn remove_dir(vfs: &dyn Vfs, dir: &str) -> Result<(), StorageError> {
    let names = vfs.list(dir).map_err(|e| StorageError::io(dir, "list", e))?;
    for name in &names {
        let path = format!("{dir}/{name}");
        vfs.remove_file(&path).map_err(|e| StorageError::io(&path, "remove", e))?;
    }
    match vfs.remove_dir(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StorageError::io(dir, "remove", e)),
        _ => Ok(()),
    }
}

fn read_manifest(vfs: &dyn Vfs) -> Result<Manifest, StorageError> {
    let names = vfs.list("").map_err(|e| StorageError::io(".", "list", e))?;
    if !names.iter().any(|name| name == CURRENT) {
        let interrupted = names.iter().any(|name| parse_dir(name.trim_end_matches(".tmp")).is_some());
        let why =
            if interrupted { "creating it was interrupted; create it again" } else { "the folder has no CURRENT" };
        return Err(StorageError::NotAnIndex { why: why.into() });
    }
    let line = read_file(vfs, CURRENT)?;
    let bad = |what: &str| StorageError::damage(CURRENT, 0, what);
    let text =
        std::str::from_utf8(&line).ok().and_then(|text| text.strip_suffix('\n')).ok_or_else(|| bad("it is no line"))?;
    let (said, crc) = text.rsplit_once(' ').ok_or_else(|| bad("it has no checksum"))?;
    if crc != format!("{:08x}", crc32c::crc32c(said.as_bytes())) {
        return Err(bad("its checksum is wrong"));
    }
    let ["parsimon-ann", format, generation, bytes, crc] = said.split(' ').collect::<Vec<_>>()[..] else {
        return Err(bad("it has other fields"));
    };
    if format != "1" {
        let given = format.parse().unwrap_or(u64::MAX);
        return Err(StorageError::UnsupportedVersion { file: CURRENT.into(), given, known: FORMAT });
    }
    let generation: u64 = generation.parse().map_err(|_| bad("the generation is no number"))?;
    let path = format!("{}/manifest.json", dir_name(generation));
    let file = vfs.open(&path, false).map_err(|e| StorageError::io(&path, "open", e))?;
    let length = file.len().map_err(|e| StorageError::io(&path, "read the length of", e))?;
    if length > MANIFEST_MAX || bytes.parse() != Ok(length) {
        return Err(StorageError::damage(&path, 0, format!("it has {length} bytes, CURRENT says {bytes}")));
    }
    let text = read_open(&file, &path)?;
    if crc != format!("{:08x}", crc32c::crc32c(&text)) {
        return Err(StorageError::damage(&path, 0, "its checksum is not the one of CURRENT"));
    }
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|e| StorageError::damage(&path, e.column() as u64, e.to_string()))?;
    if manifest.format > FORMAT {
        return Err(StorageError::UnsupportedVersion { file: path.into(), given: manifest.format, known: FORMAT });
    }
    if manifest.generation != generation {
        return Err(StorageError::damage(&path, 0, "it is of another generation"));
    }
    Ok(manifest)
}

struct Body {
    path: String,
    count: u64,
    bytes: Vec<u8>,
}

impl Body {
    fn damage(&self, what: &str) -> StorageError {
        StorageError::damage(&self.path, HEADER as u64, what)
    }
}

fn read_body(
    vfs: &dyn Vfs,
    manifest: &Manifest,
    name: &str,
    magic: &[u8; 8],
    uuid: Uuid,
) -> Result<Body, StorageError> {
    let path = format!("{}/{name}", dir_name(manifest.generation));
    let sum =
        manifest.files.get(name).ok_or_else(|| StorageError::damage(&path, 0, "the manifest does not list it"))?;
    let file = vfs.open(&path, false).map_err(|e| StorageError::io(&path, "open", e))?;
    let length = file.len().map_err(|e| StorageError::io(&path, "read the length of", e))?;
    if length != sum.bytes || length < HEADER as u64 {
        return Err(StorageError::damage(&path, 0, format!("it has {length} bytes, the manifest says {}", sum.bytes)));
    }
    let mut bytes = read_open(&file, &path)?;
    if sum.crc32c != format!("{:08x}", crc32c::crc32c(&bytes)) {
        return Err(StorageError::damage(&path, 0, "its checksum is not the one of the manifest"));
    }
    if u32_at(&bytes, 60) != crc32c::crc32c(&bytes[..60]) || &bytes[..8] != magic || u32_at(&bytes, 8) != VERSION {
        return Err(StorageError::damage(&path, 0, "its header is wrong"));
    }
    if bytes[40..56] != uuid {
        return Err(StorageError::Mismatch { file: path.into(), what: "its uuid".into() });
    }
    if u64_at(&bytes, 16) != length - HEADER as u64 || u32_at(&bytes, 12) != crc32c::crc32c(&bytes[HEADER..]) {
        return Err(StorageError::damage(&path, 16, "the header does not fit the body"));
    }
    let count = u64_at(&bytes, 24);
    bytes.drain(..HEADER);
    Ok(Body { path, count, bytes })
}

/// Ids ascending, and rows in stored form. Heads are vectors of the index, so every element is one of its type.
fn parse_heads(body: &Body, space: &Space) -> Result<(Vec<u32>, Vec<u8>), StorageError> {
    let n =
        usize::try_from(body.count).ok().filter(|n| n.checked_mul(4).is_some_and(|bytes| bytes <= body.bytes.len()));
    let n = n.ok_or_else(|| body.damage("more heads than bytes"))?;
    let begin = (4 * n).next_multiple_of(64).min(body.bytes.len());
    let (ids, rows) = body.bytes.split_at(begin);
    if rows.len() != n * space.row_dim() * 4 {
        return Err(body.damage("the heads do not fill the file"));
    }
    let ids: Vec<u32> = ids[..4 * n].as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    if !ids.is_sorted_by(|a, b| a < b) {
        return Err(body.damage("the ids do not ascend"));
    }
    let mut stored = Vec::with_capacity(n * space.stride());
    for row in rows.chunks_exact(space.row_dim() * 4) {
        let values = Element::F32.decode(row);
        let begin = stored.len();
        stored.extend(space.element().encode(&values));
        if space.element().decode(&stored[begin..]) != values {
            return Err(body.damage("a head is no vector of the index's element type"));
        }
        stored.resize(begin + space.stride(), 0);
    }
    Ok((ids, stored))
}

fn parse_posts(body: &Body, heads: &[u32], data_chunks: u32) -> Result<Vec<Post>, StorageError> {
    let n = heads.len();
    if body.count != n as u64 || body.bytes.len() < 16 * n {
        return Err(body.damage("it has not one posting a head"));
    }
    let (table, mut chunks) = body.bytes.split_at(16 * n);
    let mut posts = Vec::with_capacity(n);
    for (i, &head) in heads.iter().enumerate() {
        let word = |j: usize| u32_at(table, 16 * i + 4 * j);
        let bytes = word(2) as usize * 4;
        if word(0) != head || bytes > chunks.len() {
            return Err(body.damage("a posting is of another head, or has more chunks than the file"));
        }
        let (own, rest) = chunks.split_at(bytes);
        chunks = rest;
        let own: Vec<u32> = own.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        if own.iter().any(|&chunk| chunk == 0 || chunk >= data_chunks) {
            return Err(body.damage("a posting names a chunk outside the data file"));
        }
        posts.push(Post { head, records: word(1), flags: word(3), chunks: own });
    }
    if !chunks.is_empty() {
        return Err(body.damage("it has chunks of no posting"));
    }
    let mut all: Vec<u32> = posts.iter().flat_map(|post| &post.chunks).copied().collect();
    all.sort_unstable();
    if !all.is_sorted_by(|a, b| a < b) {
        return Err(body.damage("two postings name one chunk"));
    }
    Ok(posts)
}

fn parse_ids(body: &Body) -> Result<IdColumns, StorageError> {
    let n = usize::try_from(body.count).ok().filter(|n| n.checked_mul(21).is_some_and(|b| b <= body.bytes.len()));
    let n = n.ok_or_else(|| body.damage("more ids than bytes"))?;
    if body.bytes.len() != (21 * n).next_multiple_of(8) {
        return Err(body.damage("the ids do not fill the file"));
    }
    let words = |begin: usize| (0..n).map(|i| u64_at(&body.bytes, begin + 8 * i)).collect::<Vec<_>>();
    let shorts = |begin: usize| (0..n).map(|i| u16_at(&body.bytes, begin + 2 * i)).collect::<Vec<_>>();
    let state = body.bytes[20 * n..21 * n].to_vec();
    if state.iter().any(|state| ![0, 2, 3].contains(state)) {
        return Err(body.damage("an id has an unknown state"));
    }
    Ok(IdColumns { ext: words(0), born: words(8 * n), version: shorts(16 * n), copies: shorts(18 * n), state })
}
