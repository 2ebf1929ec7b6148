//! Images of the caller's: NumPy arrays, files, the bytes of files.

use std::path::PathBuf;

use bayeslora::low_level::data::MAX_IMAGE_PIXELS;
use bayeslora::{DataError, Picture, decode_image};
use numpy::ndarray::{ArrayView3, Axis, Ix3, Ix4};
use numpy::{
    PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySequence};

use crate::errors::Failure;

/// An image of the caller's. Pixels are a copy: other threads may write to the array while work goes on.
pub enum Image {
    Pixels {
        width: u32,
        height: u32,
        channels: usize,
        bytes: Vec<u8>,
    },
    Encoded(Vec<u8>),
    File(PathBuf),
}

impl Image {
    /// `[side, side, 3]`
    fn square(&self, side: usize) -> Result<Vec<u8>, DataError> {
        match *self {
            Self::Pixels {
                width,
                height,
                channels,
                bytes: ref pixels,
            } => {
                let picture = match channels {
                    3 => Picture::Rgb {
                        width,
                        height,
                        pixels,
                    },
                    _ => Picture::Rgba {
                        width,
                        height,
                        pixels,
                    },
                };
                picture.square(side)
            }
            Self::Encoded(ref bytes) => Picture::Encoded(bytes).square(side),
            Self::File(ref path) => decode_image(path, side),
        }
    }
}

/// One image, or several.
pub fn images(given: &Bound<PyAny>) -> PyResult<Vec<Image>> {
    let mut images = Vec::new();
    take(given, true, &mut images)?;
    Ok(images)
}

/// The pixels of each, `[side, side, 3]`.
pub fn squares(images: &[Image], side: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let numbered = images.iter().enumerate();
    let square = |(number, image): (usize, &Image)| {
        let square = image.square(side);
        square.map_err(|error| Failure::from(error).within(&format!("image {number}")))
    };
    numbered.map(square).collect()
}

/// A square as the library takes pictures.
pub fn picture(pixels: &[u8], side: usize) -> Picture<'_> {
    let (width, height) = (side as u32, side as u32);
    Picture::Rgb {
        width,
        height,
        pixels,
    }
}

fn take(given: &Bound<PyAny>, several: bool, images: &mut Vec<Image>) -> PyResult<()> {
    if let Ok(array) = given.cast::<PyUntypedArray>() {
        return take_array(array, several, images);
    }
    if let Ok(bytes) = given.cast::<PyBytes>() {
        images.push(Image::Encoded(bytes.as_bytes().to_owned()));
        return Ok(());
    }
    if let Ok(path) = given.extract() {
        images.push(Image::File(path));
        return Ok(());
    }
    let Some(list) = given.cast::<PySequence>().ok().filter(|_| several) else {
        return Err(PyTypeError::new_err(format!(
            "images are {}, expected uint8 arrays [n, height, width, 3 or 4], paths, the bytes of files, or a list of these",
            given.get_type().name()?
        )));
    };
    for item in list.try_iter()? {
        take(&item?, false, images)?;
    }
    Ok(())
}

fn take_array(
    array: &Bound<PyUntypedArray>,
    several: bool,
    images: &mut Vec<Image>,
) -> PyResult<()> {
    if !array.dtype().is_equiv_to(&numpy::dtype::<u8>(array.py())) {
        return Err(PyValueError::new_err(format!(
            "images are {}, expected uint8 from 0 to 255: numbers from 0 to 1 become that by \
             `(255 * images).round().astype(numpy.uint8)`",
            array.dtype()
        )));
    }
    let array = array.cast::<PyArrayDyn<u8>>()?.try_readonly()?;
    let view = array.as_array();
    let one = view.clone().into_dimensionality::<Ix3>();
    let many = view.into_dimensionality::<Ix4>();
    match (one, many) {
        (Ok(image), _) => images.push(pixels(image)?),
        (_, Ok(all)) if several => {
            for image in all.axis_iter(Axis(0)) {
                images.push(pixels(image)?);
            }
        }
        _ => return Err(wrong_shape(array.shape())),
    }
    Ok(())
}

fn pixels(image: ArrayView3<u8>) -> PyResult<Image> {
    let (height, width, channels) = image.dim();
    let count = height.saturating_mul(width) as u64;
    if !matches!(channels, 3 | 4) || count > MAX_IMAGE_PIXELS {
        return Err(wrong_shape(image.shape()));
    }
    let bytes = match image.as_slice() {
        Some(bytes) => bytes.to_owned(),
        None => image.iter().copied().collect(),
    };
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| wrong_shape(image.shape()));
    Ok(Image::Pixels {
        width: side(width)?,
        height: side(height)?,
        channels,
        bytes,
    })
}

fn wrong_shape(shape: &[usize]) -> PyErr {
    PyValueError::new_err(format!(
        "an array of images has shape {shape:?}, expected [n, height, width, 3] or [height, width, 3], with 4 for RGB and \
         alpha, and at most {} million pixels an image",
        MAX_IMAGE_PIXELS / 1_000_000
    ))
}
