//! Bytes to plain structs and back.
