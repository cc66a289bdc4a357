//! The grammar of steps: tags, answers, and the program that a code step stands for.

/// Opens a block of code.
pub const CODE: &str = "<code>";
/// Ends a step of code.
pub const END_OF_STEP: &str = "<end_of_step>";
/// Ends a block of code.
pub const END_OF_CODE: &str = "<end_of_code>";
/// Opens what the code printed.
pub const OUTPUT: &str = "<output>";
/// Ends what the code printed.
pub const END_OF_OUTPUT: &str = "<end_of_output>";
/// Ends the answer.
pub const END_OF_ANSWER: &str = "<end_of_answer>";

/// Final answer of a branch whose code kept failing; the texts are those of the released files, byte for byte.
pub const TOO_MANY_CODE_ERRORS: &str = "Too many consecutive steps have code errors.";
/// Final answer of a branch that became too long.
pub const TOO_MANY_STEPS: &str = "Fail to sove the problem within limited steps.";
/// Final answer of a step that could not be read.
pub const NO_VALID_CHILD: &str = "Fail to generate parsable text for next step.";

/// The prompt of a question, in the released format.
pub fn prompt(question: &str) -> String {
    format!("<|user|>:\n{question}\n<|assistant|>: Let's think step by step and solve the problem with code.")
}

/// What a sampled text is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reading {
    /// A step of code, or a thought.
    Code,
    /// The end: the boxed answer.
    Answer(String),
    /// Nothing that can be continued.
    Malformed(&'static str),
}

/// Reads a sample with its stop string.
pub fn read(text: &str) -> Reading {
    if text.trim().is_empty() {
        return Reading::Malformed("an empty step");
    }
    if text.contains("boxed") {
        let answer = boxed_answer(text);
        return if answer.is_empty() { Reading::Malformed("an empty answer") } else { Reading::Answer(answer) };
    }
    if text.contains(END_OF_ANSWER) {
        return Reading::Malformed("an answer without a box");
    }
    Reading::Code
}

/// The boxed content of a text cut at the first full stop before a line end; the first `\text{}` is unwrapped, one final period dropped.
pub fn boxed_answer(text: &str) -> String {
    let cut = text.split(".\n").next().unwrap_or(text);
    let whole = cut.trim().strip_suffix('.').unwrap_or(cut.trim());
    let inside = last_box(whole).unwrap_or(whole);
    let mut answer = inside.trim().to_owned();
    if let Some(at) = answer.find("\\text{")
        && let Some(end) = answer[at..].find('}')
    {
        let content = answer[at + 6..at + end].replace("and", "");
        answer.replace_range(at..at + end + 1, &content);
    }
    answer.trim().to_owned()
}

fn last_box(text: &str) -> Option<&str> {
    let at = text.rfind("\\boxed")?;
    let open = at + text[at..].find('{')?;
    let mut depth = 0usize;
    for (i, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[open + 1..i]);
                }
            }
            _ => {}
        }
    }
    None
}

/// The program of a code step: the code of its ancestors since the last block was closed, and its own.
///
/// `ancestors` are the texts from the root to the parent.
pub fn program<'a>(ancestors: impl DoubleEndedIterator<Item = &'a str>, text: &str) -> String {
    let mut parts: Vec<&str> =
        ancestors.rev().take_while(|part| !part.contains(END_OF_CODE) && !part.contains(END_OF_OUTPUT)).collect();
    parts.reverse();
    parts.push(text);
    let joined = parts.concat().replace(END_OF_STEP, "");
    let mut kept = String::new();
    let mut inside = false;
    for line in joined.lines() {
        if line.trim() == CODE {
            inside = true;
            kept.push_str("# ========\n");
        } else if line.contains(END_OF_CODE) {
            if inside {
                let before = line.split(END_OF_CODE).next().unwrap_or("");
                kept.push_str(before);
                kept.push('\n');
            }
            inside = false;
        } else if inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if kept.trim().is_empty() { joined.replace(END_OF_CODE, "") } else { kept }
}
