//! The backbone and the sample images that come with the program: inside it, or files where it is installed.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{Digest, FormatError, files};

/// A file that comes with the program. Each has a card in `assets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asset {
    /// A ResNet-18 of CIFAR-100 and Tiny-ImageNet at 64x64, safetensors.
    Backbone,
    /// 5,000 training images of CIFAR-10, WebP.
    SampleTrain,
    /// 1,000 test images of CIFAR-10, WebP.
    SampleTest,
}

impl Asset {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Backbone, Self::SampleTrain, Self::SampleTest];

    /// Its file name in `assets`.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Backbone => "resnet18-cifar100-tin200-64px.safetensors",
            Self::SampleTrain => "cifar10-sample-train.webp",
            Self::SampleTest => "cifar10-sample-test.webp",
        }
    }

    /// The content: what is compiled in with the feature `embedded`, else the file in the first of
    /// [`directories`](Self::directories) that has it.
    ///
    /// # Errors
    /// No directory has the file, or what it has is not that file.
    pub fn bytes(self) -> Result<Cow<'static, [u8]>, FormatError> {
        #[cfg(feature = "embedded")]
        return Ok(self.compiled_in().into());
        #[cfg(not(feature = "embedded"))]
        self.read(&Self::directories())
    }

    /// Where files are looked for: `../share/bayeslora` beside the running program's directory, and the `assets` of the
    /// source that it was built from.
    pub fn directories() -> Vec<PathBuf> {
        let program = std::env::current_exe().ok();
        let prefix = program.as_deref().and_then(|path| path.parent()?.parent());
        let installed = prefix.map(|prefix| prefix.join("share").join("bayeslora"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/assets").into();
        installed.into_iter().chain([source]).collect()
    }

    #[cfg(feature = "embedded")]
    const fn compiled_in(self) -> &'static [u8] {
        match self {
            Self::Backbone => {
                include_bytes!("../../assets/resnet18-cifar100-tin200-64px.safetensors")
            }
            Self::SampleTrain => include_bytes!("../../assets/cifar10-sample-train.webp"),
            Self::SampleTest => include_bytes!("../../assets/cifar10-sample-test.webp"),
        }
    }

    #[cfg_attr(all(feature = "embedded", not(test)), expect(dead_code))]
    fn read(self, directories: &[PathBuf]) -> Result<Cow<'static, [u8]>, FormatError> {
        let mut paths = directories.iter().map(|dir| dir.join(self.file_name()));
        let Some(path) = paths.find(|path| path.exists()) else {
            let shown = directories.iter().map(|dir| format!("`{}`", dir.display()));
            return Err(FormatError::NoAsset {
                file: self.file_name(),
                directories: shown.collect::<Vec<_>>().join(" or "),
            });
        };
        let bytes = files::read(&path, "a file of the program")?;
        self.check(path, bytes)
    }

    fn check(self, path: PathBuf, bytes: Vec<u8>) -> Result<Cow<'static, [u8]>, FormatError> {
        if Digest::of(&bytes).to_string() == self.digest() {
            return Ok(bytes.into());
        }
        Err(FormatError::Changed {
            file: path.display().to_string(),
            found: "its SHA-256 is another",
            way_out: "copy it again from `assets` in the repository",
        })
    }

    /// The first half of the SHA-256 on its card.
    const fn digest(self) -> &'static str {
        match self {
            Self::Backbone => "05bc1b6a15a4101fd4a3bd38402f6e5c",
            Self::SampleTrain => "e640cdf4958f436f3f535aac8a92e42b",
            Self::SampleTest => "ad25fd291a5c6570d8a6d54176a7fcbf",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assets_are_those_of_their_cards() {
        for asset in Asset::ALL {
            let bytes = asset.bytes().unwrap().into_owned();
            assert_eq!(Digest::of(&bytes).to_string(), asset.digest());
        }
    }

    #[test]
    fn the_first_directory_that_has_the_file_counts_and_another_file_is_refused() {
        let (empty, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/assets"));
        let directories = [empty.path().to_owned(), other.path().to_owned(), source];
        let read = |count| Asset::SampleTest.read(&directories[..count]);
        assert_eq!(read(3).unwrap(), Asset::SampleTest.bytes().unwrap());

        let text = read(2).unwrap_err().to_string();
        for part in [
            "`cifar10-sample-test.webp`",
            empty.path().to_str().unwrap(),
            other.path().to_str().unwrap(),
            "`assets`",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }

        let path = other.path().join(Asset::SampleTest.file_name());
        std::fs::write(&path, "cut short").unwrap();
        let text = read(3).unwrap_err().to_string();
        let start = format!("`{}` was damaged or changed", path.display());
        assert!(text.starts_with(&start), "{text}");
    }
}
