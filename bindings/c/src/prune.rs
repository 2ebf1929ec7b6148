//! Cutting ranks.

use std::ffi::c_char;
use std::path::Path;

use bayeslora::low_level::predict::as_trained;
use bayeslora::low_level::train::gauge::{Order, Posterior, Ranks};
use bayeslora::low_level::train::weakest;
use bayeslora::{Adapter, Backbone, PruneGauge, TrainConfig};

use crate::status::{Failure, bl_status, guard};
use crate::text;

/// Turns an adapter's ranks into the singular directions, which changes no prediction, keeps a share of them, the largest, and
/// writes what is left. Gates act on it as before. `ranks_left` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn bl_prune(
    backbone: *const c_char,
    adapter_dir: *const c_char,
    keep: f64,
    out_dir: *const c_char,
    ranks_left: *mut usize,
) -> bl_status {
    guard(|| {
        if !(0.0..=1.0).contains(&keep) {
            return Err(Failure::invalid(format!(
                "keep is {keep}, expected a share from 0 to 1"
            )));
        }
        let backbone = Backbone::load(Path::new(text::required(backbone, "backbone")?))?;
        let adapter = Adapter::load_peft(text::path(adapter_dir, "adapter_dir")?)?;
        let backbone = as_trained(&backbone, &adapter);
        let out_dir = text::path(out_dir, "out_dir")?;
        let gated = adapter.draws();
        let ways = (PruneGauge::Svd, gated.then_some(Posterior::Mixed));
        let config = TrainConfig::default();
        let ranks = Ranks::new(&backbone, &adapter, &config, ways, None)?;
        let order = weakest(&ranks.scores(Order::SingularValue)?, 0);
        let left = (keep * order.len() as f64).round() as usize;
        let cut = ranks.without(&order[..order.len() - left]);
        cut.adapter.save_peft(out_dir)?;
        if !ranks_left.is_null() {
            // SAFETY: not null; the header asks for a place that can be written.
            unsafe { *ranks_left = left };
        }
        Ok(())
    })
}
