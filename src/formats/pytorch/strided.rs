//! Tensors as PyTorch keeps them: a view of a storage with an offset and strides.

use safetensors::Dtype;

use super::Refused;

/// Dimensions that a tensor may have: a convolution has four.
const MAX_DIMENSIONS: usize = 8;

/// A run of elements in an entry of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Storage<'a> {
    pub dtype: Dtype,
    /// The entry is `data/KEY`.
    pub key: &'a str,
    pub elements: usize,
}

impl Storage<'_> {
    /// Its length; `None` where that is no number.
    pub fn bytes(&self) -> Option<usize> {
        self.elements.checked_mul(self.dtype.bitsize() / 8)
    }
}

/// Within its storage, which [`Strided::new`] has checked.
#[derive(Debug)]
pub(super) struct Strided<'a> {
    pub storage: Storage<'a>,
    pub shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
    count: usize,
}

impl<'a> Strided<'a> {
    /// Offset and strides count elements.
    ///
    /// # Errors
    /// Shape and strides contradict each other, or an element lies outside the storage.
    pub fn new(
        storage: Storage<'a>,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self, Refused> {
        if shape.len() != strides.len() || shape.len() > MAX_DIMENSIONS {
            return Err(Refused::damaged(format!(
                "a tensor has {} dimensions and {} strides, expected as many, at most {MAX_DIMENSIONS}",
                shape.len(),
                strides.len()
            )));
        }
        let product = |sum: usize, &size: &usize| sum.checked_mul(size);
        let count = match shape.contains(&0) {
            true => Some(0),
            false => shape.iter().try_fold(1, product),
        };
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(offset, |at, (&size, &stride)| {
                at.checked_add(size.saturating_sub(1).checked_mul(stride)?)
            });
        match (count, last) {
            (Some(count), Some(last)) if count == 0 || last < storage.elements => Ok(Self {
                storage,
                shape,
                strides,
                offset,
                count,
            }),
            _ => Err(Refused::damaged(format!(
                "a tensor of shape {shape:?} with strides {strides:?} at {offset} does not lie within its {} elements",
                storage.elements
            ))),
        }
    }

    /// What its elements take when none is shared; `None` where that is no number.
    pub fn bytes(&self) -> Option<usize> {
        self.count.checked_mul(self.storage.dtype.bitsize() / 8)
    }

    /// Its elements in row-major order, out of all of its storage's.
    pub fn gather<T: Copy>(&self, elements: &[T]) -> Vec<T> {
        if self.is_contiguous() {
            return elements[self.offset..][..self.count].to_vec();
        }
        let mut places = vec![self.offset; self.count.min(1)];
        for (&size, &stride) in self.shape.iter().zip(&self.strides) {
            let along = |place: usize| (0..size).map(move |index| place + index * stride);
            places = places.into_iter().flat_map(along).collect();
        }
        places.into_iter().map(|place| elements[place]).collect()
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        let dimensions = self.shape.iter().zip(&self.strides).rev();
        self.count > 0
            && dimensions.into_iter().all(|(&size, &stride)| {
                let fits = size == 1 || stride == expected;
                expected *= size;
                fits
            })
    }
}
