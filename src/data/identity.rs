//! What identifies an image, wherever its set is and whatever else is in it.

use std::path::Path;
use std::sync::Arc;

use crate::formats::Digest;

/// What an image is. Two images are one where their identities are equal, exact copies of a file included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// An image file, by its bytes.
    Content(Digest),
    /// An image of a set in arrays.
    Indexed {
        /// Of the pixels and labels of the whole set.
        set: Digest,
        /// Its place there.
        index: usize,
    },
}

/// An image file of a folder.
#[derive(Clone, Debug)]
pub(super) struct FileIdentity {
    pub content: Digest,
    /// As [`relative`] writes it.
    pub path: Box<str>,
}

/// The identities of a set as it was opened. Parts of the set share them.
#[derive(Clone, Debug)]
pub(super) enum Identities {
    Indexed(Digest),
    Files(Arc<Vec<FileIdentity>>),
}

impl Identities {
    /// Of a set in arrays: `pixels` are `[n, side, side, 3]`, `labels` are `[n]`.
    pub fn of_arrays(side: usize, pixels: &[u8], labels: &[u32]) -> Self {
        let side = (side as u64).to_le_bytes();
        let labels: Vec<u8> = labels
            .iter()
            .flat_map(|label| label.to_le_bytes())
            .collect();
        Self::Indexed(Digest::of_parts([&side[..], pixels, &labels]))
    }

    /// Of the image at `place` in the set as it was opened.
    pub fn at(&self, place: usize) -> Identity {
        match self {
            Self::Indexed(set) => Identity::Indexed {
                set: *set,
                index: place,
            },
            Self::Files(files) => Identity::Content(files[place].content),
        }
    }
}

/// `path` below `root` with `/` between the names. `%`, control characters and bytes that are not UTF-8
/// are written as `%` and two hex digits, so that unlike paths stay unlike.
pub(super) fn relative(path: &Path, root: &Path) -> Box<str> {
    let below = path.strip_prefix(root).unwrap_or(path);
    let names = below.components().map(|component| {
        let bytes = component.as_os_str().as_encoded_bytes();
        bytes.utf8_chunks().fold(String::new(), |mut name, chunk| {
            for character in chunk.valid().chars() {
                match character == '%' || character.is_control() {
                    true => escape(&mut name, character.to_string().as_bytes()),
                    false => name.push(character),
                }
            }
            escape(&mut name, chunk.invalid());
            name
        })
    });
    names.collect::<Vec<_>>().join("/").into()
}

fn escape(name: &mut String, bytes: &[u8]) {
    name.extend(bytes.iter().map(|byte| format!("%{byte:02X}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_and_unlike_ones_stay_unlike() {
        let root = Path::new("photos");
        let of = |below: &str| relative(&root.join(below), root);
        assert_eq!(&*of("cat/a b.png"), "cat/a b.png");
        assert_eq!(&*of("Käse/1.png"), "Käse/1.png");
        assert_eq!(&*of("cat/100%.png"), "cat/100%25.png");
        assert_eq!(&*of("cat/\u{1b}[2J\n.png"), "cat/%1B[2J%0A.png");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_not_utf_8_are_kept() {
        use std::os::unix::ffi::OsStrExt;
        let of = |name: &[u8]| {
            let path = Path::new("photos/cat").join(std::ffi::OsStr::from_bytes(name));
            relative(&path, Path::new("photos"))
        };
        assert_eq!(&*of(b"\xff\xfe.png"), "cat/%FF%FE.png");
        assert_ne!(of(b"\xff.png"), of(b"%FF.png"));
    }
}
