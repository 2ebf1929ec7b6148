//! Adapters with a head that is still to be trained.

use std::fs;

use bayeslora::low_level::formats::{Adapter, Head, TensorFile};
use serde_json::Value;

use super::adapter::{layer, small};
use super::assert_says;

fn untrained() -> Adapter {
    let mut adapter = small();
    adapter.head.trained = false;
    adapter
}

#[test]
fn its_values_stay_and_peft_sees_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    untrained().save_peft(path).unwrap();
    assert_eq!(Adapter::load_peft(path).unwrap(), untrained());
    assert_ne!(untrained().sha256().unwrap(), small().sha256().unwrap());
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(path.join(name)).unwrap()).unwrap()
    };
    assert_eq!(json("adapter_config.json")["modules_to_save"], Value::Null);
    // Earlier programs refuse this version.
    assert_eq!(json("bayeslora.json")["version"], 4);
    let weights = TensorFile::read(path.join("adapter_model.safetensors")).unwrap();
    assert!(weights.tensors.keys().all(|name| name.contains(".lora_")));
    assert!(
        untrained()
            .tensors()
            .tensors
            .keys()
            .all(|name| !name.starts_with("fc"))
    );

    // As after PEFT has loaded and saved it: an adapter without a classifier.
    fs::remove_file(path.join("bayeslora.json")).unwrap();
    let mut weights = weights;
    weights.metadata.clear();
    weights
        .write_atomic(path.join("adapter_model.safetensors"))
        .unwrap();
    assert_says(Adapter::load_peft(path), &["modules_to_save is empty"]);
    let base = Head {
        trained: false,
        ..small().head
    };
    let loaded = Adapter::load_peft_over(path, Some(&base)).unwrap();
    assert_eq!(loaded.head, base);
}

#[test]
fn lora_on_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut adapter = untrained();
    adapter.layers.push(layer("fc", [4, 2, 1], &[3, 1], true));
    assert_says(
        adapter.save_peft(dir.path()),
        &[
            "the adapter of `fc`",
            "never trained",
            "the base that it was trained on",
        ],
    );
}
