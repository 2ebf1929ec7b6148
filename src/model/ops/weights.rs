//! Weights about their means: drawing them, the gradients of means and noise, the KL.

use crate::gpu::{Dispatch, Slot, Value, Variables};
use crate::model::graph::{Graph, u};

/// What drawing weights and differentiating their distribution share.
#[derive(Clone, Copy)]
pub struct WeightTable {
    pub step: Slot,
    pub ranks: Slot,
    /// The means, and rho = log sigma^2 in place of log alpha.
    pub parameters: Slot,
    /// Laid out as the parameters.
    pub drawn: Slot,
    /// Ranks of all layers.
    pub entries: usize,
}

impl Graph {
    /// Draws every weight of A and B; what else is in `drawn` stays as it is.
    pub fn draw_weights(&mut self, table: WeightTable) {
        self.a_workgroup_a_rank("weights", "adapter/weights", table, &[]);
    }

    /// Adds the KL's part to the gradients of A and B, writes those of rho and the KL of every rank, `[entries]`.
    pub fn weight_noise(&mut self, table: WeightTable, gradients: Slot, kl: Slot) {
        let written = [("gradients", gradients), ("kl", kl)];
        let label = "weight noise gradient and KL";
        self.a_workgroup_a_rank(label, "adapter/weight_noise", table, &written);
    }

    fn a_workgroup_a_rank(
        &mut self,
        label: &str,
        shader: &str,
        table: WeightTable,
        more: &[(&str, Slot)],
    ) {
        let own = [
            ("step", table.step),
            ("ranks", table.ranks),
            ("parameters", table.parameters),
            ("drawn", table.drawn),
        ];
        let params: [(&str, Value); 1] = [("ranks", u(table.entries))];
        let kernel = self.builder.gpu().kernel(shader, Variables::new(&[]));
        self.builder.dispatch(Dispatch {
            label: label.into(),
            kernel,
            bind: &[&own[..], more].concat(),
            params: &params,
            workgroups: table.entries as u64,
            flops: 0,
        });
    }
}
