use super::*;
use crate::extract::SpanKind;

/// Of `text`: words, their mean length, symbols, words with letters; and the repetition of paragraphs.
#[track_caller]
fn check(text: &str, mask: &[Span], expected: [f64; 6]) {
    let metrics = Metrics::compute(text, mask);
    let names = [
        "doc_word_count",
        "doc_mean_word_len",
        "doc_gopher_symbol_to_word",
        "doc_alpha_word_rate",
        "rr_para_frac",
        "rr_para_char_frac",
    ];
    for (name, expected) in names.into_iter().zip(expected) {
        let value = metrics.get(name).unwrap();
        assert!((value - expected).abs() < 1e-12, "{text:?}: {name} {value} != {expected}");
    }
}

/// The worked examples of the specification.
#[test]
fn ngrams_by_hand() {
    let words = |text: &str| super::ngrams::WordTable::new(text.split(' ')).repeats();
    let repeats = words("a b c a b d a b");
    assert_eq!((repeats[2].top, repeats[2].dup), (6.0 / 8.0, 6.0 / 8.0));
    assert_eq!(words("a b c a b c a b")[3].dup, 1.0);
    assert_eq!(super::redstone::upper_ratio("ASDzxczxc a././.…"), 3.0 / 10.0);
    assert_eq!(words("")[2].top, 0.0);
}

proptest::proptest! {
    /// Against counting every n-gram in a map.
    #[test]
    fn ngrams_equal_naive_counting(words in proptest::collection::vec("[ab]{1,2}", 0..40)) {
        let table = super::ngrams::WordTable::new(words.iter().map(String::as_str));
        let total: usize = words.iter().map(String::len).sum();
        for (n, found) in table.repeats().into_iter().enumerate().skip(2) {
            let mut counts = std::collections::HashMap::new();
            words.windows(n).for_each(|gram| *counts.entry(gram).or_insert(0) += 1);
            let mut is_marked = vec![false; words.len()];
            let (mut top, mut top_count) = (0, 1);
            for (at, gram) in words.windows(n).enumerate() {
                let chars: usize = gram.iter().map(String::len).sum();
                if counts[gram] > top_count {
                    (top, top_count) = (chars * counts[gram], counts[gram]);
                }
                if counts[gram] > 1 {
                    is_marked[at..at + n].fill(true);
                }
            }
            let marked: usize = words.iter().zip(is_marked).filter(|(_, marked)| *marked).map(|(word, _)| word.len()).sum();
            let share = |chars: usize| if total == 0 { 0.0 } else { chars as f64 / total as f64 };
            proptest::prop_assert_eq!((found.top, found.dup), (share(top), share(marked)), "n = {}", n);
        }
    }
}

use crate::extract::Span;

fn code(start: usize, end: usize) -> Span {
    Span { kind: SpanKind::Code, start, end, lang: None, display: None }
}

#[test]
fn metrics_by_hand() {
    check("", &[], [0.0; 6]);
    check("ab cde 12 #", &[], [4.0, 8.0 / 4.0, 1.0 / 4.0, 2.0 / 4.0, 0.0, 0.0]);
    // Two of three lines are copies, 6 of their 8 characters: the worked example of the specification.
    check("abc\nde\nabc", &[], [3.0, 8.0 / 3.0, 0.0, 1.0, 2.0 / 3.0, 6.0 / 8.0]);
    check("abc\n\nABC\n\nde", &[], [3.0, 8.0 / 3.0, 0.0, 1.0, 2.0 / 5.0, 0.0]);
    check("wait... ünï", &[], [2.0, 10.0 / 2.0, 1.0 / 2.0, 1.0, 0.0, 0.0]);
    // The same with code between that the mask takes out.
    check("abc\n# # #\nabc", &[code(4, 9)], [2.0, 3.0, 0.0, 1.0, 1.0, 1.0]);
    check("# abc", &[code(0, 1)], [1.0, 3.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn verdicts() {
    let prose =
        "The quick brown fox jumps over the lazy dog while seven wizards watch it from a hill near the old town";
    let rules = Rules::technical();
    let verdict = rules.check(&Metrics::compute(prose, &[]));
    assert!(verdict.keep && verdict.decisions.len() == rules.bounds.len() && verdict.reason().is_none());
    let cases = [
        ("too short".to_owned(), "doc_word_count"),
        (prose.replace(' ', ""), "doc_word_count"),
        ("a b c d ".repeat(10), "doc_mean_word_len"),
        (format!("{prose} # # #"), "doc_gopher_symbol_to_word"),
        (format!("{prose}{}", " 1234".repeat(20)), "doc_alpha_word_rate"),
        ([prose; 9].join("\n"), "rr_para_frac"),
        (format!("{prose}\n{prose}\n{}", "x\ny\nz"), "rr_para_char_frac"),
    ];
    for (text, reason) in cases {
        let verdict = rules.check(&Metrics::compute(&text, &[]));
        assert_eq!(verdict.reason(), Some(reason), "{text}");
        let last = verdict.decisions.last().unwrap();
        let bound = rules.bounds.iter().find(|bound| bound.rule == reason).unwrap();
        assert!(Some(last.threshold) == bound.min || Some(last.threshold) == bound.max);
        assert!(!last.keep && last.value != last.threshold);
    }
    let unknown = Rules { bounds: vec![Bound { rule: "no_such_metric".into(), min: Some(0.0), max: None }] };
    assert!(!unknown.check(&Metrics::compute(prose, &[])).keep);
}
