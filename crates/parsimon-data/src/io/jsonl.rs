//! One JSON document a line, compressed with Zstandard.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use parsimon_core::io::FormatError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::output::{OutputFile, OutputInfo};

/// The longest line that is read: a text of the largest page with every byte escaped stays below it.
const LINE_BYTES_MAX: u64 = 512 << 20;

/// zstd's level 3: its default, where writing costs less than the extraction by far.
const LEVEL: i32 = 3;

/// Writes lines.
pub(crate) struct JsonlWriter {
    encoder: zstd::stream::write::Encoder<'static, OutputFile>,
    path: PathBuf,
}

impl JsonlWriter {
    pub(crate) fn create(root: &Path, name: &str) -> Result<JsonlWriter, FormatError> {
        let file = OutputFile::create(root, name)?;
        let path = file.path().to_owned();
        let encoder =
            zstd::stream::write::Encoder::new(file, LEVEL).map_err(|e| FormatError::io(&path, "compress", e))?;
        Ok(JsonlWriter { encoder, path })
    }

    pub(crate) fn push(&mut self, row: &impl Serialize) -> Result<(), FormatError> {
        let line = serde_json::to_vec(row).map_err(|e| FormatError::io(&self.path, "write", e.into()))?;
        self.push_line(&line)
    }

    /// Writes a line that is JSON already, without its line end.
    pub(crate) fn push_line(&mut self, line: &[u8]) -> Result<(), FormatError> {
        let written = self.encoder.write_all(line).and_then(|()| self.encoder.write_all(b"\n"));
        written.map_err(|e| FormatError::io(&self.path, "write", e))
    }

    pub(crate) fn commit(self) -> Result<OutputInfo, FormatError> {
        let path = self.path;
        self.encoder.finish().map_err(|e| FormatError::io(&path, "write", e))?.commit()
    }
}

/// Reads the lines of a file: `.zst`, `.gz`, or plain.
pub struct JsonlReader {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    /// Whether a last line without an end is a fault: in the files that a run writes.
    must_end: bool,
    line: Vec<u8>,
    number: u64,
}

impl JsonlReader {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// [`FormatError::Io`].
    pub fn open(path: &Path) -> Result<JsonlReader, FormatError> {
        let file = File::open(path).map_err(|e| FormatError::io(path, "open", e))?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        let lines: Box<dyn BufRead + Send> = match extension {
            Some("zst") => {
                let decoder = zstd::stream::read::Decoder::new(file);
                Box::new(BufReader::new(decoder.map_err(|e| FormatError::io(path, "decompress", e))?))
            }
            Some("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
            _ => Box::new(BufReader::new(file)),
        };
        let must_end = extension == Some("zst");
        Ok(JsonlReader { path: path.to_owned(), lines, must_end, line: Vec::new(), number: 0 })
    }

    /// The next line without its end; `None` behind the last.
    ///
    /// # Errors
    ///
    /// [`FormatError::Malformed`] for a damaged file or a line of more than 512 MiB.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, FormatError> {
        self.line.clear();
        self.number += 1;
        let read = (&mut self.lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line);
        let malformed =
            |reason: String| FormatError::Malformed { file: self.path.clone(), format: "jsonl.zst", reason };
        match read {
            Err(e) => Err(malformed(format!("line {}: {e}", self.number))),
            Ok(0) => Ok(None),
            Ok(_) => match self.line.strip_suffix(b"\n") {
                Some(line) => Ok(Some(line)),
                None if !self.must_end && self.line.len() < LINE_BYTES_MAX as usize => Ok(Some(&self.line)),
                None => Err(malformed(format!("line {} is cut off or too long", self.number))),
            },
        }
    }

    /// The next line as a value.
    ///
    /// # Errors
    ///
    /// As [`JsonlReader::next_line`], and when the line is not such a value.
    pub fn next_row<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FormatError> {
        let (number, path) = (self.number + 1, self.path.clone());
        let Some(line) = self.next_line()? else { return Ok(None) };
        serde_json::from_slice(line).map(Some).map_err(|e| FormatError::Malformed {
            file: path,
            format: "jsonl.zst",
            reason: format!("line {number}: {e}"),
        })
    }
}
