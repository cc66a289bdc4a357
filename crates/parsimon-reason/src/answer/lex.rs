//! Tokens of normalized LaTeX and plain formulas.

use super::expr::Relation;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// Digits with at most one point; thousands commas are gone.
    Number(String),
    Letter(char),
    /// `\name`, or a plain word that is known as a function.
    Command(String),
    Symbol(char),
    Relation(Relation),
}

/// A text that is not a formula, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NotMath(pub(super) &'static str);

const WORDS: &[&str] = &[
    "pmatrix",
    "bmatrix",
    "vmatrix",
    "Bmatrix",
    "matrix",
    "smallmatrix",
    "array",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "log",
    "ln",
    "exp",
    "pi",
    "infty",
    "infinity",
    "inf",
    "arcsin",
    "arccos",
    "arctan",
];

pub(super) fn lex(text: &str) -> Result<Vec<Token>, NotMath> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut depth) = (0, 0usize);
    while at < chars.len() {
        let c = chars[at];
        match c {
            ' ' | '\t' => at += 1,
            '0'..='9' | '.' => {
                if c == '.' && !chars.get(at + 1).is_some_and(char::is_ascii_digit) {
                    return Err(NotMath("a full stop inside the answer"));
                }
                let (number, next) = number(&chars, at, depth == 0);
                tokens.push(Token::Number(number));
                at = next;
            }
            '\\' => at = command(&chars, at + 1, &mut tokens)?,
            'a'..='z' | 'A'..='Z' => at = word(&chars, at, &mut tokens)?,
            '<' | '>' | '=' | '!' => at = relation(&chars, at, &mut tokens),
            '(' | '[' | '{' => {
                depth += 1;
                tokens.push(Token::Symbol(c));
                at += 1;
            }
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                tokens.push(Token::Symbol(c));
                at += 1;
            }
            '*' if chars.get(at + 1) == Some(&'*') => {
                tokens.push(Token::Symbol('^'));
                at += 2;
            }
            '+' | '-' | '*' | '/' | '^' | '_' | ',' | '|' | '\'' | '&' => {
                tokens.push(Token::Symbol(c));
                at += 1;
            }
            _ => return Err(NotMath("a character that no formula has")),
        }
    }
    Ok(tokens)
}

fn number(chars: &[char], start: usize, thousands: bool) -> (String, usize) {
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let (mut text, mut at, mut point) = (String::new(), start, false);
    while at < chars.len() {
        let grouped = thousands && !point && chars[at] == ',' && text.len() <= 3 * (1 + text.len() / 3);
        if digit(at) {
            text.push(chars[at]);
        } else if grouped
            && at - start <= 3 + text.len()
            && digit(at + 1)
            && digit(at + 2)
            && digit(at + 3)
            && !digit(at + 4)
            && group_before(chars, start, at)
        {
            // The comma of a group of thousands.
        } else if chars[at] == '.' && !point && (digit(at + 1) || chars.get(at + 1) == Some(&'\\')) {
            point = true;
            text.push('.');
        } else {
            break;
        }
        at += 1;
    }
    // An exponent: 1.5e-3.
    if matches!(chars.get(at), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(at + 1), Some('+' | '-')));
        if digit(at + 1 + sign) {
            text.push('e');
            text.extend(chars[at + 1..].iter().take(sign));
            at += 1 + sign;
            while digit(at) {
                text.push(chars[at]);
                at += 1;
            }
        }
    }
    (text, at)
}

/// Whether one to three digits stand between `comma` and the previous comma or the start.
fn group_before(chars: &[char], start: usize, comma: usize) -> bool {
    let len = chars[start..comma].iter().rev().take_while(|c| c.is_ascii_digit()).count();
    (1..=3).contains(&len) && (len == 3 || comma - len == start)
}

fn command(chars: &[char], at: usize, tokens: &mut Vec<Token>) -> Result<usize, NotMath> {
    let name: String = chars[at.min(chars.len())..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
    if name.is_empty() {
        return match chars.get(at) {
            Some('{') => {
                tokens.push(Token::Command("{".into()));
                Ok(at + 1)
            }
            Some('}') => {
                tokens.push(Token::Command("}".into()));
                Ok(at + 1)
            }
            Some('|') => {
                tokens.push(Token::Symbol('|'));
                Ok(at + 1)
            }
            _ => Err(NotMath("a backslash without a command")),
        };
    }
    let next = at + name.len();
    let relation = match name.as_str() {
        "le" | "leq" | "leqslant" => Some(Relation::Le),
        "ge" | "geq" | "geqslant" => Some(Relation::Ge),
        "lt" => Some(Relation::Lt),
        "gt" => Some(Relation::Gt),
        "ne" | "neq" => Some(Relation::Ne),
        _ => None,
    };
    tokens.push(relation.map_or(Token::Command(name), Token::Relation));
    Ok(next)
}

fn word(chars: &[char], at: usize, tokens: &mut Vec<Token>) -> Result<usize, NotMath> {
    let run: String = chars[at..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
    if WORDS.contains(&run.as_str()) {
        tokens.push(Token::Command(if run.starts_with("inf") { "infty".into() } else { run.clone() }));
        return Ok(at + run.len());
    }
    if run.len() > 2 && run.chars().any(|c| c.is_ascii_lowercase()) {
        return Err(NotMath("a word"));
    }
    tokens.extend(run.chars().map(Token::Letter));
    Ok(at + run.len())
}

fn relation(chars: &[char], at: usize, tokens: &mut Vec<Token>) -> usize {
    let pair = chars.get(at + 1) == Some(&'=');
    let (token, len) = match (chars[at], pair) {
        ('<', true) => (Token::Relation(Relation::Le), 2),
        ('>', true) => (Token::Relation(Relation::Ge), 2),
        ('!', true) => (Token::Relation(Relation::Ne), 2),
        ('=', true) => (Token::Relation(Relation::Eq), 2),
        ('<', false) => (Token::Relation(Relation::Lt), 1),
        ('>', false) => (Token::Relation(Relation::Gt), 1),
        ('=', false) => (Token::Relation(Relation::Eq), 1),
        (other, _) => (Token::Symbol(other), 1),
    };
    tokens.push(token);
    at + len
}
