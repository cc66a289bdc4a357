//! The five actions by which rStar's search grows a tree.

use std::fmt;
use std::str::FromStr;

use parsimon_core::Diagnose;

/// What the search may ask the model to do next at a node (PAPER(rstar §3.2)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Action {
    /// A1: propose one thought.
    OneThought,
    /// A2: propose the remaining thoughts up to the answer.
    Finish,
    /// A3: propose the next sub-question with its answer.
    SubQuestion,
    /// A4: answer the last sub-question again.
    ReAnswer,
    /// A5: rephrase the question.
    Rephrase,
}

impl Action {
    /// All actions in the paper's order.
    pub const ALL: [Action; 5] =
        [Action::OneThought, Action::Finish, Action::SubQuestion, Action::ReAnswer, Action::Rephrase];

    /// The paper's label, `A1` to `A5`.
    pub fn label(self) -> &'static str {
        match self {
            Action::OneThought => "A1",
            Action::Finish => "A2",
            Action::SubQuestion => "A3",
            Action::ReAnswer => "A4",
            Action::Rephrase => "A5",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Action {
    type Err = ReasonError;

    fn from_str(label: &str) -> Result<Self, ReasonError> {
        let found = Action::ALL.into_iter().find(|action| action.label() == label);
        found.ok_or_else(|| ReasonError::UnknownAction { given: label.to_owned() })
    }
}

/// A name cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum ReasonError {
    #[error("unknown action `{given}`, expected A1 to A5")]
    UnknownAction { given: String },
}

impl Diagnose for ReasonError {}

#[cfg(test)]
mod tests;
