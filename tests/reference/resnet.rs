//! ResNet-18 in evaluation mode with adapters on any of its convolutions and on `fc`, and the
//! gradients of all adapters and of the head.
//!
//! Blocks, widths and downsampling are read off the weights, which go by torchvision's names, so
//! that tests can run a net of a few channels.

use super::adapter::{Adapter, AdapterGradients};
use super::affine::Affine;
use super::conv::{Geometry, conv2d, conv2d_input_gradient};
use super::head::{linear, linear_backward};
use super::pool::{average_pool, average_pool_backward, max_pool, max_pool_backward};
use super::tensor::Tensor;
use std::collections::BTreeMap;

pub type Named<T> = BTreeMap<String, T>;

const BATCHNORM_EPS: f64 = 1e-5;
const FC: &str = "fc";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stem {
    /// 7x7 stride 2, then the max-pool.
    ImageNet,
    /// 3x3 stride 1, no pool.
    Cifar,
}

pub struct ResNet<'a> {
    pub weights: &'a Named<Tensor>,
    pub stem: Stem,
    /// By the name of the convolution, as `layer3.0.conv1`, or `fc`.
    pub adapters: &'a Named<Adapter>,
}

/// A convolution with all that follows it up to the next: what its backward pass needs.
struct Unit {
    x: Tensor,
    h: Option<Tensor>,
    y: Tensor,
    relu: bool,
}

/// A forward pass.
pub struct Trace {
    /// `stem`, `layer1` to `layer4`, `pooled`, `logits`.
    pub outputs: Named<Tensor>,
    units: Named<Unit>,
    fc_h: Option<Tensor>,
}

impl Trace {
    pub fn logits(&self) -> &Tensor {
        &self.outputs["logits"]
    }

    /// A x of an adapter, `[N,r,H,W]`.
    pub fn h(&self, name: &str) -> Option<&Tensor> {
        match name {
            FC => self.fc_h.as_ref(),
            conv => self.units[conv].h.as_ref(),
        }
    }
}

pub struct Gradients {
    pub adapters: Named<AdapterGradients>,
    pub head_weight: Tensor,
    pub head_bias: Tensor,
}

