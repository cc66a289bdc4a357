//! Reasoning by tree search: the vocabulary of rStar and rStar-Math.
