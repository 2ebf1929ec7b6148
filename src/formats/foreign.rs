//! What was given in place of safetensors, recognised by its first bytes, since names say nothing.

use super::FormatError;

/// So many first bytes are looked at: names of a pickle's entries are within them.
pub(super) const START: u64 = 4096;

/// Magic numbers, what has them, and what to do about it.
const KINDS: [(&[u8], &str, &str); 20] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer",
        "fetch the file itself with `git lfs pull`",
    ),
    (b"<!DOCTYPE", "an HTML page", PAGE),
    (b"<!doctype", "an HTML page", PAGE),
    (b"<html", "an HTML page", PAGE),
    (b"<HTML", "an HTML page", PAGE),
    (b"<?xml", "an XML page", PAGE),
    (b"\x1f\x8b", "compressed with gzip", UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", UNPACK),
    (b"\xfd7zXZ\0", "compressed with xz", UNPACK),
    (b"BZh", "compressed with bzip2", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras writes them",
        SAVE,
    ),
    (b"\x93NUMPY", "a NumPy array", SAVE),
    (b"GGUF", "a GGUF file", SAVE),
    (b"\x89PNG", "a PNG image", SAVE),
    (b"\xff\xd8\xff", "a JPEG image", SAVE),
    (b"{", "JSON", "name the file that holds the tensors"),
    (b"#", "a text", "name the file that holds the tensors"),
];

/// What `torch.save` began a file with before 1.6: a pickle with one number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

const PAGE: &str = "download the file itself; what was saved is the page of a site, such as a login or an error \
                    (on Hugging Face the link with `resolve` in it is the file)";
const UNPACK: &str = "unpack it and name the file in it";
const SAVE: &str = "save the network with `safetensors.torch.save_file(model.state_dict(), \"model.safetensors\")`";

/// Refuses what is known to be something else; `start` are the first bytes of `length`.
pub(super) fn refuse(file: &str, start: &[u8], length: u64) -> Result<(), FormatError> {
    let foreign = |found: &str, way_out: String| {
        Err(FormatError::Foreign {
            file: file.to_owned(),
            found: found.to_owned(),
            way_out,
        })
    };
    if length == 0 {
        return foreign("empty", "download or copy it again".into());
    }
    if start.iter().all(|&byte| byte == 0) {
        let way_out = "it was never written or downloaded to its end: download or copy it again";
        return foreign("nothing but zeros", way_out.into());
    }
    if is_pickle(start) {
        let found = match start.starts_with(LEGACY) {
            true => "a file of PyTorch before 1.6, or saved as that did (pickled)",
            false => "a file of PyTorch (pickled)",
        };
        return foreign(found, convert(file, start));
    }
    // A page may begin with empty lines. The length of a header may look like text as well, so that of a
    // sound one goes first.
    let blank = start
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let sound = header(start).is_some_and(|header| header <= length.saturating_sub(8))
        && start.get(8) == Some(&b'{');
    let text = &start[blank..];
    match KINDS.iter().find(|(magic, ..)| text.starts_with(magic)) {
        Some((_, found, way_out)) if !sound => foreign(found, (*way_out).into()),
        _ if start.get(257..262) == Some(b"ustar") => foreign("a tar archive", UNPACK.into()),
        _ if start[0] == 8 && holds(start, b"pytorch") && !sound => {
            foreign("an ONNX file", SAVE.into())
        }
        _ => Ok(()),
    }
}

/// The length of the header that a safetensors file begins with.
pub(super) fn header(start: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*start.first_chunk()?))
}

/// A pickle of protocol 2 on, or an archive with one.
fn is_pickle(start: &[u8]) -> bool {
    let plain = matches!(
        start,
        [0x80, 2..=5, b'}' | b']' | b'c' | b'(' | 0x8a | 0x95, ..]
    );
    plain || is_archive_of_pytorch(start)
}

/// The zip archive with a pickle that `torch.save` writes since 1.6.
pub(super) fn is_archive_of_pytorch(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04")
        && [
            "/data.pkl",
            "/data/0",
            "/byteorder",
            "/version",
            "/.format_version",
        ]
        .iter()
        .any(|entry| holds(start, entry.as_bytes()))
}

/// Two lines of Python that make safetensors of it.
fn convert(file: &str, start: &[u8]) -> String {
    let name = std::path::Path::new(file).with_extension("safetensors");
    let (weights, load) = match pickled(start) {
        Pickled::Entry(key) => (format!("[{key:?}]"), "weights_only=True"),
        Pickled::Tensors => (String::new(), "weights_only=True"),
        Pickled::Module => (".state_dict()".into(), "weights_only=False"),
    };
    let trust = match load {
        "weights_only=False" => {
            " (a whole model, whose loading runs code of the file: only if you trust it)"
        }
        _ => "",
    };
    format!(
        "convert it with{trust}\n\
         import torch, safetensors.torch\n\
         safetensors.torch.save_file(torch.load({file:?}, \"cpu\", {load}){weights}, {name:?})"
    )
}

enum Pickled {
    Tensors,
    /// Under a key, beside the state of an optimiser and the like.
    Entry(&'static str),
    /// With its classes, which only the library that they are from can load.
    Module,
}

fn pickled(start: &[u8]) -> Pickled {
    if holds(start, b"torch.nn.modules") {
        return Pickled::Module;
    }
    // As pickle writes a text: its length in 4 bytes before it.
    let has = |key: &&str| {
        let length = (key.len() as u32).to_le_bytes();
        holds(start, &[b"X", &length[..], key.as_bytes()].concat())
    };
    let key = ["model_state_dict", "state_dict"].into_iter().find(has);
    key.map_or(Pickled::Tensors, Pickled::Entry)
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
