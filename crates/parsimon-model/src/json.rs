//! JSON byte by byte: whether bytes are the beginning of a JSON value.

mod constraint;

pub use constraint::{JsonConstraint, JsonVocabulary};

/// The deepest nesting; parsers accept at least this much.
const DEPTH_MAX: u8 = 64;
/// The most white space in a row, enough to indent the deepest value by a character a level.
const SPACE_MAX: u8 = 64;
/// The most digits of a number before the point, and after it: within `f64`, and short of endless.
const DIGITS_MAX: u8 = 20;
/// The most digits of an exponent: 1e99 is within `f64`, 1e999 is not.
const EXPONENT_DIGITS_MAX: u8 = 2;

/// How far a text is into a JSON value, byte by byte.
///
/// What it accepts is stricter than RFC 8259, so that every complete text parses anywhere and none goes on for ever: nesting up to 64,
/// up to 64 white spaces in a row, numbers of up to 20 digits before and after the point with exponents of up to 2 digits, strings
/// of valid UTF-8, and no `\u` escapes of surrogates. A state is a few words and copied freely, so a vocabulary can be tried against it.
///
/// ```
/// let mut json = parsimon_model::JsonPrefix::object();
/// assert!(json.push_all(b"{\"a\": [1, tru"));
/// assert!(!json.is_complete() && !json.clone().push(b'x'));
/// assert!(json.push_all(b"e]}") && json.is_complete());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JsonPrefix {
    place: Place,
    /// One bit a level, the innermost lowest: 1 for an object, 0 for an array.
    levels: u64,
    depth: u8,
    spaces: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Before a value; the whole may have to be an object.
    Value {
        object_only: bool,
    },
    /// After `[`.
    FirstElement,
    /// After `{`.
    FirstKey,
    /// After a comma in an object.
    Key,
    /// After a key.
    Colon,
    /// After a value: a comma, the end of what holds it, or the end of the whole.
    After,
    String {
        key: bool,
        at: InString,
    },
    Number(Digits, u8),
    /// The rest of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum InString {
    Plain,
    Escape,
    /// Hexadecimal digits to come; after a first `d` only the digits 0 to 7 keep clear of the surrogates.
    Hex {
        left: u8,
        after_d: bool,
    },
    /// Continuation bytes to come, and the range of the next one.
    Utf8 {
        left: u8,
        low: u8,
        high: u8,
    },
}

/// Where a number is, beside the count of digits in that part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    ExponentSign,
    Exponent,
}

impl JsonPrefix {
    /// Before an object.
    pub fn object() -> Self {
        JsonPrefix { place: Place::Value { object_only: true }, levels: 0, depth: 0, spaces: 0 }
    }

    /// Before any value.
    pub fn value() -> Self {
        JsonPrefix { place: Place::Value { object_only: false }, ..JsonPrefix::object() }
    }

    /// Whether the text so far is a whole value.
    pub fn is_complete(&self) -> bool {
        let whole_number =
            matches!(self.place, Place::Number(Digits::Zero | Digits::Whole | Digits::Fraction | Digits::Exponent, _));
        self.depth == 0 && (self.place == Place::After || whole_number)
    }

    /// Whether the text ends within a character of several bytes.
    pub fn is_within_character(&self) -> bool {
        matches!(self.place, Place::String { at: InString::Utf8 { .. }, .. })
    }

