//! The GPU: adapter choice, device, kernels, plans, profiling. Knows nothing of models.

mod adapter;
mod build;
#[allow(missing_docs)]
mod builder;
mod cache;
mod device;
mod error;
#[allow(missing_docs)]
mod faults;
#[allow(missing_docs)]
mod fitting;
#[allow(missing_docs)]
mod idle;
#[allow(missing_docs)]
mod kernel;
#[cfg(target_arch = "x86_64")]
mod lavapipe;
#[allow(missing_docs)]
mod liveness;
#[allow(missing_docs)]
mod memory;
mod mesa;
mod open;
mod pace;
#[allow(missing_docs)]
mod params;
#[allow(missing_docs)]
mod plan;
#[allow(missing_docs)]
mod profile;
#[allow(missing_docs)]
mod reading;
#[allow(missing_docs)]
pub mod shaders;
mod stop;
mod task;
#[allow(missing_docs)]
mod tuning;
mod wait;
mod writing;

pub use adapter::{AdapterChoice, Adapters, install_hint, prepare_environment};
pub use builder::{Builder, Dispatch, largest_texture};
pub use device::{Gpu, GpuOptions, Precision};
pub use error::GpuError;
pub use faults::silence_caught_panics;
pub use fitting::largest_that_fits;
pub use idle::IdleMeter;
pub use kernel::{Binding, BindingKind, Kernel};
pub use memory::{Memory, TEXTURE_WIDTH, texture_rows};
pub use mesa::{MesaVersion, mesa_version};
pub use open::{STORAGE_TEXTURES, Shortfall};
pub use params::Value;
pub use plan::{DispatchInfo, Plan, Slot};
pub use profile::Timing;
pub use reading::Reading;
pub use shaders::Variables;
pub use stop::StopHandle;
pub use task::Task;
pub use tuning::{Candidate, Choices, InUse, Ranking, Tuning, TuningObserver, compared, ranked};
pub use wait::Submission;
