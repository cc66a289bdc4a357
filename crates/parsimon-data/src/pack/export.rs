//! Token shards in the formats of other trainers.
//!
//! ```text
//! ds        FILE.ds: tokens, u16 little-endian; FILE.ds.index: u64 ends of documents; FILE.ds.metadata: a line of text
//! megatron  FILE.bin: the same tokens; FILE.idx: "MMIDIDX\0\0", u64 1, u8 8 (u16), u64 sequences, u64 documents + 1, i32 lengths,
//!           i64 byte offsets, i64 document numbers
//! ```

use std::io::Write;
use std::path::Path;

use parsimon_core::io::{AtomicFile, FormatError, Map, read_json};

use super::TokenIndex;
use crate::error::CurateError;

/// A format of token shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportFormat {
    /// What datatrove writes and reads.
    Ds,
    /// What Megatron-LM reads.
    Megatron,
}

/// What an `.npy` file of version 1 starts with, before the length of its header.
const NPY_MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// Writes the shards in `tokens` (a folder with `index.json`) to `out` in another format; returns the number of tokens.
///
/// # Errors
///
/// [`CurateError::Format`]: an index or shard that cannot be read, or files that cannot be written.
pub fn export(tokens: &Path, format: ExportFormat, out: &Path) -> Result<u64, CurateError> {
    let index: TokenIndex = read_json(&tokens.join("index.json"))?;
    for shard in &index.shards {
        let path = tokens.join(&shard.file);
        let map = Map::open(&path)?;
        let bytes = npy_data(&map, shard.tokens).ok_or_else(|| FormatError::Malformed {
            file: path.clone(),
            format: "npy",
            reason: format!("not {} 16-bit tokens", shard.tokens),
        })?;
        let ends: Vec<u64> = shard.documents.iter().map(|document| document.end).collect();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match format {
            ExportFormat::Ds => {
                write(&out.join(format!("{stem}.ds")), bytes)?;
                let ends: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
                write(&out.join(format!("{stem}.ds.index")), &ends)?;
                let metadata = format!("tokenizer-{}|2\n{}\n", index.tokenizer_xxh3, shard.tokens);
                write(&out.join(format!("{stem}.ds.metadata")), metadata.as_bytes())?;
            }
            ExportFormat::Megatron => {
                write(&out.join(format!("{stem}.bin")), bytes)?;
                write(&out.join(format!("{stem}.idx")), &megatron_index(&ends))?;
            }
        }
    }
    Ok(index.tokens)
}

fn npy_data(file: &[u8], tokens: u64) -> Option<&[u8]> {
    let rest = file.strip_prefix(NPY_MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let header = rest.get(..usize::from(u16::from_le_bytes(*length)))?;
    let data = &rest[header.len()..];
    let is_u16 = header.windows(5).any(|window| window == b"'<u2'");
    (is_u16 && data.len() as u64 == tokens * 2).then_some(data)
}

fn megatron_index(ends: &[u64]) -> Vec<u8> {
    const U16: u8 = 8;
    let mut out = b"MMIDIDX\0\0".to_vec();
    out.extend(1u64.to_le_bytes());
    out.push(U16);
    out.extend((ends.len() as u64).to_le_bytes());
    out.extend((ends.len() as u64 + 1).to_le_bytes());
    let starts = || std::iter::once(0).chain(ends.iter().copied());
    out.extend(ends.iter().zip(starts()).flat_map(|(end, start)| ((end - start) as i32).to_le_bytes()));
    out.extend(starts().take(ends.len()).flat_map(|start| (start as i64 * 2).to_le_bytes()));
    out.extend((0..=ends.len() as i64).flat_map(i64::to_le_bytes));
    out
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|e| FormatError::io(path, "write", e))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_hold_the_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = dir.path().join("tokens");
        let data: Vec<u16> = vec![5, 6, 0, 7, 0];
        std::fs::create_dir(&tokens).unwrap();
        parsimon_core::io::write_npy(&tokens.join("00000.npy"), &[5], &data).unwrap();
        let document = |id: &str, end| crate::pack::DocumentEnd { id: id.to_owned(), end };
        let shard = crate::pack::TokenShard {
            file: "00000.npy".into(),
            tokens: 5,
            documents: vec![document("a", 3), document("b", 5)],
        };
        let index =
            TokenIndex { vocab_size: 8, eos_id: 0, tokenizer_xxh3: "00".into(), tokens: 5, shards: vec![shard] };
        parsimon_core::io::write_json(&tokens.join("index.json"), &index).unwrap();
        let raw: Vec<u8> = data.iter().flat_map(|token| token.to_le_bytes()).collect();
        let out = dir.path().join("out");
        assert_eq!(export(&tokens, ExportFormat::Ds, &out).unwrap(), 5);
        assert_eq!(std::fs::read(out.join("00000.ds")).unwrap(), raw);
        assert_eq!(
            std::fs::read(out.join("00000.ds.index")).unwrap(),
            [3u64.to_le_bytes(), 5u64.to_le_bytes()].concat()
        );
        export(&tokens, ExportFormat::Megatron, &out).unwrap();
        assert_eq!(std::fs::read(out.join("00000.bin")).unwrap(), raw);
        let idx = std::fs::read(out.join("00000.idx")).unwrap();
        assert_eq!(idx.len(), 9 + 8 + 1 + 16 + 2 * 4 + 2 * 8 + 3 * 8);
        assert_eq!(idx[34..42], [3i32.to_le_bytes(), 2i32.to_le_bytes()].concat());
        std::fs::write(tokens.join("00000.npy"), b"short").unwrap();
        assert!(export(&tokens, ExportFormat::Ds, &out).is_err());
    }
}
