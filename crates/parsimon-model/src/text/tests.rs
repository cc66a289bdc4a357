use parsimon_core::SplitMix64;

use super::*;

/// The pieces of `tokens`, the rest last, and whether the stream stopped.
#[track_caller]
fn check(stops: &[&str], tokens: &[&[u8]], pieces: &[&str], stopped: bool) {
    let mut stream = TextStream::new(stops.iter().map(|&stop| stop.to_owned()));
    let mut got: Vec<String> = tokens.iter().map(|token| stream.push(token)).collect();
    got.push(stream.finish());
    assert_eq!((got.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), stream.stopped()), (pieces, stopped));
}

#[test]
fn characters_are_never_cut() {
    check(&[], &[b"a", "é".as_bytes(), b"b"], &["a", "é", "b", ""], false);
    check(&[], &[b"\xc3", b"\xa9"], &["", "é", ""], false);
    // One byte a token, as byte fallback writes it.
    check(&[], &[b"\xf0", b"\x9f", b"\x98", b"\x80", b"!"], &["", "", "", "😀", "!", ""], false);
    check(&[], &[b"x\xe4\xbd", b"\xa0\xe5", b"\xa5\xbd"], &["x", "你", "好", ""], false);
}

#[test]
fn wrong_bytes_become_replacement_characters() {
    check(&[], &[b"a\xff", b"b"], &["a\u{fffd}", "b", ""], false);
    check(&[], &[b"\xc3", b"("], &["", "\u{fffd}(", ""], false);
    check(&[], &[b"a\xf0\x9f"], &["a", "\u{fffd}"], false);
    check(&[], &[b"\xe4", b"\xe4\xbd\xa0"], &["", "\u{fffd}你", ""], false);
}

#[test]
fn stop_strings_are_found_across_tokens() {
    check(&["stop"], &[b"a st", b"op b"], &["a ", "", ""], true);
    check(&["stop"], &[b"a st", b"ay"], &["a ", "stay", ""], false);
    check(&["stop"], &[b"a sto"], &["a ", "sto"], false);
    check(&["aab"], &[b"a", b"a", b"a", b"b", b"c"], &["", "", "a", "", "", ""], true);
    check(&["\n\n", "END"], &[b"x\n", b"E", b"ND", b"y"], &["x", "\n", "", "", ""], true);
    check(&["é"], &[b"a\xc3", b"\xa9b"], &["a", "", ""], true);
    check(&["好吗"], &["你好".as_bytes(), "!".as_bytes()], &["你", "好!", ""], false);
    // The first stop string in the text counts, not the first in the list.
    check(&["c", "b"], &[b"abc"], &["a", ""], true);
    check(&[""], &[b"abc"], &["abc", ""], false);
}

/// Random bytes cut at random places give the text that all bytes at once give.
#[test]
fn pieces_join_to_the_whole_text() {
    let mut rng = SplitMix64::new(11);
    let alphabet = "aé你😀stop".as_bytes();
    for _ in 0..2000 {
        let bytes: Vec<u8> = (0..rng.below(40)).map(|_| alphabet[rng.below(alphabet.len() as u64) as usize]).collect();
        let mut stream = TextStream::new(["sto".to_owned(), "pa".to_owned()]);
        let mut text = String::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (token, after) = rest.split_at(1 + rng.below(rest.len().min(5) as u64) as usize);
            text.push_str(&stream.push(token));
            rest = after;
        }
        text.push_str(&stream.finish());
        let whole = String::from_utf8_lossy(&bytes);
        let end = ["sto", "pa"].iter().filter_map(|stop| whole.find(stop)).min().unwrap_or(whole.len());
        assert_eq!(text, whole[..end], "{bytes:?}");
    }
}

#[test]
fn a_table_gives_each_token_its_bytes() {
    let table = TokenBytes::new([&b"ab"[..], b"", b"\xff"]);
    assert_eq!((table.len(), table.is_empty()), (3, false));
    assert_eq!([0, 1, 2, 3, u32::MAX].map(|token| table.get(token)), [&b"ab"[..], b"", b"\xff", b"", b""]);
}
