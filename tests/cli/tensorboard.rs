//! `train --tensorboard`: files as TensorBoard's own reader has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::bayeslora;

/// CRC-32C bit by bit, masked as TFRecord does.
fn masked_crc(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(8);
        let (crc, rest) = rest.split_at(4);
        assert_eq!(crc, masked_crc(length).to_le_bytes());
        let (content, rest) =
            rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let (crc, rest) = rest.split_at(4);
        assert_eq!(crc, masked_crc(content).to_le_bytes());
        all.push(content.to_vec());
        bytes = rest;
    }
    all
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// Fields of a message by number: integers as eight bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                all.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            2 => varint(&mut bytes) as usize,
            other => panic!("wire type {other}"),
        };
        all.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    all
}

fn field(message: &[u8], number: u64) -> Option<Vec<u8>> {
    let found = fields(message).into_iter().find(|(n, _)| *n == number);
    found.map(|(_, bytes)| bytes)
}

/// Step and values of each epoch.
fn epochs(folder: &Path) -> Vec<(u64, BTreeMap<String, f32>)> {
    let files: Vec<_> = fs::read_dir(folder).unwrap().collect();
    let [file] = &files[..] else {
        panic!("one file");
    };
    let file = file.as_ref().unwrap();
    assert!(
        file.file_name()
            .to_str()
            .unwrap()
            .starts_with("events.out.tfevents.")
    );
    let records = records(&fs::read(file.path()).unwrap());
    assert_eq!(field(&records[0], 3).unwrap(), b"brain.Event:2");
    let epoch = |record: &Vec<u8>| {
        let step = u64::from_le_bytes(field(record, 2).unwrap().try_into().unwrap());
        let values = fields(&field(record, 5).unwrap())
            .into_iter()
            .map(|(number, value)| {
                assert_eq!(number, 1);
                let tag = String::from_utf8(field(&value, 1).unwrap()).unwrap();
                let value = field(&value, 2).map_or([0; 4], |bytes| bytes.try_into().unwrap());
                (tag, f32::from_le_bytes(value))
            });
        (step, values.collect())
    };
    records[1..].iter().map(epoch).collect()
}

#[test]
fn every_epoch_is_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    bayeslora(
        "train --data sample --limit-train 40 --limit-test 10 --epochs 2 --rank 2 --targets layer4.1 --resolution 32 \
         --validation 0.25 --tensorboard",
    )
    .arg("--out")
    .arg(&run)
    .assert()
    .success();
    let found = epochs(&run.join("tensorboard"));
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let metrics: Vec<Value> = metrics
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((found.len(), metrics.len()), (2, 2));
    for ((step, values), metrics) in found.iter().zip(&metrics) {
        assert_eq!(*step, metrics["step"].as_u64().unwrap());
        for (tag, name) in [
            ("train/loss", "loss"),
            ("validation/nll", "nll"),
            ("ranks/left", "rank"),
            ("schedule/learning_rate", "learning_rate"),
        ] {
            let expected = metrics[name].as_f64().unwrap() as f32;
            assert_eq!(values[tag], expected, "{tag}");
        }
        assert_eq!(values["ranks/layer4.1.conv1"], 2.0);
    }
}
