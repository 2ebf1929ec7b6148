//! Files of `torch.save` as backbones: the same weights, views, what is refused, and files that lie or are damaged.

use bayeslora::low_level::formats::{BackboneFile, FormatError};
use half::{bf16, f16};

use super::assert_says;
use super::backbone::{encode, tiny, value};
use super::torch_save::{
    ORDERED, REBUILD, Saved, archive, dictionary, file, integer, pickle, state_dict, storage,
    tensor, text, tuple,
};

fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product())
        .map(|at| value(name, at))
        .collect()
}

/// The little network as torch would save it, a storage a tensor.
fn network(class: &'static str) -> (Vec<Saved>, Vec<(String, Vec<u8>)>) {
    let encode = |values: Vec<f32>| -> Vec<u8> {
        let values = values.into_iter();
        match class {
            "HalfStorage" => values
                .flat_map(|v| f16::from_f32(v).to_le_bytes())
                .collect(),
            "BFloat16Storage" => values
                .flat_map(|v| bf16::from_f32(v).to_le_bytes())
                .collect(),
            "DoubleStorage" => values.flat_map(|v| f64::from(v).to_le_bytes()).collect(),
            _ => values.flat_map(f32::to_le_bytes).collect(),
        }
    };
    let tensors = tiny().into_iter().enumerate().map(|(key, (name, shape))| {
        let bytes = encode(values(&name, &shape));
        (
            Saved::plain(&name, class, key, &shape),
            (key.to_string(), bytes),
        )
    });
    tensors.unzip()
}

/// The network in one storage, behind one element (of `width` bytes) that belongs to no tensor.
fn in_one_storage(class: &'static str, width: usize) -> Vec<u8> {
    let (mut tensors, storages) = network(class);
    let each = storages.into_iter().map(|(_, bytes)| bytes);
    let flat = std::iter::once(vec![0xee; width]).chain(each);
    let flat = flat.collect::<Vec<_>>().concat();
    let mut offset = 1;
    for saved in &mut tensors {
        let count = std::mem::replace(&mut saved.elements, (flat.len() / width) as i64);
        saved.key = "all".into();
        saved.offset = offset;
        offset += count;
    }
    file(&state_dict(&tensors), &[("all".into(), flat)])
}

fn read(bytes: &[u8]) -> Result<BackboneFile, FormatError> {
    BackboneFile::from_bytes("net.pth", bytes)
}

fn expected_hash() -> String {
    let plain = encode(&tiny(), "F32", "", |_, _| ());
    BackboneFile::from_bytes("net", &plain).unwrap().sha256()
}

