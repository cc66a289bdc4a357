//! Header fields as WARC and HTTP write them: `name: value` lines up to an empty line.
//!
//! Archives in the wild end lines with LF alone, fold long values onto lines that start with a blank, and write names in any case;
//! all of that is read. Order is kept.

/// The largest header block that is read, in bytes.
pub(crate) const HEADER_BYTES_MAX: usize = 64 << 10;

/// The largest number of fields that is read.
const FIELDS_MAX: usize = 256;

/// The fields of a header block, in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HeaderFields(Vec<(String, String)>);

impl HeaderFields {
    /// The value of the first field called `name`, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Fields made by us, in order.
    pub(crate) fn from_pairs<const N: usize>(pairs: [(&str, String); N]) -> HeaderFields {
        HeaderFields(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Parses the lines after the first one; a line without a colon is skipped.
    pub(crate) fn parse(block: &[u8]) -> Result<HeaderFields, String> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines(block) {
            let text = String::from_utf8_lossy(line);
            if line.first().is_some_and(|&b| b == b' ' || b == b'\t') {
                if let Some((_, value)) = fields.last_mut() {
                    value.push(' ');
                    value.push_str(text.trim());
                }
            } else if let Some((name, value)) = text.split_once(':') {
                if fields.len() == FIELDS_MAX {
                    return Err(format!("more than {FIELDS_MAX} fields"));
                }
                fields.push((name.trim().to_owned(), value.trim().to_owned()));
            }
        }
        Ok(HeaderFields(fields))
    }
}

/// Where the block ends that the first empty line closes: the length with that line.
pub(crate) fn block_end(bytes: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        if matches!(&bytes[line_start..newline], b"" | b"\r") {
            return Some(newline + 1);
        }
        line_start = newline + 1;
    }
    None
}

/// The lines of a block, without their ends; the empty line at its end is left out.
pub(crate) fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !line.is_empty())
}
