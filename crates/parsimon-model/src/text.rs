//! From tokens to text as it grows: the bytes of every token, and a stream that never cuts a character or lets a stop string through.

/// The bytes that each token of a vocabulary stands for.
///
/// Special tokens and ids that the vocabulary does not name have none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenBytes {
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<usize>,
}

impl TokenBytes {
    /// The table of the tokens 0, 1, 2, ...
    pub fn new<T: AsRef<[u8]>>(tokens: impl IntoIterator<Item = T>) -> Self {
        let mut table = TokenBytes::default();
        for token in tokens {
            table.bytes.extend_from_slice(token.as_ref());
            table.ends.push(table.bytes.len());
        }
        table
    }

    /// How many tokens the table has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the table has no token.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; none for an id outside the table.
    pub fn get(&self, token: u32) -> &[u8] {
        let token = token as usize;
        let Some(&end) = self.ends.get(token) else { return &[] };
        let start = token.checked_sub(1).map_or(0, |previous| self.ends[previous]);
        &self.bytes[start..end]
    }
}

/// Text that grows token by token.
///
/// A character whose bytes are not all there is held back, and so is the end of the text while it may begin a stop string. Bytes that
/// no continuation can make UTF-8 become U+FFFD, as in [`String::from_utf8_lossy`]. The pieces joined are the whole text up to the first
/// stop string.
///
/// ```
/// let mut stream = parsimon_model::TextStream::new(["END".to_owned()]);
/// assert_eq!(stream.push("é".as_bytes().split_at(1).0), "");
/// assert_eq!(stream.push(b"\xa9 E"), "é ");
/// assert_eq!(stream.push(b"NDING"), "");
/// assert!(stream.stopped());
/// ```
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    stops: Vec<String>,
    /// The bytes of an unfinished character, at most three.
    unfinished: Vec<u8>,
    /// The beginning of a stop string, perhaps.
    held: String,
    stopped: bool,
}

impl TextStream {
    /// A stream that ends before the first of `stops`; empty ones are ignored.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        TextStream { stops, ..TextStream::default() }
    }

    /// Whether a stop string has been found; nothing comes after it.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes the bytes of the next token and returns the text that is now certain.
    pub fn push(&mut self, token: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.unfinished.extend_from_slice(token);
        let decoded = decode_prefix(&self.unfinished, &mut self.held);
        self.unfinished.drain(..decoded);
        self.release()
    }

    /// The rest of the text, when no token follows. An unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        if !self.unfinished.is_empty() {
            self.held.push(char::REPLACEMENT_CHARACTER);
            self.unfinished.clear();
        }
        let mut text = self.release();
        text.push_str(&std::mem::take(&mut self.held));
        text
    }

    /// Cuts at the first stop string, or keeps back the longest end that begins one.
    fn release(&mut self) -> String {
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let begun = self.stops.iter().map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - begun);
        std::mem::replace(&mut self.held, rest)
    }
}

/// The length of the longest end of `text` that is a proper beginning of `stop`.
fn begun(text: &str, stop: &str) -> usize {
    let lengths = stop.char_indices().map(|(length, _)| length).skip(1);
    lengths.filter(|&length| text.ends_with(&stop[..length])).last().unwrap_or(0)
}

/// Appends to `text` what `bytes` decode to, up to a character that is not complete, and returns how many bytes that took.
fn decode_prefix(bytes: &[u8], text: &mut String) -> usize {
    let mut start = 0;
    loop {
        match std::str::from_utf8(&bytes[start..]) {
            Ok(rest) => {
                text.push_str(rest);
                return bytes.len();
            }
            Err(e) => {
                let valid = start + e.valid_up_to();
                text.push_str(std::str::from_utf8(&bytes[start..valid]).expect("checked by the call above"));
                let Some(invalid) = e.error_len() else { return valid };
                text.push(char::REPLACEMENT_CHARACTER);
                start = valid + invalid;
            }
        }
    }
}

#[cfg(test)]
mod tests;
