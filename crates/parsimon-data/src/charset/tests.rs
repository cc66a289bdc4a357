use super::*;

#[track_caller]
fn check(bytes: &[u8], http: Option<&str>, text: &str, charset: &str, source: CharsetSource) {
    let decoded = decode(bytes, http);
    assert_eq!((&*decoded.text, decoded.charset, decoded.source), (text, charset, source));
}

#[test]
fn in_order_of_precedence() {
    check(b"\xef\xbb\xbfa", Some("latin1"), "a", "UTF-8", CharsetSource::Bom);
    check(b"\xff\xfea\0", None, "a", "UTF-16LE", CharsetSource::Bom);
    check(
        b"<meta charset=utf-8>\xe4",
        Some("ISO-8859-1"),
        "<meta charset=utf-8>\u{e4}",
        "windows-1252",
        CharsetSource::Http,
    );
    check(
        b"<meta charset=latin1>\xe4",
        Some("nonsense"),
        "<meta charset=latin1>\u{e4}",
        "windows-1252",
        CharsetSource::Meta,
    );
    check("gr\u{fc}n".as_bytes(), None, "gr\u{fc}n", "UTF-8", CharsetSource::Utf8);
    check(b"", None, "", "UTF-8", CharsetSource::Utf8);
    let german = "Die B\u{e4}ume sind gr\u{fc}n, und die V\u{f6}gel fliegen \u{fc}ber die H\u{e4}user.";
    let latin1: Vec<u8> = german.chars().map(|c| c as u8).collect();
    check(&latin1, None, german, "windows-1252", CharsetSource::Guess);
}

#[test]
fn prescan_stays_in_its_bytes() {
    let far = [" ".repeat(1024).as_bytes(), b"<meta charset=latin1>"].concat();
    assert_eq!(decode(&far, None).source, CharsetSource::Utf8);
    for cut in 0..60 {
        // A tag that is cut off declares nothing, and cutting never panics.
        let page = b"<!-- x --><a b=c><meta http-equiv='content-type' content=\"text/html; charset=koi8-r\">";
        assert_eq!(prescan(&page[..cut]), None);
    }
}
