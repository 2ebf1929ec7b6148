//! The GPU: adapter choice, device, kernels, plans, profiling. Knows nothing of models.

mod adapter;
mod builder;
mod device;
mod error;
mod idle;
mod kernel;
mod liveness;
mod plan;
mod profile;
mod reading;
pub mod shaders;

pub use adapter::{AdapterChoice, Adapters, install_hint, prepare_environment};
pub use builder::{Builder, Dispatch, Value};
pub use device::{Gpu, GpuOptions};
pub use error::GpuError;
pub use idle::IdleMeter;
pub use kernel::{Binding, BindingKind, Kernel};
pub use plan::{DispatchInfo, Plan, Slot};
pub use profile::Timing;
pub use reading::Reading;
pub use shaders::Variables;
