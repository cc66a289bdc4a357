use super::*;

#[track_caller]
fn check(gold: &str, pred: &str, expect: bool) {
    let verdict = Grader::strict().verify(gold, pred);
    assert_eq!(
        verdict.equal,
        expect,
        "{gold:?} and {pred:?}: {verdict:?}\n{:?}\n{:?}",
        Parsed::read(gold),
        Parsed::read(pred)
    );
}

#[test]
fn pairs_that_look_alike_differ() {
    for (gold, pred) in [
        ("1/2004!", "1/2006!"),
        ("2^{-99}", "2^{-98}"),
        ("2,3,4", "1,2,3"),
        ("(0,1)", "(0,1.5)"),
        ("1-1/e", "1+1/e"),
        ("\\pm 2021", "2021"),
        ("12:00", "1:00"),
        ("3x-y+13=0", "3x+4y+14=0"),
        (".5", "50"),
        ("[1,2]", "(1,2)"),
        ("x", "X"),
        ("2", "AZYUK2A"),
    ] {
        check(gold, pred, false);
        check(pred, gold, false);
        check(gold, gold, true);
    }
}

#[test]
fn notations_of_one_answer_agree() {
    for (gold, pred) in [
        ("\\frac{5}{\\sqrt{6}}", "\\frac{5\\sqrt{6}}{6}"),
        ("3\\frac{1}{2}", "7/2"),
        ("0.1\\overline{6}", "1/6"),
        ("1{,}234", "1234"),
        ("\\sin^2 x + \\cos^2 x", "1"),
        ("\\log_2 16", "4"),
        ("x \\in [-2,7]", "-2 \\le x \\le 7"),
        ("x>5", "(5,\\infty)"),
        ("3 \\pm 2\\sqrt{2}", "3+2\\sqrt2, 3-2\\sqrt2"),
        ("y=3x-4", "6x-2y=8"),
        ("(24+i)(24-i)", "577"),
        ("11_2", "3"),
        ("\\sqrt[3]{-8}", "-2"),
        ("e^{i\\pi}", "-1"),
        ("\\text{(D)}", "D"),
        ("\\text{Monday}", "monday"),
        ("10^{1000}", "10^{999} \\cdot 10"),
    ] {
        check(gold, pred, true);
        check(pred, gold, true);
    }
}
