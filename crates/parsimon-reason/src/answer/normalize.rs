//! One spelling for what LaTeX and plain text write in many ways: spaces, units, currency, commas, Unicode signs.

/// Replacements that hold everywhere, in this order.
const SPELLINGS: &[(&str, &str)] = &[
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("\\dbinom", "\\binom"),
    ("\\tbinom", "\\binom"),
    (",\\! ", ""),
    (",\\!", ""),
    ("\\!", ""),
    ("{,}", ","),
    ("\\,", " "),
    ("\\;", " "),
    ("\\:", " "),
    ("\\ ", " "),
    ("~", " "),
    ("\\qquad", " "),
    ("\\quad", " "),
    ("\\displaystyle", ""),
    ("\\limits", ""),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\circ", ""),
    ("\\degree", ""),
    ("°", ""),
    ("\\%", ""),
    ("%", ""),
    ("\\$", ""),
    ("$", ""),
    ("€", ""),
    ("£", ""),
    ("\\(", ""),
    ("\\)", ""),
    ("\\[", ""),
    ("\\]", ""),
    ("−", "-"),
    ("–", "-"),
    ("×", "\\times "),
    ("·", "\\cdot "),
    ("÷", "/"),
    ("≤", "\\le "),
    ("≥", "\\ge "),
    ("≠", "\\ne "),
    ("∞", "\\infty "),
    ("π", "\\pi "),
    ("∪", "\\cup "),
    ("±", "\\pm "),
    ("∈", "\\in "),
    ("√", "\\sqrt "),
    ("²", "^2"),
    ("³", "^3"),
    ("\\lvert", "|"),
    ("\\rvert", "|"),
    ("\\vert", "|"),
    ("\\mid", "|"),
    ("\\langle", "("),
    ("\\rangle", ")"),
    ("\\lbrace", "\\{"),
    ("\\rbrace", "\\}"),
    ("\\lbrack", "["),
    ("\\rbrack", "]"),
    ("\\operatorname", "\\"),
    (";", ","),
];

/// Commands whose argument is prose.
const TEXT_COMMANDS: &[&str] = &[
    "\\textbf", "\\textit", "\\textrm", "\\texttt", "\\textsf", "\\text", "\\mbox", "\\mathrm", "\\mathbf", "\\mathit",
    "\\rm", "\\bf",
];

/// Plain words that follow a number as its unit.
const UNITS: &[&str] = &[
    "percentage",
    "percent",
    "pct",
    "degrees",
    "degree",
    "dollars",
    "dollar",
    "cents",
    "cent",
    "yuan",
    "euros",
    "euro",
    "meters",
    "meter",
    "metres",
    "cm",
    "mm",
    "km",
    "kg",
    "feet",
    "foot",
    "inches",
    "inch",
    "miles",
    "mile",
    "mph",
    "hours",
    "hour",
    "minutes",
    "minute",
    "seconds",
    "second",
    "days",
    "day",
    "weeks",
    "years",
    "year",
    "units",
    "unit",
    "square",
    "cubic",
    "people",
    "ways",
    "points",
    "pounds",
    "apples",
    "students",
    "m",
];

/// The answer in one spelling.
pub(crate) fn normalize(raw: &str) -> String {
    let mut text: String = raw.trim().chars().map(fold_width).collect();
    if !text.contains("\\begin") {
        text = collapse_backslashes(&text);
    } else {
        // The end of a row, before "backslash blank" is read as a space.
        text = text.replace("\\\\", "\\cr ");
    }
    text = strip_command(&text, "\\left");
    text = strip_command(&text, "\\right");
    for (from, to) in SPELLINGS {
        if text.contains(from) {
            text = text.replace(from, to);
        }
    }
    text = unwrap_texts(&text);
    text = join_words(&text);
    for cut in ["\\approx", "≈", "\\ldots \\infty"] {
        if let Some(at) = text.find(cut).filter(|at| *at > 0) {
            text.truncate(at);
        }
    }
    if let Some(at) = text.find("\\in ") {
        text = text[at + 4..].to_owned();
    }
    let text = text.trim().trim_end_matches(['.', ':', ',']).trim();
    let text = drop_unit(text);
    if spaced_thousands(text) { text.replace(' ', "") } else { text.to_owned() }
}

fn fold_width(c: char) -> char {
    match c {
        '\u{ff10}'..='\u{ff19}' => char::from(b'0' + (c as u32 - 0xff10) as u8),
        '，' => ',',
        '（' => '(',
        '）' => ')',
        '\u{a0}' | '\u{2009}' | '\u{202f}' | '\n' | '\r' => ' ',
        other => other,
    }
}

/// `\\frac` of a doubly escaped text is `\frac`.
fn collapse_backslashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'\\') {
            let mut ahead = chars.clone();
            ahead.next();
            if ahead.peek().is_some_and(|c| c.is_ascii_alphabetic() || "(){}[]".contains(*c)) {
                continue;
            }
        }
        out.push(c);
    }
    out
}

