//! Scores of probabilistic predictions: pure functions on slices.