    /// Takes one more byte; false, and the state is of no further use, when no JSON value continues like this.
    #[must_use]
    pub fn push(&mut self, byte: u8) -> bool {
        if let Place::String { key, at } = self.place {
            return self.push_in_string(byte, key, at);
        }
        if let Place::Number(digits, count) = self.place {
            match number(digits, count, byte) {
                Some(next) => self.place = next,
                None if !may_end(digits) => return false,
                None => {
                    self.place = Place::After;
                    return self.push(byte);
                }
            }
            return true;
        }
        if let Place::Literal(rest) = self.place {
            let matches = rest[0] == byte;
            self.place = if rest.len() == 1 { Place::After } else { Place::Literal(&rest[1..]) };
            return matches;
        }
        if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            self.spaces += 1;
            return self.spaces <= SPACE_MAX;
        }
        self.spaces = 0;
        self.push_between(byte)
    }

    /// Takes bytes up to the first that does not fit.
    #[must_use]
    pub fn push_all(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| self.push(byte))
    }

    /// A byte outside strings, numbers, literals and white space.
    fn push_between(&mut self, byte: u8) -> bool {
        let next = match (self.place, byte) {
            (Place::Value { object_only: true }, b'{') => return self.open(true),
            (Place::Value { object_only: true }, _) => return false,
            (Place::FirstElement, b']') | (Place::FirstKey, b'}') => return self.close(),
            (Place::Value { .. } | Place::FirstElement, _) => return self.begin_value(byte),
            (Place::FirstKey | Place::Key, b'"') => Place::String { key: true, at: InString::Plain },
            (Place::Colon, b':') => Place::Value { object_only: false },
            (Place::After, b',') if self.depth > 0 => {
                if self.in_object() {
                    Place::Key
                } else {
                    Place::Value { object_only: false }
                }
            }
            (Place::After, b'}') if self.depth > 0 && self.in_object() => return self.close(),
            (Place::After, b']') if self.depth > 0 && !self.in_object() => return self.close(),
            _ => return false,
        };
        self.place = next;
        true
    }

    fn begin_value(&mut self, byte: u8) -> bool {
        self.place = match byte {
            b'{' => return self.open(true),
            b'[' => return self.open(false),
            b'"' => Place::String { key: false, at: InString::Plain },
            b'-' => Place::Number(Digits::Minus, 0),
            b'0' => Place::Number(Digits::Zero, 1),
            b'1'..=b'9' => Place::Number(Digits::Whole, 1),
            b't' => Place::Literal(b"rue"),
            b'f' => Place::Literal(b"alse"),
            b'n' => Place::Literal(b"ull"),
            _ => return false,
        };
        true
    }

    fn in_object(&self) -> bool {
        self.levels & 1 == 1
    }

    fn open(&mut self, object: bool) -> bool {
        self.depth += 1;
        self.levels = self.levels << 1 | u64::from(object);
        self.place = if object { Place::FirstKey } else { Place::FirstElement };
        self.depth <= DEPTH_MAX
    }

    fn close(&mut self) -> bool {
        self.depth -= 1;
        self.levels >>= 1;
        self.place = Place::After;
        true
    }

    fn push_in_string(&mut self, byte: u8, key: bool, at: InString) -> bool {
        let next = match (at, byte) {
            (InString::Plain, b'"') => {
                self.place = if key { Place::Colon } else { Place::After };
                return true;
            }
            (InString::Plain, b'\\') => InString::Escape,
            (InString::Plain, 0x20..=0x7f) => InString::Plain,
            (InString::Plain, _) => match utf8_lead(byte) {
                Some(next) => next,
                None => return false,
            },
            (InString::Escape, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => InString::Plain,
            (InString::Escape, b'u') => InString::Hex { left: 4, after_d: false },
            (InString::Hex { after_d: true, .. }, b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return false,
            (InString::Hex { left: 1, .. }, digit) if digit.is_ascii_hexdigit() => InString::Plain,
            (InString::Hex { left, .. }, digit) if digit.is_ascii_hexdigit() => {
                InString::Hex { left: left - 1, after_d: left == 4 && digit.eq_ignore_ascii_case(&b'd') }
            }
            (InString::Utf8 { left, low, high }, _) if (low..=high).contains(&byte) => match left {
                1 => InString::Plain,
                _ => InString::Utf8 { left: left - 1, low: 0x80, high: 0xbf },
            },
            _ => return false,
        };
        self.place = Place::String { key, at: next };
        true
    }
}

/// What follows the first byte of a character of several bytes (Unicode, table 3-7).
fn utf8_lead(byte: u8) -> Option<InString> {
    let (left, low, high) = match byte {
        0xc2..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xe1..=0xef => (2, 0x80, 0xbf),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return None,
    };
    Some(InString::Utf8 { left, low, high })
}

fn may_end(digits: Digits) -> bool {
    matches!(digits, Digits::Zero | Digits::Whole | Digits::Fraction | Digits::Exponent)
}

/// The place after one more byte of a number; `None` when the byte is not part of it.
fn number(digits: Digits, count: u8, byte: u8) -> Option<Place> {
    let next = match (digits, byte) {
        (Digits::Minus, b'0') => (Digits::Zero, 1),
        (Digits::Minus, b'1'..=b'9') => (Digits::Whole, 1),
        (Digits::Whole, b'0'..=b'9') if count < DIGITS_MAX => (Digits::Whole, count + 1),
        (Digits::Zero | Digits::Whole, b'.') => (Digits::Point, 0),
        (Digits::Point, b'0'..=b'9') => (Digits::Fraction, 1),
        (Digits::Fraction, b'0'..=b'9') if count < DIGITS_MAX => (Digits::Fraction, count + 1),
        (Digits::Zero | Digits::Whole | Digits::Fraction, b'e' | b'E') => (Digits::ExponentSign, 0),
        (Digits::ExponentSign, b'+' | b'-') if count == 0 => (Digits::ExponentSign, 1),
        (Digits::ExponentSign, b'0'..=b'9') => (Digits::Exponent, 1),
        (Digits::Exponent, b'0'..=b'9') if count < EXPONENT_DIGITS_MAX => (Digits::Exponent, count + 1),
        _ => return None,
    };
    Some(Place::Number(next.0, next.1))
}

#[cfg(test)]
mod tests;