#[test]
fn the_same_weights_have_the_same_hash() {
    let mut files = Vec::new();
    for class in [
        "FloatStorage",
        "HalfStorage",
        "BFloat16Storage",
        "DoubleStorage",
    ] {
        let (tensors, storages) = network(class);
        files.push(file(&state_dict(&tensors), &storages));
    }
    let (mut tensors, mut storages) = network("FloatStorage");
    let nested = [("epoch", integer(-3)), ("state_dict", state_dict(&tensors))];
    let others = [
        ("lr", b"G\x3f\xf0\0\0\0\0\0\0".to_vec()),
        ("groups", b"](K\x01NeK\x02a".to_vec()),
    ];
    let entries = nested.into_iter().chain(others);
    let entries = entries.map(|(key, value)| (text(key), value));
    files.push(file(&dictionary(&entries.collect::<Vec<_>>()), &storages));
    // Parameters, a wrapper's prefix, and counts of batches, which are integers.
    let parameter = |saved: &Saved| {
        let arguments = [tensor(saved), b"\x88".to_vec(), ORDERED.to_vec()];
        [
            b"ctorch._utils\n_rebuild_parameter\n",
            &tuple(&arguments)[..],
            b"R",
        ]
        .concat()
    };
    let counted = Saved::plain("bn1.num_batches_tracked", "LongStorage", tensors.len(), &[]);
    storages.push((counted.key.clone(), vec![9, 0, 0, 0, 0, 0, 0, 0]));
    tensors.push(counted);
    let entries = tensors
        .iter()
        .map(|saved| (text(&format!("module.{}", saved.name)), parameter(saved)));
    files.push(file(&dictionary(&entries.collect::<Vec<_>>()), &storages));

    for (index, bytes) in files.iter().enumerate() {
        assert_eq!(read(bytes).unwrap().sha256(), expected_hash(), "{index}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.bin");
    std::fs::write(&path, &files[0]).unwrap();
    assert_eq!(BackboneFile::read(&path).unwrap().sha256(), expected_hash());
}

#[test]
fn views_give_the_elements_that_they_show() {
    let shared = in_one_storage("FloatStorage", 4);
    assert_eq!(read(&shared).unwrap().sha256(), expected_hash());

    // Convolutions with the channels last, as `memory_format=torch.channels_last` keeps them.
    let (mut tensors, mut storages) = network("FloatStorage");
    for (saved, (_, bytes)) in tensors.iter_mut().zip(&mut storages) {
        let &[_, channels, height, width] = &saved.shape[..] else {
            continue;
        };
        saved.strides = vec![channels * height * width, 1, width * channels, channels];
        let all = values(
            &saved.name,
            &saved
                .shape
                .iter()
                .map(|&size| size as usize)
                .collect::<Vec<_>>(),
        );
        let (plane, channels) = ((height * width) as usize, channels as usize);
        let image = channels * plane;
        let moved = (0..all.len()).map(|at| {
            let (out, place, channel) = (at / image, at % image / channels, at % channels);
            all[out * image + channel * plane + place]
        });
        *bytes = moved.flat_map(f32::to_le_bytes).collect();
    }
    assert_eq!(
        read(&file(&state_dict(&tensors), &storages))
            .unwrap()
            .sha256(),
        expected_hash()
    );

    // One value for all channels.
    let (mut tensors, mut storages) = network("FloatStorage");
    let at = tensors
        .iter()
        .position(|saved| saved.name == "layer4.1.bn2.bias")
        .unwrap();
    (tensors[at].strides, tensors[at].elements) = (vec![0], 1);
    storages[at].1 = 0.75f32.to_le_bytes().to_vec();
    let found = read(&file(&state_dict(&tensors), &storages)).unwrap();
    assert_eq!(found.tensor("layer4.1.bn2.bias").unwrap().data, [0.75; 8]);
}

#[test]
fn what_is_no_tensor_is_refused_by_name() {
    let one = Saved::plain("conv1.weight", "FloatStorage", 0, &[1]);
    let with = |value: &[u8]| file(&dictionary(&[(text("conv1.weight"), value.to_vec())]), &[]);
    let system = [
        b"cos\nsystem\n",
        &tuple(&[text("touch /tmp/owned")])[..],
        b"R",
    ]
    .concat();
    let seven = [&b"("[..], &storage(&one), b"K\0))", b"\x89", ORDERED, b"}t"].concat();
    for (bytes, says) in [
        (
            with(&system),
            &[
                "names `os.system`",
                "not executed, and not read",
                "model.state_dict()",
            ][..],
        ),
        (
            with(b"ctorch.nn.modules.conv\nConv2d\n"),
            &["`torch.nn.modules.conv.Conv2d`"],
        ),
        (with(b"ctorch\nCharStorage\n"), &["`torch.CharStorage`"]),
        (with(b"c\x1b[31m\nx\n"), &["`\\u{1b}[31m.x`"]),
        (
            with(&[REBUILD, &seven, b"R"].concat()),
            &["a tensor in a way", "negates"],
        ),
        (
            with(b"K\x05"),
            &["an integer under `conv1.weight`", "expected a tensor"],
        ),
        (with(b"\x93"), &["the instruction 0x93"]),
        (
            file(&dictionary(&[(b"K\x05".to_vec(), tensor(&one))]), &[]),
            &["an integer for a tensor's name"],
        ),
        (
            file(b"]", &[]),
            &["holds a list", "a dictionary of tensors"],
        ),
        (
            archive(&[("data.pkl", b"\x80\x04}.")]),
            &["protocol 4", "expected 2"],
        ),
        (
            archive(&[("data.pkl", &pickle(b"}")), ("byteorder", b"big")]),
            &["the byte order `big`"],
        ),
        (
            archive(&[("data.pkl", &pickle(b"}")), ("constants.pkl", b"")]),
            &["TorchScript", "torch.jit.load"],
        ),
        (
            archive(&[("data.pkl", &vec![b'}'; 2 << 20])]),
            &["2097152 bytes in `data.pkl`"],
        ),
    ] {
        let all = [&["`net.pth`, a file of PyTorch,"], says].concat();
        assert_says(read(&bytes), &all);
    }
    let (tensors, storages) = network("FloatStorage");
    let compressed = |mut bytes: Vec<u8>| {
        let mut places = bytes.windows(4);
        let at = places.rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
        bytes[at + 10] = 8;
        read(&bytes)
    };
    assert_says(
        compressed(file(&state_dict(&tensors), &storages)),
        &["is compressed (`net/version`)"],
    );
    // As the code of a program is.
    assert_says(
        compressed(archive(&[
            ("data.pkl", &pickle(b"}")),
            ("constants.pkl", b""),
        ])),
        &["TorchScript"],
    );
    // PyTorch's first format, which was no archive.
    let legacy = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
    let message = read(legacy).unwrap_err().to_string();
    for part in [
        "`net.pth` is a file of PyTorch before 1.6",
        "torch.load(\"net.pth\"",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn sizes_that_lie_are_refused_before_memory_is_taken() {
    let changed = |change: &dyn Fn(&mut Saved)| {
        let (mut tensors, storages) = network("FloatStorage");
        change(&mut tensors[0]);
        read(&file(&state_dict(&tensors), &storages))
    };
    changed(&|_| ()).unwrap();
    let (tensors, _) = network("FloatStorage");
    assert_eq!(
        (&*tensors[0].name, &tensors[0].shape[..]),
        ("bn1.bias", &[4][..])
    );
    let outside = "does not lie within its 4 elements";
    let no_number = "no natural numbers";
    let dimensions = "dimensions and";
    for (change, says) in [
        (
            &(|saved: &mut Saved| saved.elements = 5) as &dyn Fn(&mut Saved),
            "`data/0` has 16 bytes, expected 5 elements",
        ),
        (
            &|saved| saved.class = "HalfStorage",
            "expected 4 elements of F16",
        ),
        (
            &|saved| saved.elements = i64::MAX,
            "expected 9223372036854775807 elements",
        ),
        (&|saved| saved.elements = -1, "no storage"),
        (&|saved| saved.key = "../0".into(), "`data/../0` is missing"),
        (
            &|saved| saved.key = "4".into(),
            "`4` is described in two ways",
        ),
        (&|saved| saved.offset = 1, outside),
        (&|saved| saved.offset = i64::MAX, outside),
        (&|saved| saved.offset = -1, no_number),
        (&|saved| saved.shape = vec![5], outside),
        (&|saved| saved.shape = vec![-1], no_number),
        (&|saved| saved.shape = vec![1 << 62, 4], dimensions),
        (
            &|saved| (saved.shape, saved.strides) = (vec![1 << 62, 4], vec![0, 0]),
            outside,
        ),
        (
            &|saved| (saved.shape, saved.strides) = (vec![1 << 40], vec![0]),
            "more in its tensors than the whole file",
        ),
        (&|saved| saved.strides = vec![2], outside),
        (&|saved| saved.strides = vec![i64::MAX], outside),
        (&|saved| saved.strides = vec![-1], no_number),
        (
            &|saved| (saved.shape, saved.strides) = (vec![1; 9], vec![1; 9]),
            dimensions,
        ),
        (
            &|saved| (saved.shape, saved.strides) = (vec![0], vec![1]),
            "`bn1.bias` has shape [0]",
        ),
    ] {
        assert_says(changed(change), &["net.pth", says]);
    }
    // A thousand tensors that each show the same storage.
    let many: Vec<_> = (0..1000)
        .map(|index| Saved::plain(&format!("t{index}"), "FloatStorage", 0, &[25_000]))
        .collect();
    let bytes = file(&state_dict(&many), &[("0".into(), vec![0; 100_000])]);
    assert_says(
        read(&bytes),
        &["more in its tensors than the whole file has"],
    );
    let twice = [
        Saved::plain("a", "FloatStorage", 0, &[1]),
        Saved::plain("a", "FloatStorage", 0, &[1]),
    ];
    assert_says(
        read(&file(&state_dict(&twice), &[])),
        &["`a` is there twice"],
    );
}

#[test]
fn pickles_that_contradict_themselves_are_refused() {
    let deep = [vec![b'('; 500_000], vec![b']'; 500_000]].concat();
    // A dictionary within itself.
    let cyclic = [&b"}q\0"[..], &text("state_dict"), b"h\0s"].concat();
    for value in [
        &b""[..],
        b"}}",
        b"(}",
        b"u",
        b"(u",
        b"}(K\x01u",
        b"t",
        b"s",
        b"R",
        b"}K\0R",
        b"Q",
        b")Q",
        b"b",
        b"K\x01Kab",
        b"h\0",
        b"j\0\0\0\0",
        b"q\0",
        b"X\xff\xff\xff\xffa",
        b"X\x02\0\0\0\xff\xff",
        b"\x8a\xff",
        b"J\0",
        b"cos",
        b"}K\x01a",
        b"](K\x01u",
        b"(]K\x01a",
        b"]]](at",
        &deep,
        &cyclic,
    ] {
        let error = read(&file(value, &[])).unwrap_err().to_string();
        assert!(
            error.starts_with("`net.pth`, a file of PyTorch,"),
            "{value:?}: {error}"
        );
    }
}

#[test]
fn a_file_cut_anywhere_or_with_a_byte_changed_is_refused_or_the_same() {
    let whole = in_one_storage("HalfStorage", 2);
    let expected = expected_hash();
    for length in 0..whole.len() {
        assert!(
            read(&whole[..length]).is_err(),
            "{length} of {}",
            whole.len()
        );
    }
    let mut same = 0;
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        if let Ok(found) = read(&changed) {
            assert_eq!(found.sha256(), expected, "byte {at}");
            same += 1;
        }
    }
    // Times, padding and the like stand for nothing; the most of the file does.
    assert!(
        same > 0 && same < whole.len() / 2,
        "{same} of {}",
        whole.len()
    );
}
