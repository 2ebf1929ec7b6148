//! Image files named on the command line.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use bayeslora::low_level::data;
use bayeslora::low_level::formats::printable;
use rayon::prelude::*;

use super::context;

/// Images that are in memory at the same time.
const AT_ONCE: usize = 1024;

/// Files that decode, in the order in which they were named.
pub struct Pictures {
    side: usize,
    files: Vec<PathBuf>,
    /// All of them, unless they are many.
    pixels: Option<Vec<u8>>,
    /// What was left out, and why.
    pub skipped: Vec<(PathBuf, String)>,
}

impl Pictures {
    /// Decodes all files, so that bad ones are known together and before any work.
    ///
    /// # Errors
    /// A file is not there, no file decodes, or one does not and is not to be skipped.
    pub fn open(named: &[PathBuf], side: usize, skip_bad: bool) -> Result<Self> {
        let named = files(named)?;
        let total = named.len();
        let few = total <= AT_ONCE;
        let mut good = Self {
            side,
            files: Vec::new(),
            pixels: few.then(Vec::new),
            skipped: Vec::new(),
        };
        let mut missing = false;
        for (file, image) in named.iter().zip(decode(&named, side, few)) {
            match image {
                Ok(image) => {
                    good.files.push(file.clone());
                    if let Some(pixels) = &mut good.pixels {
                        pixels.extend(image);
                    }
                }
                Err(reason) => {
                    missing |= !file.exists();
                    good.skipped.push((file.clone(), reason));
                }
            }
        }
        if missing || !skip_bad || good.files.is_empty() {
            refuse(&good.skipped, total, skip_bad)?;
        }
        Ok(good)
    }

    /// Files and their pixels `[n, side, side, 3]`, as many as fit into memory at a time.
    pub fn chunks(&mut self) -> impl Iterator<Item = Result<(&[PathBuf], Vec<u8>)>> {
        let Self {
            side,
            files,
            pixels,
            ..
        } = self;
        files.chunks(AT_ONCE).map(|files| {
            let pixels = match pixels.take() {
                Some(pixels) => pixels,
                None => {
                    let decoded = decode(files, *side, true).into_iter();
                    let images: Result<Vec<_>, _> = decoded.collect();
                    images.map_err(anyhow::Error::msg)?.concat()
                }
            };
            Ok((files, pixels))
        })
    }
}

/// The files named, directories replaced by the images in them.
pub fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let (inside, notes) = data::image_files(path)?;
        context::report_notes(&notes);
        ensure!(
            !inside.is_empty(),
            "{}: no images (PNG, JPEG, WebP, BMP, TIFF, GIF) in this directory",
            printable(path.display())
        );
        files.extend(inside);
    }
    Ok(files)
}

/// The pixels of every file, if they are to be kept, or what is wrong with it.
pub fn decode(files: &[PathBuf], side: usize, keep: bool) -> Vec<Result<Vec<u8>, String>> {
    let decode = |path: &PathBuf| match data::decode_image(path, side) {
        Ok(image) if keep => Ok(image),
        Ok(_) => Ok(Vec::new()),
        Err(_) if !path.exists() => Err(format!("{}: no such file", shown(path))),
        Err(error) => Err(error.to_string()),
    };
    files.par_iter().map(decode).collect()
}

/// Names what does not decode.
///
/// # Errors
/// There is such.
pub fn refuse(bad: &[(PathBuf, String)], total: usize, skip_bad: bool) -> Result<()> {
    let way_out = match skip_bad || bad.iter().any(|(file, _)| !file.exists()) {
        true => "",
        false => "; --skip-bad-images leaves such files out",
    };
    let reasons: Vec<&str> = bad.iter().map(|(_, reason)| &**reason).collect();
    match &reasons[..] {
        [] => Ok(()),
        [one] if total == 1 => bail!("{one}"),
        [one] => bail!("{one}{way_out}"),
        all => bail!(
            "{} of {total} images:\n  {}{way_out}",
            all.len(),
            all.join("\n  ")
        ),
    }
}

fn shown(path: &Path) -> String {
    printable(path.display())
}
