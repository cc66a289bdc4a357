//! Finding the answer in free text: the last boxes, what follows "answer is", the last formula, the last number.

/// The text of the answer in a reply, or `None` where there is nothing to read.
///
/// The order is: the last group of adjacent `\boxed{}` or `\fbox{}`; the text after the last "answer is" (any case) up to the end of
/// its sentence; the last formula in `$$`, `\[ \]`, `\( \)` or `$`, unless a number stands after it; the last number. A text without any
/// of these marks is the answer itself where it is short.
///
/// ```
/// use parsimon_reason::answer::extract;
/// assert_eq!(extract("so we get $x = \\boxed{\\frac{1}{2}}$."), Some("\\frac{1}{2}".into()));
/// assert_eq!(extract("The answer is 1,200 dollars. Well done."), Some("1,200 dollars".into()));
/// assert_eq!(extract("  "), None);
/// ```
pub fn extract(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if let Some(boxed) = boxed(text) {
        return Some(boxed);
    }
    if let Some(said) = after_marker(text) {
        return extract_unmarked(said);
    }
    extract_unmarked(text)
}

fn extract_unmarked(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(formula) = formulas(text) {
        return Some(formula);
    }
    let words = text.split_whitespace().filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() > 2).count();
    if words > 2 && !text.contains('\\') {
        last_number(text).map(str::to_owned)
    } else {
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// What stands after the last "answer is", up to the end of the sentence.
pub(crate) fn after_marker(text: &str) -> Option<&str> {
    // ASCII lowering keeps the byte positions.
    let at = text.to_ascii_lowercase().rfind("answer is")? + "answer is".len();
    let rest = text[at..].trim_start_matches([':', ' ', '\n']);
    let end = [rest.find(". "), rest.find(".\n"), rest.find('\n')].into_iter().flatten().min().unwrap_or(rest.len());
    let said = rest[..end].trim().trim_end_matches('.');
    (!said.is_empty()).then_some(said)
}

/// The end of the group that opens at byte `open` of `text` (a brace), or the end of the text where it is not closed.
fn group_end(text: &str, open: usize) -> usize {
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(open) {
        match byte {
            b'{' if !escaped => depth += 1,
            b'}' if !escaped => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    text.len()
}

/// The contents of the last `\boxed`, joined with those of the boxes just before it where only "and", commas and names lie between.
pub(crate) fn boxed(text: &str) -> Option<String> {
    let mut boxes: Vec<(usize, usize, &str)> = Vec::new();
    let mut from = 0;
    while let Some((at, name)) =
        ["\\boxed", "\\fbox"].into_iter().filter_map(|name| text[from..].find(name).map(|at| (from + at, name))).min()
    {
        let after = at + name.len();
        let gap = text[after..].len() - text[after..].trim_start().len();
        if text[after + gap..].starts_with('{') {
            let end = group_end(text, after + gap);
            boxes.push((at, (end + 1).min(text.len()), &text[after + gap + 1..end]));
            from = end.max(after);
        } else {
            from = after;
        }
    }
    let (mut start, _, last) = boxes.pop()?;
    let mut contents = vec![last.trim()];
    while let Some((at, end, content)) = boxes.pop() {
        if !is_joint(&text[end..start]) {
            break;
        }
        contents.push(content.trim());
        start = at;
    }
    contents.reverse();
    Some(contents.join(", "))
}

/// Whether the text between two boxes joins them into one list.
fn is_joint(between: &str) -> bool {
    if between.len() > 80 {
        return false;
    }
    let mut rest = between.to_owned();
    while let Some(at) = rest.find("\\text") {
        let Some(open) = rest[at..].find('{') else { return false };
        let end = group_end(&rest, at + open);
        rest.replace_range(at..(end + 1).min(rest.len()), " ");
    }
    for mark in ["\\qquad", "\\quad", "\\(", "\\)", "\\[", "\\]", "$", ",", ";", "and", "or", "\\ "] {
        rest = rest.replace(mark, " ");
    }
    let rest = rest.trim();
    // What may be left is the name of the next value, as in `y_2 =`.
    rest.is_empty() || (rest.ends_with('=') && rest.split_whitespace().count() <= 2 && rest.len() <= 12)
}

/// A formula of the text: where it opens, where it ends, and what it contains.
fn segments(text: &str) -> Vec<(usize, usize, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let rest = &text[from..];
        let open = [("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")]
            .into_iter()
            .filter_map(|(open, close)| rest.find(open).map(|at| (at, open, close)))
            .min_by_key(|(at, open, _)| (*at, usize::MAX - open.len()));
        let Some((at, open, close)) = open else { break };
        let inside = from + at + open.len();
        if open == "$" && text[..from + at].ends_with('\\') {
            from = inside;
            continue;
        }
        let Some(len) = text[inside..].find(close) else {
            from = inside;
            continue;
        };
        found.push((from + at, inside + len + close.len(), &text[inside..inside + len]));
        from = inside + len + close.len();
    }
    found
}

/// The last formula; several where only "and", "or" and commas lie between them; a number that stands after it.
fn formulas(text: &str) -> Option<String> {
    let found = segments(text);
    let (mut start, end, last) = *found.last()?;
    let tail = &text[end..];
    if let Some(number) = last_number(tail) {
        return Some(number.to_owned());
    }
    let mut parts = vec![last.trim()];
    for (at, end, content) in found.iter().rev().skip(1) {
        let between = text[*end..start].trim();
        if !matches!(between, "and" | "or" | "," | ", and" | ", or") {
            break;
        }
        parts.push(content.trim());
        start = *at;
    }
    parts.reverse();
    Some(parts.join(", "))
}

/// The last number of a text that is not a part of a word: digits with commas and a point, a sign, a denominator.
pub(crate) fn last_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let mut found = None;
    let mut at = 0;
    while at < bytes.len() {
        let starts =
            bytes[at].is_ascii_digit() || (bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
        if !starts {
            at += 1;
            continue;
        }
        let mut end = number_end(bytes, at);
        if bytes.get(end) == Some(&b'/') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
            end = number_end(bytes, end + 1);
        }
        let word = at > 0 && (bytes[at - 1].is_ascii_alphabetic() || bytes[at - 1] == b'_');
        if !word {
            let signed = at > 0 && bytes[at - 1] == b'-' && (at < 2 || !bytes[at - 2].is_ascii_alphanumeric());
            found = Some(&text[at - usize::from(signed)..end]);
        }
        at = end;
    }
    found
}

fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start;
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut point = false;
    while end < bytes.len() {
        let group =
            bytes[end] == b',' && digit(end + 1) && digit(end + 2) && digit(end + 3) && !digit(end + 4) && !point;
        if digit(end) || group {
            end += 1;
        } else if bytes[end] == b'.' && !point && digit(end + 1) {
            point = true;
            end += 1;
        } else {
            break;
        }
    }
    end.max(start + 1)
}
