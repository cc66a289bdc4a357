use super::*;
use crate::extract::SpanKind;

/// The metrics of `text` by hand.
#[track_caller]
fn check(text: &str, mask: &[Span], expected: [f64; 6]) {
    let values: Vec<f64> = Metrics::compute(text, mask).iter().map(|(_, value)| value).collect();
    for (value, expected) in values.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-12, "{text:?}: {values:?}");
    }
}

use crate::extract::Span;

fn code(start: usize, end: usize) -> Span {
    Span { kind: SpanKind::Code, start, end, lang: None }
}

#[test]
fn metrics_by_hand() {
    check("", &[], [0.0; 6]);
    check("ab cde 12 #", &[], [4.0, 8.0 / 4.0, 1.0 / 4.0, 2.0 / 4.0, 0.0, 0.0]);
    // Two of three lines are copies, 6 of their 8 characters: the worked example of the specification.
    check("abc\nde\nabc", &[], [3.0, 8.0 / 3.0, 0.0, 1.0, 2.0 / 3.0, 6.0 / 8.0]);
    check("abc\n\nABC\n  \nde", &[], [3.0, 8.0 / 3.0, 0.0, 1.0, 2.0 / 3.0, 6.0 / 8.0]);
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
