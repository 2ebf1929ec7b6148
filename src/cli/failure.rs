//! What an error means to the caller of the program: its exit status.

use bayeslora::low_level::bench::BenchError;
use bayeslora::low_level::data::CorruptionError;
use bayeslora::low_level::gpu::GpuError;
use bayeslora::low_level::predict::PredictError;
use bayeslora::low_level::predict::laplace::LaplaceError;
use bayeslora::low_level::train::TrainError;

/// Whether an error is the loss of the device, whichever module it came through: a module's error that passes
/// another's on unchanged hides it from the chain.
pub fn is_device_lost(error: &anyhow::Error) -> bool {
    let lost = |cause| matches!(gpu_error(cause), Some(GpuError::Lost { .. }));
    error.chain().any(lost)
}

fn gpu_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a GpuError> {
    let of_predict = |error: &'a PredictError| match error {
        PredictError::Gpu(error) => Some(error),
        _ => None,
    };
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(error) = error.downcast_ref() {
        return of_predict(error);
    }
    match error.downcast_ref() {
        Some(TrainError::Gpu(error)) => return Some(error),
        Some(TrainError::Predict(error)) => return of_predict(error),
        _ => {}
    }
    match error.downcast_ref() {
        Some(BenchError::Gpu(error)) => return Some(error),
        Some(BenchError::Predict(error)) => return of_predict(error),
        _ => {}
    }
    match error.downcast_ref() {
        Some(LaplaceError::Predict(error)) => of_predict(error),
        _ => match error.downcast_ref() {
            Some(CorruptionError::Gpu(error)) => Some(error),
            _ => None,
        },
    }
}
