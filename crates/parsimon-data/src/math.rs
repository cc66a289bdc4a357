//! Formulas: MathML to TeX, what makes a formula valid, and RedStone's test for mathematical text.

mod candidates;
pub(crate) mod delimited;
mod mathml;
mod sources;
mod symbols;
mod validate;

pub use candidates::{MathCandidate, math_candidate};
pub use mathml::{mathml_fragment, to_latex};
pub(crate) use sources::{Delimiters, formula_of_node, is_formula_node, is_rendered_copy};
pub use validate::{InvalidFormula, validate};

#[cfg(test)]
mod tests;
