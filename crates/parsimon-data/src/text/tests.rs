use super::*;

#[test]
fn lines_are_pythons() {
    let check =
        |text: &str, expected: &[&str]| assert_eq!(words::lines(text).collect::<Vec<_>>(), expected, "{text:?}");
    check("", &[]);
    check("\n", &[""]);
    check("a\r\nb\rc\n\nd\u{85}e\u{2028}", &["a", "b", "c", "", "d", "e"]);
}

#[test]
fn simplify_numbers() {
    assert_eq!(simplify("1.2.3 v4 (5,6) 7."), "0 0 v0 0 0");
    assert_eq!(simplify("\u{c9}t\u{e9}  \u{130}"), "ete i");
}

#[test]
fn classes() {
    assert!(classes_of('A').has(Class::UPPER) && !classes_of('a').has(Class::UPPER));
    assert!(classes_of('\u{4e2d}').has(Class::LETTER_OTHER));
    assert!(classes_of('\u{2018}').has(Class::INITIAL) && classes_of('\u{2019}').has(Class::FINAL));
    assert!(classes_of('\u{10ffff}').has(Class::OTHER));
}
