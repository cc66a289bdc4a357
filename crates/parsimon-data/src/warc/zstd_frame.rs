//! Zstandard frames of `.warc.zst` files: which frame stands here, and the dictionary that the first one may carry.

use std::io::Read;

/// The first bytes of a frame with data.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The skippable frame that holds a dictionary, by the convention of WARC files.
const DICTIONARY: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];

/// What starts here.
pub(super) enum Frame {
    /// A frame with data.
    Data,
    /// A frame to pass over, with the dictionary if it is one.
    Skip { length: usize, dictionary: Option<Vec<u8>> },
}

/// The frame at the start of `bytes`; `None` when it is none. A dictionary has at most `cap` bytes.
pub(super) fn at(bytes: &[u8], cap: usize) -> Option<Result<Frame, String>> {
    if bytes.starts_with(&MAGIC) {
        return Some(Ok(Frame::Data));
    }
    let (&[first, rest @ .., a, b, c, d], _) = bytes.split_first_chunk::<8>()?;
    if first & 0xf0 != 0x50 || rest != DICTIONARY[1..] {
        return None;
    }
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let Some(content) = bytes[8..].get(..length) else {
        return Some(Err(format!("a frame of {length} bytes, and the file ends after {}", bytes.len() - 8)));
    };
    let dictionary = (first == DICTIONARY[0]).then(|| inflate(content, cap)).transpose();
    Some(dictionary.map(|dictionary| Frame::Skip { length: 8 + length, dictionary }))
}

/// A dictionary is stored as it is or compressed.
fn inflate(content: &[u8], cap: usize) -> Result<Vec<u8>, String> {
    if !content.starts_with(&MAGIC) {
        return Ok(content.to_vec());
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(content).map_err(|e| e.to_string())?;
    let mut dictionary = Vec::new();
    decoder.take(cap as u64 + 1).read_to_end(&mut dictionary).map_err(|e| e.to_string())?;
    if dictionary.len() > cap {
        return Err(format!("the dictionary has more than {cap} bytes"));
    }
    Ok(dictionary)
}
