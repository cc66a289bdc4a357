//! Problems without their answers, and problems with them.
//!
//! A [`Problem`] has no field for the gold answer, and what searches at test time takes a `&Problem`: gold cannot leak into generation,
//! selection or discrimination. Only grading and the training-time search take a [`LabeledProblem`].

mod read;

pub use read::{Format, read_problems};

/// What a search sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// A name that is unique in its file.
    pub id: String,
    /// The question.
    pub text: String,
}

/// A problem and its gold answer, for grading and for training.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabeledProblem {
    /// What a search sees.
    pub problem: Problem,
    /// The gold answer, or the worked solution that contains it; `None` where the file has none.
    pub gold: Option<String>,
}
