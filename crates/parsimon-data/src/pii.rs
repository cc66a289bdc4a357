//! Masking what belongs to persons: e-mail addresses, public IP addresses, telephone and card numbers.
//!
//! A mask is a text that is recognizable as one and that a second pass leaves alone. `PAPER(redstone §3.6)`

use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::extract::Span;

/// What is masked.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(default, deny_unknown_fields)]
pub struct PiiOptions {
    /// E-mail addresses.
    pub email: bool,
    /// IPv4 addresses that lead somewhere.
    pub ipv4: bool,
    /// Telephone numbers in international form.
    pub phone: bool,
    /// Card numbers whose check digit holds.
    pub card: bool,
}

impl Default for PiiOptions {
    fn default() -> PiiOptions {
        PiiOptions { email: true, ipv4: true, phone: false, card: false }
    }
}

/// What was masked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
pub struct PiiCounts {
    /// E-mail addresses.
    pub email: u32,
    /// IP addresses.
    pub ip: u32,
    /// Telephone numbers.
    pub phone: u32,
    /// Card numbers.
    pub card: u32,
}

static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)\b[a-z0-9._%+-]+@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}\b").expect("a constant")
});
static IPV4: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b").expect("a constant"));
static PHONE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\+[1-9][0-9](?:[ .()-]{0,2}[0-9]){6,12}\b").expect("a constant"));
static CARD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[0-9](?:[ -]?[0-9]){12,18}\b").expect("a constant"));

/// What takes the place of addresses, in turn.
const EMAILS: [&str; 2] = ["email@example.com", "firstname.lastname@example.org"];
const IPS: [&str; 4] = ["192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.2.255"];
const PHONE_MASK: &str = "<phone>";
const CARD_MASK: &str = "<card>";

/// Masks a text and moves its spans along.
///
/// ```
/// use parsimon_data::pii::{PiiOptions, mask};
/// let (text, counts) = mask("ask ann@corp.de at 8.8.8.8", &mut [], PiiOptions::default());
/// assert_eq!(text, "ask email@example.com at 192.0.2.1");
/// assert_eq!((counts.email, counts.ip), (1, 1));
/// ```
pub fn mask(text: &str, spans: &mut [Span], options: PiiOptions) -> (String, PiiCounts) {
    let mut counts = PiiCounts::default();
    let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
    if options.email && text.contains('@') {
        for found in EMAIL.find_iter(text).filter(|found| !EMAILS.contains(&found.as_str())) {
            edits.push((found.range(), EMAILS[counts.email as usize % EMAILS.len()]));
            counts.email += 1;
        }
    }
    if options.ipv4 {
        for found in IPV4.find_iter(text).filter(|found| is_public(found.as_str())) {
            edits.push((found.range(), IPS[counts.ip as usize % IPS.len()]));
            counts.ip += 1;
        }
    }
    if options.card {
        for found in CARD.find_iter(text).filter(|found| has_check_digit(found.as_str())) {
            edits.push((found.range(), CARD_MASK));
            counts.card += 1;
        }
    }
    if options.phone {
        for found in PHONE.find_iter(text) {
            edits.push((found.range(), PHONE_MASK));
            counts.phone += 1;
        }
    }
    (apply(text, spans, edits), counts)
}

/// Replaces the ranges; of two that overlap the first stays.
fn apply(text: &str, spans: &mut [Span], mut edits: Vec<(Range<usize>, &str)>) -> String {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let mut out = String::with_capacity(text.len());
    // Where the text behind each edit went: (old end, new end).
    let mut moved: Vec<(Range<usize>, usize)> = Vec::with_capacity(edits.len());
    let mut at = 0;
    for (range, replacement) in edits {
        if range.start < at {
            continue;
        }
        out.push_str(&text[at..range.start]);
        out.push_str(replacement);
        at = range.end;
        moved.push((range, out.len()));
    }
    out.push_str(&text[at..]);
    let new_place = |old: usize| match moved.partition_point(|(range, _)| range.start < old).checked_sub(1) {
        None => old,
        // A place inside what was replaced moves to its end.
        Some(edit) => moved[edit].1 + old.saturating_sub(moved[edit].0.end),
    };
    for span in spans {
        (span.start, span.end) = (new_place(span.start), new_place(span.end));
    }
    out
}

fn is_public(address: &str) -> bool {
    let Ok(ip) = address.parse::<Ipv4Addr>() else { return false };
    let [a, b, ..] = ip.octets();
    // 0/8 is "this network", 100.64/10 belongs to carriers, from 240 on is reserved.
    let is_special = a == 0 || a >= 240 || (a == 100 && (64..128).contains(&b));
    !(is_special
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || IPS.contains(&address))
}

/// Luhn's sum.
fn has_check_digit(number: &str) -> bool {
    let digits = number.bytes().rev().filter(u8::is_ascii_digit).map(|b| u32::from(b - b'0'));
    let sum: u32 =
        digits.enumerate().map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 }).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests;
