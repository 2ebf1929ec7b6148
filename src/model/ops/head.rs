//! Softmax: cross-entropy with its gradient, log probabilities, a step's statistics.

use crate::gpu::Slot;
use crate::model::graph::{Graph, Tensor, u};

impl Graph {
    /// Loss of each row into `losses`, and dL/dlogits; `class_weights` `[classes]` multiply both.
    pub fn cross_entropy(
        &mut self,
        step: Slot,
        logits: Tensor,
        labels: Slot,
        class_weights: Slot,
        losses: Slot,
    ) -> Tensor {
        let gradient = self.buffer_tensor("d logits", logits.map, logits.rows);
        let classes = logits.map.channels;
        self.elementwise(
            "softmax cross-entropy".into(),
            "head/cross_entropy",
            &[],
            &[
                ("step", step),
                ("logits", logits.slot),
                ("labels", labels),
                ("gradient", gradient.slot),
                ("losses", losses),
                ("class_weights", class_weights),
            ],
            &[("batch", u(logits.rows)), ("classes", u(classes))],
            logits.rows,
            (6 * logits.rows * classes) as u64,
        );
        gradient
    }

    /// log softmax, `[rows, classes]` without padding, into `out`.
    pub fn log_softmax(&mut self, logits: Tensor, out: Slot) {
        let classes = logits.map.channels;
        self.elementwise(
            "log softmax".into(),
            "head/log_softmax",
            &[],
            &[("logits", logits.slot), ("out", out)],
            &[("rows", u(logits.rows)), ("classes", u(classes))],
            logits.rows,
            (4 * logits.rows * classes) as u64,
        );
    }

    /// Sums a step's losses, hits and KL into its place.
    pub fn statistics(
        &mut self,
        step: Slot,
        losses: Slot,
        kl: Slot,
        statistics: Slot,
        rows: usize,
        ranks: usize,
    ) {
        self.elementwise(
            "statistics".into(),
            "head/statistics",
            &[],
            &[
                ("step", step),
                ("losses", losses),
                ("kl", kl),
                ("statistics", statistics),
            ],
            &[("batch", u(rows)), ("ranks", u(ranks))],
            1,
            (2 * rows + ranks) as u64,
        );
    }
}
