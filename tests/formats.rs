//! Bytes to plain structs and back: what survives a round trip, and what each bad input is told.

#[path = "formats/adapter.rs"]
mod adapter;
#[path = "formats/backbone.rs"]
mod backbone;
#[path = "formats/foreign.rs"]
mod foreign;
#[path = "formats/manifest.rs"]
mod manifest;
#[path = "formats/pytorch.rs"]
mod pytorch;
#[path = "formats/run_dir.rs"]
mod run_dir;
#[path = "formats/tensors.rs"]
mod tensors;
mod torch_save;
#[path = "formats/transformers.rs"]
mod transformers;
#[path = "formats/untrained.rs"]
mod untrained;

use bayeslora::low_level::formats::FormatError;

/// Bytes of a safetensors file, independent of the writer under test.
fn safetensors(entries: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in entries {
        let start = data.len();
        data.extend_from_slice(bytes);
        let offsets = [start, data.len()];
        header.insert(
            name.to_string(),
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}),
        );
    }
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], &header, &data].concat()
}

/// The message must be one sentence with all of `parts` in it.
#[track_caller]
fn assert_says<T>(result: Result<T, FormatError>, parts: &[&str]) {
    let message = result.err().expect("an error").to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(!message.contains('\n'), "more than a sentence: {message}");
}
