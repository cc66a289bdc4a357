//! Digests of records and payloads.

use sha1::{Digest, Sha1};

/// SHA-1 in base32, as WARC headers write it after `sha1:`.
pub fn sha1_base32(bytes: &[u8]) -> String {
    data_encoding::BASE32.encode(&Sha1::digest(bytes))
}

/// SHA-1 in lower-case hexadecimal.
pub fn sha1_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha1::digest(bytes))
}
