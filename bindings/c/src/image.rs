//! Pictures of the caller's.

use bayeslora::Picture;

use crate::status::Failure;

/// How the bytes of a bl_image are to be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum bl_format {
    /// 3 bytes a pixel, sRGB, row by row.
    BL_RGB = 0,
    /// 4 bytes a pixel, sRGB and alpha, not premultiplied.
    BL_RGBA = 1,
    /// The bytes of a PNG, JPEG, WebP, BMP, TIFF or GIF file.
    BL_ENCODED = 2,
}

/// A picture of any size. `format` is one of bl_format.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bl_image {
    pub data: *const u8,
    /// Bytes at `data`.
    pub bytes: usize,
    /// In pixels; of an encoded picture not looked at, like `height`.
    pub width: u32,
    pub height: u32,
    pub format: i32,
}

impl bl_image {
    fn picture(&self, number: usize) -> Result<Picture<'_>, Failure> {
        let wrong = |what: &str| Failure::invalid(format!("image {number}: {what}"));
        if self.data.is_null() {
            return Err(wrong("data is null"));
        }
        if isize::try_from(self.bytes).is_err() {
            return Err(wrong("it has more bytes than there are"));
        }
        // SAFETY: the header asks for `bytes` bytes at `data`.
        let pixels = unsafe { std::slice::from_raw_parts(self.data, self.bytes) };
        let (width, height) = (self.width, self.height);
        Ok(match self.format {
            0 => Picture::Rgb {
                width,
                height,
                pixels,
            },
            1 => Picture::Rgba {
                width,
                height,
                pixels,
            },
            2 => Picture::Encoded(pixels),
            other => {
                return Err(wrong(&format!(
                    "its format is {other}, which is no bl_format"
                )));
            }
        })
    }
}

/// An array of the caller's.
pub(crate) fn array<'a, T>(start: *const T, len: usize, what: &str) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(Failure::invalid(format!("{what} is null")));
    }
    if isize::try_from(len.saturating_mul(size_of::<T>())).is_err() {
        return Err(Failure::invalid(format!("{what} cannot be so long")));
    }
    // SAFETY: the header asks for so many elements there.
    Ok(unsafe { std::slice::from_raw_parts(start, len) })
}

pub(crate) fn pictures<'a>(
    images: *const bl_image,
    count: usize,
) -> Result<Vec<Picture<'a>>, Failure> {
    let images = array(images, count, "images")?;
    let numbered = images.iter().enumerate();
    numbered
        .map(|(number, image)| image.picture(number))
        .collect()
}
