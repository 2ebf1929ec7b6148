//! Files as `torch.save` writes them, made by hand, so that what stands in them may be wrong on purpose.
#![allow(dead_code, reason = "no test binary uses every helper")]

/// What a state dict says of one tensor. Sizes, strides and the offset count elements.
#[derive(Clone)]
pub struct Saved {
    pub name: String,
    /// The class of its storage, as in `FloatStorage`.
    pub class: &'static str,
    pub key: String,
    pub elements: i64,
    pub offset: i64,
    pub shape: Vec<i64>,
    pub strides: Vec<i64>,
}

impl Saved {
    /// Alone in its storage, in row-major order.
    pub fn plain(name: &str, class: &'static str, key: usize, shape: &[usize]) -> Self {
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let strides = (1..=shape.len()).map(|at| shape[at..].iter().product());
        Self {
            name: name.into(),
            class,
            key: key.to_string(),
            elements: shape.iter().product(),
            offset: 0,
            strides: strides.collect(),
            shape,
        }
    }
}

pub fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

pub fn integer(value: i64) -> Vec<u8> {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xff => vec![b'K', bytes[0]],
        0x100..=0xffff => [b"M", &bytes[..2]].concat(),
        -0x8000_0000..=0x7fff_ffff => [b"J", &bytes[..4]].concat(),
        _ => [b"\x8a\x08", &bytes[..]].concat(),
    }
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    let items = items.concat();
    [b"(", &items[..], b"t"].concat()
}

fn integers(values: &[i64]) -> Vec<u8> {
    let items: Vec<_> = values.iter().map(|&value| integer(value)).collect();
    match items.len() {
        0 => b")".to_vec(),
        count @ 1..=3 => [items.concat(), vec![0x84 + count as u8]].concat(),
        _ => tuple(&items),
    }
}

pub const ORDERED: &[u8] = b"ccollections\nOrderedDict\n)R";

pub fn dictionary(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let entries = entries
        .iter()
        .map(|(key, value)| [&key[..], value].concat());
    let entries = entries.collect::<Vec<_>>().concat();
    [ORDERED, b"(", &entries, b"u"].concat()
}

pub fn storage(saved: &Saved) -> Vec<u8> {
    let class = format!("ctorch\n{}\n", saved.class).into_bytes();
    let items = [
        text("storage"),
        class,
        text(&saved.key),
        text("cpu"),
        integer(saved.elements),
    ];
    [&tuple(&items)[..], b"Q"].concat()
}

/// What a pickle calls to make a tensor.
pub const REBUILD: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n";

pub fn tensor(saved: &Saved) -> Vec<u8> {
    let arguments = [
        storage(saved),
        integer(saved.offset),
        integers(&saved.shape),
        integers(&saved.strides),
        b"\x89".to_vec(),
        ORDERED.to_vec(),
    ];
    [REBUILD, &tuple(&arguments), b"R"].concat()
}

/// A whole pickle of one value.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A state dict with the attribute that torch gives it. A function that was named before is recalled, in both forms.
pub fn state_dict(tensors: &[Saved]) -> Vec<u8> {
    let entries = tensors.iter().enumerate().map(|(index, saved)| {
        let bytes = tensor(saved);
        let rest = &bytes[REBUILD.len()..];
        let function = match index {
            0 => [REBUILD, b"q\x03"].concat(),
            odd if odd % 2 == 1 => b"h\x03".to_vec(),
            _ => b"j\x03\0\0\0".to_vec(),
        };
        (text(&saved.name), [&function, rest].concat())
    });
    let entries: Vec<_> = entries.collect();
    let attributes = [b"}", &text("_metadata")[..], b"}", &text(""), b"}s", b"sb"].concat();
    [dictionary(&entries), b"r\x09\0\0\0".to_vec(), attributes].concat()
}

/// A zip archive of stored entries below `net/`, each with the alignment of torch in an extra field.
pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let name = format!("net/{name}");
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let size = (content.len() as u32).to_le_bytes();
        // Method, time and date are zero.
        let sums = [&[0; 6][..], &crc.sum().to_le_bytes(), &size, &size].concat();
        let length = (name.len() as u16).to_le_bytes();
        let at = (file.len() as u32).to_le_bytes();
        let padding = 64 - (file.len() + 30 + name.len() + 4) % 64;
        let extra = [
            b"FB",
            &(padding as u16).to_le_bytes()[..],
            &vec![b'Z'; padding],
        ]
        .concat();
        let extra_length = (extra.len() as u16).to_le_bytes();
        file.extend([b"PK\x03\x04\0\0\0\x08", &sums[..], &length, &extra_length].concat());
        file.extend([name.as_bytes(), &extra, content].concat());
        directory.extend([b"PK\x01\x02\0\0\0\0\0\x08", &sums[..], &length].concat());
        directory.extend([&[0; 12][..], &at, name.as_bytes()].concat());
    }
    let (start, length) = (file.len() as u32, directory.len() as u32);
    let count = (entries.len() as u16).to_le_bytes();
    file.extend(directory);
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
    file.extend([&length.to_le_bytes()[..], &start.to_le_bytes(), &[0; 2]].concat());
    file
}

/// A file with one value and these storages.
pub fn file(value: &[u8], storages: &[(String, Vec<u8>)]) -> Vec<u8> {
    let pickle = pickle(value);
    let names: Vec<_> = storages
        .iter()
        .map(|(key, _)| format!("data/{key}"))
        .collect();
    let mut entries = vec![("data.pkl", &pickle[..]), ("byteorder", b"little")];
    entries.extend(
        names
            .iter()
            .zip(storages)
            .map(|(name, (_, bytes))| (&name[..], &bytes[..])),
    );
    entries.push(("version", b"3\n"));
    archive(&entries)
}
