//! The GPU: adapter choice, device, kernels, plans, profiling. Knows nothing of models.

mod adapter;
mod device;
mod error;
mod kernel;
mod plan;
mod profile;
pub mod shaders;

pub use adapter::{AdapterChoice, Adapters, install_hint, prepare_environment};
pub use device::{Gpu, GpuOptions};
pub use error::GpuError;
pub use kernel::{Binding, BindingKind, Kernel, Variables};
pub use plan::{Builder, Dispatch, DispatchInfo, Plan, Slot, Value};
pub use profile::Timing;
