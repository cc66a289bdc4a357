//! Training with burn: Sigma language-model pre-training.
