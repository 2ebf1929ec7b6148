//! An adapter folded into the weights of its backbone.

use super::peft_modules::HEAD;
use super::{Adapter, BackboneFile, FormatError, TensorFile};

/// Adds s B A to a weight `[out, n]`, with A `[rank, n]` and B `[out, rank]`.
pub(crate) fn add_product(
    weight: &mut [f32],
    scale: f32,
    lora_b: &[f32],
    lora_a: &[f32],
    rank: usize,
) {
    if rank == 0 {
        return;
    }
    let inputs = lora_a.len() / rank;
    for (row, b) in weight
        .chunks_exact_mut(inputs)
        .zip(lora_b.chunks_exact(rank))
    {
        for (b, a) in b.iter().zip(lora_a.chunks_exact(inputs)) {
            let b = scale * b;
            for (weight, a) in row.iter_mut().zip(a) {
                *weight += b * a;
            }
        }
    }
}

impl BackboneFile {
    /// The tensors of the network with the mean adapter (z = 1) inside: W + s B A in place of W, and the adapter's head
    /// as `fc`. Names are torchvision's.
    ///
    /// # Errors
    /// The adapter has a layer that the network has not, or of another shape.
    pub fn merged(&self, adapter: &Adapter) -> Result<TensorFile, FormatError> {
        let mut file = TensorFile {
            source: "the adapter".into(),
            tensors: self.tensors().clone(),
            ..TensorFile::default()
        };
        let head = &adapter.head;
        let shape = [head.classes, head.features];
        let features = [head.classes, self.widths[3]];
        if shape != features {
            return Err(file.bad_shape("fc.weight", &shape, format!("{features:?}")));
        }
        file.insert(format!("{HEAD}.weight"), &shape, head.weight.clone());
        file.insert(format!("{HEAD}.bias"), &shape[..1], head.bias.clone());
        for layer in &adapter.layers {
            let name = format!("{}.weight", layer.name);
            let found = vec![
                layer.out_channels,
                layer.in_channels,
                layer.kernel,
                layer.kernel,
            ];
            // To the network `fc` is a matrix.
            let found = match layer.name == HEAD {
                true => found[..2].to_vec(),
                false => found,
            };
            let mut tensor = file.take(&name)?;
            if tensor.shape != found {
                return Err(file.bad_shape(&name, &found, format!("{:?}", tensor.shape)));
            }
            let (b, a) = (&layer.lora_b, &layer.lora_a);
            add_product(&mut tensor.data, adapter.scale(), b, a, layer.rank());
            file.tensors.insert(name, tensor);
        }
        Ok(file)
    }
}