/// Removes a command that stands before a bracket, and the dot of an invisible one.
fn strip_command(text: &str, command: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(command) {
        let after = &rest[at + command.len()..];
        let keep = after.starts_with(|c: char| c.is_ascii_alphabetic());
        out.push_str(&rest[..at + if keep { command.len() } else { 0 }]);
        rest = if keep { after } else { after.strip_prefix('.').unwrap_or(after) };
    }
    out.push_str(rest);
    out
}

/// Replaces `\text{...}`: a conjunction by a comma, a short name by itself, everything by itself where nothing else is left, and a unit
/// (with its exponent) by nothing.
fn unwrap_texts(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let next = TEXT_COMMANDS
            .iter()
            .filter_map(|name| rest.find(name).map(|at| (at, usize::MAX - name.len(), name.len())))
            .min();
        let Some((at, _, len)) = next else { break };
        let after = rest[at + len..].trim_start();
        let Some(body) = after.strip_prefix('{') else {
            // A command without braces, such as `\rm`, has no argument to unwrap.
            out.push_str(&rest[..at]);
            rest = &rest[at + len..];
            continue;
        };
        let end = body.find('}').unwrap_or(body.len());
        let content = body[..end].trim();
        out.push_str(&rest[..at]);
        rest = body.get(end + 1..).unwrap_or("");
        let word = content.trim_matches([',', ' ']);
        let has_more = out.chars().chain(rest.chars()).any(|c| c.is_ascii_digit() || c.is_ascii_alphabetic());
        if matches!(word, "and" | "or" | "And" | "Or") {
            out.push(',');
        } else if word.chars().count() <= 3 && word.chars().any(char::is_alphabetic) && !UNITS.contains(&word)
            || !has_more
        {
            out.push_str(word);
        } else {
            // A unit: its exponent goes with it.
            let bare = rest.trim_start();
            if let Some(power) = bare.strip_prefix('^') {
                let skip = if power.starts_with('{') {
                    power.find('}').map_or(power.len(), |end| end + 1)
                } else {
                    power.len().min(1)
                };
                rest = &power[skip..];
            }
            out.push(' ');
        }
    }
    out.push_str(rest);
    out
}

/// Replaces the words "and" and "or" between values by commas.
fn join_words(text: &str) -> String {
    let mut out = text.to_owned();
    for word in ["and", "or"] {
        let mut from = 0;
        while let Some(at) = out[from..].find(word).map(|at| from + at) {
            let before = out[..at].chars().next_back();
            let after = out[at + word.len()..].chars().next();
            let joins = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_lowercase() && c != '\\');
            let prose = out[..at].trim_end().ends_with(|c: char| c.is_ascii_alphabetic())
                && before == Some(' ')
                && out[..at].split_whitespace().next_back().is_some_and(|word| word.len() > 2 && !word.contains('\\'));
            if joins(before) && joins(after) && at > 0 && !prose {
                out.replace_range(at..at + word.len(), ",");
                from = at + 1;
            } else {
                from = at + word.len();
            }
        }
    }
    // "19, 46, and 82" leaves two commas.
    while let Some(at) = out.find(",  ,").or_else(|| out.find(", ,")).or_else(|| out.find(",,")) {
        let end = out[at + 1..].find(',').map_or(out.len(), |next| at + 1 + next);
        out.replace_range(at..end, "");
    }
    out
}

/// Drops plain unit words after a number.
fn drop_unit(text: &str) -> &str {
    let mut text = text;
    loop {
        let trimmed = text.trim_end_matches("^2").trim_end_matches("^3");
        let unit = UNITS.iter().find(|unit| {
            trimmed.strip_suffix(**unit).is_some_and(|head| {
                let bare = head.trim_end();
                let spaced = bare.len() < head.len() || unit.len() > 1;
                spaced && bare.ends_with(|c: char| c.is_ascii_digit() || c == '}' || c == ')') && !bare.contains('=')
                    || (bare.len() < head.len() && UNITS.iter().any(|other| bare.ends_with(other)))
            })
        });
        match unit {
            Some(unit) => text = trimmed[..trimmed.len() - unit.len()].trim_end(),
            None => return text,
        }
    }
}

/// Whether a text is one number whose thousands are separated by spaces.
fn spaced_thousands(text: &str) -> bool {
    let mut groups = text.split(' ');
    let first = groups.next().unwrap_or("");
    let rest: Vec<&str> = groups.collect();
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    !rest.is_empty()
        && (1..=3).contains(&first.len())
        && digits(first)
        && rest.iter().all(|group| group.len() == 3 && digits(group))
}

/// The form in which texts are compared: letters and digits, lower case where it is a word.
pub(crate) fn text_key(normalized: &str) -> String {
    let key: String = normalized.chars().filter(|c| !c.is_whitespace() && !"{}$\\".contains(*c)).collect();
    let letters = key.trim_matches(['(', ')', '.']);
    if letters.chars().count() > 1 { letters.to_lowercase() } else { letters.to_owned() }
}
