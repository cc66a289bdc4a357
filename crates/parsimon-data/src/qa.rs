//! Questions and answers: RedStone's candidates, and what pages mark as such.

mod candidates;
mod choice;
mod pairs;

pub use candidates::{QaCandidate, qa_candidate};
pub use choice::{Choice, ChoiceOption, multiple_choice};
pub use pairs::{Pair, PairSource, pairs_of_lines, pairs_of_page};
