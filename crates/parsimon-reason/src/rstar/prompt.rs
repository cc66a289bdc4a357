//! The prompts of the actions. The examples are our own texts, in files beside this one, and can be replaced.

use super::record::Record;

/// The few-shot texts of the actions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prompts {
    /// Examples of questions that are decomposed into sub-questions.
    pub decompose: String,
    /// How many of them there are: the next question has the number after it.
    pub decompose_examples: usize,
    /// Examples of answers in full.
    pub chain: String,
    /// Examples of questions as lists of conditions.
    pub rephrase: String,
}

impl Default for Prompts {
    fn default() -> Self {
        Prompts {
            decompose: include_str!("../prompts/decompose.txt").trim_end().to_owned(),
            decompose_examples: 3,
            chain: include_str!("../prompts/chain.txt").trim_end().to_owned(),
            rephrase: include_str!("../prompts/rephrase.txt").trim_end().to_owned(),
        }
    }
}

/// What the rephrased question begins with; it is put back in front of the model's text.
pub(super) const REPHRASED: &str = "Given a list of conditions, please answer the question. Condition 1:";

impl Prompts {
    fn number(&self) -> usize {
        self.decompose_examples + 1
    }

    /// A3: asks for the next sub-question; the prompt and its stop strings.
    pub fn ask(&self, question: &str, record: &Record) -> (String, Vec<String>) {
        let (e, n) = (self.number(), record.subquestions() + 1);
        let prompt =
            format!("{}\n\nQuestion {e}: {question}\n{}Question {e}.{n}:", self.decompose, subquestions(record, e).0);
        (prompt, vec!["\n".into(), "Answer".into(), format!("Answer {e}.{n}")])
    }

    /// A3: asks for the answer of a sub-question.
    pub fn answer(&self, question: &str, record: &Record, subquestion: &str) -> (String, Vec<String>) {
        let (e, n) = (self.number(), record.subquestions() + 1);
        let (prompt, _) = self.ask(question, record);
        (
            format!("{prompt} {}\nAnswer {e}.{n}:", subquestion.trim()),
            vec!["\n".into(), format!("Question {e}.{}", n + 1)],
        )
    }

    fn instruct(&self, instruction: &str, response: &str) -> String {
        format!("{}\n\n### Instruction:\n{instruction}\n\n### Response:\n{response}", self.chain)
    }

    /// A2 and A4: the whole solution of an instruction, after an opening.
    pub fn solve(&self, instruction: &str, opening: &str) -> (String, Vec<String>) {
        let response = if opening.is_empty() { "Let's think step by step." } else { opening };
        (self.instruct(instruction, response), vec!["\n\n".into(), "###".into()])
    }

    /// A1: the next thought.
    pub fn think(&self, question: &str, record: &Record) -> (String, Vec<String>) {
        let mut steps = answers_as_steps(record).0;
        let first = record.subquestions() as u32;
        let mut next = first + 1;
        for (_, thought) in record.thoughts() {
            steps.push_str(&format!("Step {next}: {}\n", thought.trim()));
            next += 1;
        }
        let response = format!("Let's think step by step.\n{steps}Step {next}:");
        (self.instruct(question, &response), vec!["\n".into()])
    }

    /// A5: the question as a list of conditions.
    pub fn rephrase(&self, question: &str) -> (String, Vec<String>) {
        (
            format!("{}\n\nOriginal Question: {question}\nRephrased Question: {REPHRASED}", self.rephrase),
            vec!["\n".into()],
        )
    }
}

/// `Question e.i: ...\nAnswer e.i: ...\n` for every sub-question, and the number of the next.
pub fn subquestions(record: &Record, e: usize) -> (String, usize) {
    let mut text = String::new();
    for (number, entry) in record.entries.iter().skip(1) {
        let question = entry.subquestion.as_deref().unwrap_or("");
        let answer = entry.subanswer.as_ref().map_or("", |answer| &answer.text);
        text.push_str(&format!("Question {e}.{number}: {}\nAnswer {e}.{number}: {}\n", question.trim(), answer.trim()));
    }
    (text, record.subquestions() + 1)
}

/// The answers of the sub-questions as steps, and the number of the next.
pub fn answers_as_steps(record: &Record) -> (String, usize) {
    let mut text = String::new();
    for (number, entry) in record.entries.iter().skip(1) {
        let answer = entry.subanswer.as_ref().map_or("", |answer| &answer.text);
        let answer = answer.split("The answer is").next().unwrap_or("").trim();
        text.push_str(&format!("Step {number}: {answer}\n"));
    }
    (text, record.subquestions() + 1)
}

/// The hint of a finishing action: what was found on the path.
pub fn hint(record: &Record) -> String {
    let thoughts: Vec<&str> = record.thoughts().map(|(_, thought)| thought).collect();
    if !thoughts.is_empty() {
        return format!("Hint: {}", thoughts.join(" "));
    }
    let lines: Vec<String> = record
        .entries
        .iter()
        .skip(1)
        .map(|(number, entry)| {
            let question = entry.subquestion.as_deref().unwrap_or("");
            let answer = entry.subanswer.as_ref().map_or("", |answer| &answer.text);
            format!("Hint {number}: {} {}", question.trim(), answer.trim())
        })
        .collect();
    lines.join("\n")
}

/// Context and last sentence of a question; a point between two digits ends no sentence.
pub fn split_question(question: &str) -> (String, String) {
    let question = question.trim();
    let bytes = question.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let end = (0..bytes.len().saturating_sub(1))
        .rev()
        .find(|at| bytes[*at] == b'.' && !(digit(at.checked_sub(1)) && digit(Some(at + 1))));
    match end {
        Some(at) => (question[..=at].trim().to_owned(), question[at + 1..].trim().to_owned()),
        None => (String::new(), question.to_owned()),
    }
}

/// Whether a sub-question is the question itself: it says so, or contains its last sentence.
pub fn is_last_subquestion(question: &str, subquestion: &str) -> bool {
    let (_, last) = split_question(question);
    subquestion.contains("Now we can answer")
        || !last.is_empty() && subquestion.to_lowercase().contains(&last.to_lowercase())
}

/// Whether a thought ends the solution.
pub fn is_last_thought(thought: &str) -> bool {
    thought.to_lowercase().contains("answer is")
}
