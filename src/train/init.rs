//! Starting values.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::formats::Head;
use crate::model::{AdapterLayout, AdapterState, LayerState};

/// log alpha of every gate at the start.
pub const INITIAL_LOG_ALPHA: f32 = -5.0;

/// log sigma^2 of drawn weights at the start, the authors' value: sigma is .0025, while A's weights start at up to
/// 1/sqrt(fan in), which is .02 to .06 in layer3 and layer4.
pub const INITIAL_LOG_VARIANCE: f32 = -12.0;

/// A and the head uniform in +-1/sqrt(fan in) (Kaiming with a = sqrt 5, as PEFT and PyTorch do),
/// B zero, so that the adapted network equals the backbone at step 0.
pub fn initial_state(layout: &AdapterLayout, seed: u64) -> AdapterState {
    let mut random = Pcg64::seed_from_u64(seed);
    let mut uniform = |count, fan_in| uniform(&mut random, count, fan_in);
    let layers = layout.layers.iter().map(|layer| {
        let fan_in = layer.in_channels * layer.taps();
        LayerState {
            lora_a: uniform(layer.rank() * fan_in, fan_in),
            lora_b: vec![0.0; layer.rank() * layer.out_channels],
            log_alpha: vec![INITIAL_LOG_ALPHA; layer.rank()],
        }
    });
    let layers = layers.collect();
    let features = layout.features;
    AdapterState {
        layers,
        head_weight: uniform(layout.classes * features, features),
        head_bias: uniform(layout.classes, features),
    }
}

/// A head that is still to be trained, `[classes, features]` and `[classes]`, with such values.
pub fn initial_head(classes: usize, features: usize, seed: u64) -> Head {
    let mut random = Pcg64::seed_from_u64(seed);
    Head {
        classes,
        features,
        weight: uniform(&mut random, classes * features, features),
        bias: uniform(&mut random, classes, features),
        trained: false,
    }
}

fn uniform(random: &mut Pcg64, count: usize, fan_in: usize) -> Vec<f32> {
    let bound = (fan_in as f32).sqrt().recip();
    (0..count)
        .map(|_| random.random_range(-bound..bound))
        .collect()
}
