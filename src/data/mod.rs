//! Image sets: readers, the embedded sample, splits.
