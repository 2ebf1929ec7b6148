use bayeslora::low_level::formats::{Integers, TensorFile};
use half::{bf16, f16};

use super::{assert_says, safetensors};

/// Values that a careless conversion loses: signed zero, subnormals, extremes.
const DELICATE: [f32; 8] = [
    0.0,
    -0.0,
    f32::from_bits(1),
    -f32::from_bits(0x007f_ffff),
    f32::MIN_POSITIVE,
    f32::MAX,
    -1.000_000_1,
    0.1,
];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn round_trip_keeps_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let mut file = TensorFile::default();
    file.insert("a", &[2, 4], DELICATE.to_vec());
    file.insert("scalar", &[], vec![f32::NAN]);
    file.insert("nothing", &[0, 3], vec![]);
    file.insert_u32s("ids", &[0, u32::MAX, 16_777_217]);
    let big = Integers {
        shape: vec![1, 2],
        data: vec![i64::MIN, i64::MAX],
    };
    file.integers.insert("big".into(), big.clone());
    file.metadata.insert("note".into(), "ü \" \n".into());
    file.write_atomic(&path).unwrap();

    let back = TensorFile::read(&path).unwrap();
    assert_eq!(bits(&back.tensors["a"].data), bits(&DELICATE));
    assert_eq!(back.tensors["a"].shape, [2, 4]);
    assert_eq!(bits(&back.tensors["scalar"].data), bits(&[f32::NAN]));
    assert_eq!(back.tensors["scalar"].shape, [0; 0]);
    assert_eq!(back.tensors["nothing"], file.tensors["nothing"]);
    assert_eq!(back.u32s("ids").unwrap(), [0, u32::MAX, 16_777_217]);
    assert_eq!(back.integers["big"], big);
    assert_eq!(back.metadata, file.metadata);
    // Equal content, equal bytes: two checkpoints can be compared by hash.
    let first = std::fs::read(&path).unwrap();
    back.write_atomic(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
}

#[test]
fn every_f16_and_bf16_is_exact() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    let raw: Vec<u8> = all.iter().flat_map(|b| b.to_le_bytes()).collect();
    let shape = [all.len()];
    let entries = [
        ("h", "F16", &shape[..], raw.clone()),
        ("b", "BF16", &shape, raw),
    ];
    let file = TensorFile::from_bytes("halves", &safetensors(&entries)).unwrap();
    for (&bits, (&h, &b)) in all
        .iter()
        .zip(file.tensors["h"].data.iter().zip(&file.tensors["b"].data))
    {
        // bf16 is the upper half of an f32; f16 is checked by going back.
        if b.is_nan() || h.is_nan() {
            assert_eq!(h.is_nan(), f16::from_bits(bits).is_nan());
            assert_eq!(b.is_nan(), bf16::from_bits(bits).is_nan());
        }
        if !b.is_nan() {
            assert_eq!(b.to_bits(), u32::from(bits) << 16);
        }
        if !h.is_nan() {
            assert_eq!(f16::from_f32(h).to_bits(), bits);
        }
    }
    // Anchors written out from the definition of binary16.
    assert_eq!(file.tensors["h"].data[1], 2f32.powi(-24));
    assert_eq!(file.tensors["h"].data[0x3c01], 1.0 + 2f32.powi(-10));
    assert_eq!(file.tensors["h"].data[0x8000].to_bits(), (-0f32).to_bits());
}

#[test]
fn other_types_become_f32_or_exact_integers() {
    let entries = [
        (
            "d",
            "F64",
            &[2][..],
            [0.1f64, -0.0].map(f64::to_le_bytes).concat(),
        ),
        ("u8", "U8", &[2], vec![0, 255]),
        ("i32", "I32", &[1], i32::MIN.to_le_bytes().to_vec()),
        ("u64", "U64", &[1], 7u64.to_le_bytes().to_vec()),
    ];
    let file = TensorFile::from_bytes("mixed", &safetensors(&entries)).unwrap();
    assert_eq!(bits(&file.tensors["d"].data), bits(&[0.1, -0.0]));
    assert_eq!(file.integers["u8"].data, [0, 255]);
    assert_eq!(file.integers["i32"].data, [i64::from(i32::MIN)]);
    assert_eq!(file.u32s("u64").unwrap(), [7]);
    assert_says(
        file.u32s("i32"),
        &["mixed", "`i32`", "-2147483648", "unsigned 32-bit"],
    );
    assert_says(file.u32s("gone"), &["mixed", "`gone`", "missing"]);
}

#[test]
fn bad_files_are_told_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent.safetensors");
    let says = ["absent.safetensors", "does not exist", "a safetensors file"];
    assert_says(TensorFile::read(&absent), &says);
    assert_says(TensorFile::read(dir.path()), &["cannot read"]);

    let whole = safetensors(&[("a", "F32", &[4], vec![0; 16])]);
    for length in 1..whole.len() {
        let cut = TensorFile::from_bytes("cut", &whole[..length]);
        let bytes = format!("({length} bytes)");
        assert_says(cut, &["`cut`", &bytes, "cut short or not safetensors"]);
    }
    let text = TensorFile::from_bytes("page.html", b"<!DOCTYPE html><html></html>");
    assert_says(text, &["`page.html`", "an HTML page"]);

    let odd = safetensors(&[("flags", "BOOL", &[1], vec![1])]);
    let says = [
        "`odd`",
        "`flags`",
        "dtype BOOL",
        "expected F16, BF16, F32, F64",
    ];
    assert_says(TensorFile::from_bytes("odd", &odd), &says);
    let huge = safetensors(&[("n", "U64", &[1], vec![255; 8])]);
    assert_says(TensorFile::from_bytes("huge", &huge), &["`n`", "dtype U64"]);

    let mut wrong = TensorFile::default();
    wrong.insert("w", &[2, 3], vec![0.0; 5]);
    let says = ["w.safetensors", "`w`", "shape [2, 3]", "5 elements"];
    assert_says(wrong.write_atomic(dir.path().join("w.safetensors")), &says);
    assert!(!dir.path().join("w.safetensors").exists());
}

#[test]
fn require_finite_names_the_place() {
    let mut file = TensorFile {
        source: "m.safetensors".into(),
        ..TensorFile::default()
    };
    file.insert("a", &[3], DELICATE[..3].to_vec());
    file.require_finite().unwrap();
    file.insert("b", &[2, 2], vec![0.0, 0.0, f32::NEG_INFINITY, f32::NAN]);
    let says = [
        "`m.safetensors`",
        "`b`",
        "-inf at index 2",
        "a finite number",
    ];
    assert_says(file.require_finite(), &says);
}
