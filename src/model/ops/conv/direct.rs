//! A convolution as one product over its taps, and what is added to one.

use super::Conv;
use super::kernel::ProductKernel;
use super::product::{Product, Start};
use crate::model::frozen::WeightLayout;
use crate::model::graph::{Graph, Tensor};

impl Graph {
    pub(super) fn direct(&mut self, conv: Conv, kernel: ProductKernel) {
        let int8 = conv.frozen.is_int8();
        let layout = WeightLayout {
            backward: conv.backward,
            winograd: None,
            storage: kernel.storage(int8),
        };
        let start = Start::Weighted {
            input: conv.input,
            weight: conv.frozen.weight(self, layout),
            per_position: false,
            int8,
        };
        self.over_taps(conv, start, kernel);
    }

    /// The adapter's term and the epilogue over a `base` = W * x computed before.
    pub(super) fn adapted(&mut self, conv: Conv, base: Tensor, kernel: ProductKernel) {
        let label = format!("{}, adapter", conv.label);
        self.over_taps(Conv { label, ..conv }, Start::Base(base), kernel);
    }

    fn over_taps(&mut self, conv: Conv, start: Start, kernel: ProductKernel) {
        let spec = &conv.frozen.spec;
        self.product(
            Product {
                taps: conv.taps(),
                share: conv.share(),
                label: conv.label,
                start,
                backward: conv.backward,
                geometry: [spec.kernel, spec.stride, spec.pad],
                from: conv.input.map,
                out: conv.out,
                adapter: conv.adapter,
                epilogue: conv.epilogue,
            },
            kernel,
        );
    }
}
