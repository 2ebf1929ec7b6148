//! Image sets: readers, the embedded sample, splits, epoch order.
//!
//! ```
//! use bayeslora::low_level::data::{self, EpochOrder, OpenOptions};
//!
//! let options = OpenOptions { limit_train: Some(100), ..OpenOptions::default() };
//! let splits = data::open("sample", &options)?;
//! let (train, validation) = splits.train.split_validation(0.1, 0)?;
//! assert_eq!((train.len(), validation.len(), splits.test.len()), (90, 10, 1000));
//! for batch in EpochOrder::new(train.len(), 7, 0).batches(32) {
//!     let images = train.read(batch)?; // u8, [batch, side, side, rgb]
//!     # let _ = images;
//! }
//! # Ok::<(), data::DataError>(())
//! ```

mod batches;
mod budget;
mod cifar;
#[allow(missing_docs)]
mod corruption;
mod dataset;
mod error;
mod folder;
mod identity;
mod idx;
mod image;
mod intact;
mod memory;
mod near;
mod picture;
mod pixels;
mod prefetch;
mod quiet;
#[allow(missing_docs)]
pub mod reuse;
mod sample;
mod source;

pub use batches::EpochOrder;
pub(crate) use batches::keyed_rng;
pub use corruption::{Corruption, CorruptionError, SEVERITIES, corrupt};
pub use dataset::{Dataset, SkippedImage};
pub use error::{DataError, nearest};
pub use folder::image_files;
pub use identity::Identity;
pub use image::{MAX_IMAGE_PIXELS, decode_image};
pub use near::Looks;
pub use picture::Picture;
pub use prefetch::{Prefetched, prefetch};
pub use source::{OpenOptions, Progress, Splits, open, open_test};