impl ResNet<'_> {
    /// `gates` holds a `[N,r]` for every adapter.
    pub fn forward(&self, images: &Tensor, gates: &Named<Tensor>) -> Trace {
        let mut units = Named::new();
        let mut outputs = Named::new();

        let stem = self.unit("conv1", images, None, true, gates, &mut units);
        let mut x = match self.stem {
            Stem::ImageNet => max_pool(&stem),
            Stem::Cifar => stem,
        };
        outputs.insert("stem".to_owned(), x.clone());

        for block in self.blocks() {
            let conv = |name: &str| format!("{block}.{name}");
            let identity = if self.has_downsample(&block) {
                let name = conv("downsample.0");
                self.unit(&name, &x, None, false, gates, &mut units)
            } else {
                x.clone()
            };
            let inner = self.unit(&conv("conv1"), &x, None, true, gates, &mut units);
            let last = conv("conv2");
            x = self.unit(&last, &inner, Some(&identity), true, gates, &mut units);
            let (layer, _) = block.split_once('.').expect("layer.block");
            outputs.insert(layer.to_owned(), x.clone());
        }

        let pooled = average_pool(&x);
        let mut logits = linear(
            &pooled,
            &self.weights["fc.weight"],
            &self.weights["fc.bias"],
        );
        let mut fc_h = None;
        if let Some(adapter) = self.adapters.get(FC) {
            let (delta, h) = adapter.delta(&as_map(&pooled), &gates[FC], Geometry::new(1, 0));
            logits = logits.plus(&delta.reshaped(&logits.shape));
            fc_h = Some(h);
        }
        outputs.insert("pooled".to_owned(), pooled);
        outputs.insert("logits".to_owned(), logits);
        Trace {
            outputs,
            units,
            fc_h,
        }
    }

    /// From the gradient to the logits down to the lowest adapter.
    pub fn backward(&self, trace: &Trace, gates: &Named<Tensor>, dlogits: &Tensor) -> Gradients {
        let pooled = &trace.outputs["pooled"];
        let head = linear_backward(pooled, &self.weights["fc.weight"], dlogits);
        let mut adapters = Named::new();
        let mut dpooled = head.dx;
        if let (Some(adapter), Some(h)) = (self.adapters.get(FC), &trace.fc_h) {
            let (x, g) = (as_map(pooled), as_map(dlogits));
            let part = adapter.delta_backward(&x, h, &gates[FC], &g, Geometry::new(1, 0));
            dpooled = dpooled.plus(&part.dx.reshaped(&pooled.shape));
            adapters.insert(FC.to_owned(), part);
        }

        let blocks = self.blocks();
        let last = &trace.units[&format!("{}.conv2", blocks[blocks.len() - 1])].y;
        let [_, _, height, width] = last.dims4();
        let mut dy = average_pool_backward(&dpooled, [height, width]);
        for (i, block) in blocks.iter().enumerate().rev() {
            if !self.adapts_any_of(&blocks[..=i]) && !self.adapters.contains_key("conv1") {
                break;
            }
            let conv = |name: &str| format!("{block}.{name}");
            let mut back = |name: &str, dy: &Tensor| {
                self.unit_backward(name, &trace.units[name], gates, dy, &mut adapters)
            };
            let (dinner, didentity) = back(&conv("conv2"), &dy);
            let (through_convs, _) = back(&conv("conv1"), &dinner);
            let through_identity = if self.has_downsample(block) {
                back(&conv("downsample.0"), &didentity).0
            } else {
                didentity
            };
            dy = through_convs.plus(&through_identity);
        }
        if self.adapters.contains_key("conv1") {
            let unit = &trace.units["conv1"];
            if self.stem == Stem::ImageNet {
                dy = max_pool_backward(&unit.y, &dy);
            }
            self.unit_backward("conv1", unit, gates, &dy, &mut adapters);
        }
        Gradients {
            adapters,
            head_weight: head.dw,
            head_bias: head.db,
        }
    }

    /// `layer1.0`, `layer1.1`, `layer2.0` and so on, as far as there are weights.
    fn blocks(&self) -> Vec<String> {
        (1..=4)
            .flat_map(|layer| (0..8).map(move |block| (layer, block)))
            .map(|(layer, block)| format!("layer{layer}.{block}"))
            .filter(|block| self.weights.contains_key(&format!("{block}.conv1.weight")))
            .collect()
    }

    fn has_downsample(&self, block: &str) -> bool {
        let name = format!("{block}.downsample.0.weight");
        self.weights.contains_key(&name)
    }

    fn adapts_any_of(&self, blocks: &[String]) -> bool {
        let within = |name: &String| blocks.iter().any(|b| name.starts_with(&format!("{b}.")));
        self.adapters.keys().any(within)
    }

    fn geometry(&self, conv: &str) -> Geometry {
        match (conv, self.stem) {
            ("conv1", Stem::ImageNet) => return Geometry::new(2, 3),
            ("conv1", Stem::Cifar) => return Geometry::new(1, 1),
            _ => {}
        }
        let halves =
            conv.contains(".0.") && !conv.starts_with("layer1") && !conv.ends_with("conv2");
        let pad = if conv.ends_with("downsample.0") { 0 } else { 1 };
        Geometry::new(if halves { 2 } else { 1 }, pad)
    }

    fn affine(&self, conv: &str) -> Affine {
        let bn = match conv.strip_suffix("downsample.0") {
            Some(block) => format!("{block}downsample.1"),
            None => conv.replace("conv", "bn"),
        };
        let part = |name: &str| &self.weights[&format!("{bn}.{name}")].data;
        Affine::from_batchnorm(
            part("weight"),
            part("bias"),
            part("running_mean"),
            part("running_var"),
            BATCHNORM_EPS,
        )
    }

    fn unit(
        &self,
        conv: &str,
        x: &Tensor,
        residual: Option<&Tensor>,
        relu: bool,
        gates: &Named<Tensor>,
        units: &mut Named<Unit>,
    ) -> Tensor {
        let w = &self.weights[&format!("{conv}.weight")];
        let geometry = self.geometry(conv);
        let (v, h) = match self.adapters.get(conv) {
            Some(adapter) => {
                let (v, h) = adapter.forward(x, w, &gates[conv], geometry);
                (v, Some(h))
            }
            None => (conv2d(x, w, geometry), None),
        };
        let y = self.affine(conv).forward(&v, residual, relu);
        let unit = Unit {
            x: x.clone(),
            h,
            y: y.clone(),
            relu,
        };
        units.insert(conv.to_owned(), unit);
        y
    }

    /// `(dx, dresidual)`; the adapter's gradients are put into `adapters`.
    fn unit_backward(
        &self,
        conv: &str,
        unit: &Unit,
        gates: &Named<Tensor>,
        dy: &Tensor,
        adapters: &mut Named<AdapterGradients>,
    ) -> (Tensor, Tensor) {
        let w = &self.weights[&format!("{conv}.weight")];
        let geometry = self.geometry(conv);
        let (dv, dresidual) = self.affine(conv).backward(&unit.y, unit.relu, dy);
        let dx = match (self.adapters.get(conv), &unit.h) {
            (Some(adapter), Some(h)) => {
                let gradients = adapter.backward(&unit.x, w, h, &gates[conv], &dv, geometry);
                let dx = gradients.dx.clone();
                adapters.insert(conv.to_owned(), gradients);
                dx
            }
            _ => {
                let [_, _, height, width] = unit.x.dims4();
                conv2d_input_gradient(&dv, w, [height, width], geometry)
            }
        };
        (dx, dresidual)
    }
}

/// `[N,C]` as `[N,C,1,1]`.
fn as_map(x: &Tensor) -> Tensor {
    let [n, c] = x.dims2();
    x.reshaped(&[n, c, 1, 1])
}
