//! RedStone's tests for pages with questions, before any model sees them.

use std::sync::LazyLock;

use regex::Regex;

use crate::text::char_count;

fn keywords(words: &[&str]) -> Regex {
    let alternatives: Vec<String> =
        words.iter().map(|word| format!("[^a-zA-Z]{}[^a-zA-Z]", regex::escape(word))).collect();
    Regex::new(&format!("(?s:{})", alternatives.join("|"))).expect("constants")
}

static QUESTIONS: LazyLock<Regex> = LazyLock::new(|| {
    keywords(&[
        "q&a",
        "q & a",
        "q:",
        "que:",
        "question:",
        "quiz:",
        "exam:",
        "examination:",
        "probe:",
        "request:",
        "challenge:",
        "test:",
        "query:",
        "survey:",
        "what",
        "where",
        "why",
        "when",
        "who",
        "whoes",
        "how",
    ])
});
static ANSWERS: LazyLock<Regex> = LazyLock::new(|| {
    keywords(&[
        "q&a",
        "q & a",
        "a:",
        "ans:",
        "answer:",
        "solution:",
        "reply:",
        "response:",
        "result:",
        "outcome:",
        "explanation:",
        "conclusion:",
        "finding:",
        "assertion:",
        "statement:",
        "clarification:",
    ])
});

/// What the tests find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QaCandidate {
    /// The text may hold multiple-choice questions.
    pub mcq_rule: bool,
    /// Words of questions.
    pub q_hits: usize,
    /// Words of answers.
    pub a_hits: usize,
    /// The text has the form of good questions and answers.
    pub quality: bool,
    /// Something is left to fill in.
    pub fill_in: bool,
}

impl QaCandidate {
    /// Whether a model is asked about open questions. `PAPER(redstone §3.8)`
    pub fn is_open_question(&self) -> bool {
        self.q_hits >= 2 && self.a_hits >= 2
    }
}

/// Looks for questions in a text.
pub fn qa_candidate(text: &str) -> QaCandidate {
    let lower = text.to_lowercase();
    QaCandidate {
        mcq_rule: has_choices(&lower),
        q_hits: QUESTIONS.find_iter(&lower).count(),
        a_hits: ANSWERS.find_iter(&lower).count(),
        quality: has_quality(text),
        fill_in: ["___", "()", "..."].iter().any(|blank| text.contains(blank)),
    }
}

/// The phrase, and all four markers of one kind anywhere.
fn has_choices(lower: &str) -> bool {
    const LABELS: [[&str; 4]; 3] = [["a", "b", "c", "d"], ["1", "2", "3", "4"], ["i", "ii", "iii", "iv"]];
    const FORMS: [(&str, &str); 4] = [("", "."), ("", ")"), ("\n", " "), (">", "<")];
    lower.contains("choice question")
        && LABELS.iter().any(|labels| {
            FORMS
                .iter()
                .any(|(before, behind)| labels.iter().all(|label| lower.contains(&format!("{before}{label}{behind}"))))
        })
}

fn has_quality(text: &str) -> bool {
    let chars = char_count(text);
    if !(256..=16_384).contains(&chars) {
        return false;
    }
    let lengths: Vec<usize> = text.split('\n').map(char_count).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if !(129..=2048).contains(&longest) || !(4..=256).contains(&lengths.len()) {
        return false;
    }
    let share = |what: &str| text.matches(what).count() as f64 / chars as f64;
    if share(" ") > 0.33 || ["  ", "\t", ".", "-", "#", "|", ","].iter().any(|what| share(what) > 0.1) {
        return false;
    }
    lengths.iter().filter(|&&length| length <= 32).count() as f64 / lengths.len() as f64 <= 0.67
}
