//! The prescan of a byte stream for a `<meta>` that declares the encoding, as the WHATWG describes it.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// The encoding that a `<meta>` in `bytes` declares. Callers pass the first 1,024 bytes of a page.
pub fn prescan(bytes: &[u8]) -> Option<&'static Encoding> {
    let mut scan = Scan { bytes, at: 0 };
    while scan.at < bytes.len() {
        let rest = &bytes[scan.at..];
        if rest.starts_with(b"<!--") {
            // `<!-->` is a whole comment: its dashes may be shared.
            let end = memchr::memmem::find(&rest[2..], b"-->")?;
            scan.at += 2 + end + 3;
        } else if starts_with_tag(rest, b"<meta") {
            scan.at += 6;
            if let Some(encoding) = scan.meta() {
                return Some(encoding);
            }
        } else if rest[0] == b'<' && rest.get(1).is_some_and(|&b| b.is_ascii_alphabetic() || b == b'/') {
            let name = &rest[1 + usize::from(rest[1] == b'/')..];
            if name.first().is_some_and(u8::is_ascii_alphabetic) {
                scan.at += rest.iter().position(|&b| is_space(b) || b == b'>')?;
                while scan.attribute().is_some() {}
            } else {
                scan.at += memchr::memchr(b'>', rest)?;
            }
        } else if rest[0] == b'<' && rest.get(1).is_some_and(|&b| b == b'!' || b == b'?') {
            scan.at += memchr::memchr(b'>', rest)?;
        }
        scan.at += 1;
    }
    None
}

fn starts_with_tag(bytes: &[u8], tag: &[u8]) -> bool {
    bytes.len() > tag.len()
        && bytes[..tag.len()].eq_ignore_ascii_case(tag)
        && (is_space(bytes[tag.len()]) || bytes[tag.len()] == b'/')
}

fn is_space(b: u8) -> bool {
    matches!(b, b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    /// The rest of a `<meta>` tag.
    fn meta(&mut self) -> Option<&'static Encoding> {
        let (mut is_pragma, mut needs_pragma) = (false, None);
        let mut encoding = None;
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while let Some((name, value)) = self.attribute() {
            if seen.contains(&name) {
                continue;
            }
            match name.as_slice() {
                b"http-equiv" => is_pragma |= value == b"content-type",
                b"content" if encoding.is_none() => {
                    if let Some(found) = charset_of_content(&value) {
                        encoding = Encoding::for_label(found);
                        needs_pragma = encoding.map(|_| true).or(needs_pragma);
                    }
                }
                b"charset" => {
                    encoding = Encoding::for_label(&value);
                    needs_pragma = Some(false);
                }
                _ => {}
            }
            seen.push(name);
        }
        if needs_pragma? && !is_pragma {
            return None;
        }
        let encoding = encoding?;
        if encoding == UTF_16BE || encoding == UTF_16LE {
            return Some(UTF_8);
        }
        Some(if encoding.name() == "x-user-defined" { WINDOWS_1252 } else { encoding })
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The next attribute in lower case; `None` at the end of the tag, where `at` stays.
    fn attribute(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        while is_space(self.byte()?) || self.byte()? == b'/' {
            self.at += 1;
        }
        if self.byte()? == b'>' {
            return None;
        }
        let mut name = Vec::new();
        let has_value = loop {
            match self.byte()? {
                b'=' if !name.is_empty() => break true,
                b if is_space(b) => {
                    while is_space(self.byte()?) {
                        self.at += 1;
                    }
                    break self.byte()? == b'=';
                }
                b'/' | b'>' => break false,
                b => name.push(b.to_ascii_lowercase()),
            }
            self.at += 1;
        };
        let mut value = Vec::new();
        if !has_value {
            return Some((name, value));
        }
        self.at += 1;
        while is_space(self.byte()?) {
            self.at += 1;
        }
        match self.byte()? {
            quote @ (b'"' | b'\'') => loop {
                self.at += 1;
                match self.byte()? {
                    b if b == quote => {
                        self.at += 1;
                        return Some((name, value));
                    }
                    b => value.push(b.to_ascii_lowercase()),
                }
            },
            _ => loop {
                match self.byte()? {
                    b if is_space(b) || b == b'>' => return Some((name, value)),
                    b => value.push(b.to_ascii_lowercase()),
                }
                self.at += 1;
            },
        }
    }
}

/// The label in `text/html; charset=label`.
fn charset_of_content(content: &[u8]) -> Option<&[u8]> {
    let mut rest = content;
    loop {
        let found = memchr::memmem::find(rest, b"charset")?;
        rest = rest[found + 7..].trim_ascii_start();
        if let Some(value) = rest.strip_prefix(b"=") {
            rest = value.trim_ascii_start();
            break;
        }
    }
    match rest.first()? {
        quote @ (b'"' | b'\'') => {
            let inner = &rest[1..];
            Some(&inner[..memchr::memchr(*quote, inner)?])
        }
        _ => Some(&rest[..rest.iter().position(|&b| is_space(b) || b == b';').unwrap_or(rest.len())]),
    }
}
