use super::step::{Reading, program, read};

#[test]
fn a_program_is_the_code_since_the_last_block() {
    let ancestors = ["", "<code>\nx = 1\n<end_of_step>", "y = x\n<end_of_step>"];
    assert_eq!(program(ancestors.into_iter(), "print(y)\n<end_of_code>"), "# ========\nx = 1\ny = x\nprint(y)\n\n");
    let closed = ["", "<code>\nx = 1\n<end_of_code>\n<output><end_of_output>"];
    assert_eq!(program(closed.into_iter(), "<code>\nz = 2\n"), "# ========\nz = 2\n");
    assert_eq!(program([""].into_iter(), "bare = 1"), "bare = 1");
}

#[test]
fn answers_are_read_from_boxes() {
    assert_eq!(
        read("\n<answer>The answer is \\boxed{\\frac{1}{2}}.<end_of_answer>"),
        Reading::Answer("\\frac{1}{2}".into())
    );
    assert_eq!(read("x = 1\n<end_of_step>"), Reading::Code);
    assert!(matches!(read("  "), Reading::Malformed(_)));
    assert!(matches!(read("so it is<end_of_answer>"), Reading::Malformed(_)));
}
