use super::*;

#[test]
fn invalid_formulas_are_named() {
    let check = |latex: &str, expected| assert_eq!(validate(latex).err(), expected, "{latex}");
    check("x^2", None);
    check(r"\left( \frac{a}{b} \right)", None);
    check(r"\left\{ a \right.", None);
    check(r"\begin{matrix} a & b \\ c & d \end{matrix}", None);
    check(r"\{ a \& b \%", None);
    check("  ", Some(InvalidFormula::Empty));
    check(r"a & b", Some(InvalidFormula::BareAlignment));
    check(r"{a}}", Some(InvalidFormula::Braces));
    check(r"\left( a", Some(InvalidFormula::Fences));
    check(r"\begin{a} x \end{b}", Some(InvalidFormula::Environments));
    check(r"\begin a", Some(InvalidFormula::Environments));
    check(&"{".repeat(70), Some(InvalidFormula::TooDeep));
    check(&"x".repeat(20_001), Some(InvalidFormula::TooLong));
    check("\\", None);
}

#[test]
fn deep_mathml_is_no_formula() {
    let deep = format!("<math>{}x", "<mrow>".repeat(100));
    assert_eq!(mathml_fragment(&deep), None);
    assert_eq!(mathml_fragment("no formula"), None);
}

#[test]
fn candidates() {
    let found = math_candidate("the sum \\sum of \\alpha, \\text, \\sum");
    assert_eq!((found.commands, found.known.len(), found.has_operator), (3, 2, true));
    assert!(found.is_candidate() && !found.is_certain());
    assert!(!math_candidate("C:\\windows").is_candidate());
}
