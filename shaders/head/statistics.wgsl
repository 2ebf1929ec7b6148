// Adds up a step: statistics[slot] = (sum of cross-entropies, correct predictions, KL, examples).

//# include "common/step"

struct Params {
    batch: u32,
    ranks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<vec2f>;
@group(0) @binding(2) var<storage, read> kl: array<f32>;
@group(0) @binding(3) var<storage, read_write> statistics: array<vec4f>;

@compute @workgroup_size(1)
fn main() {
    var loss = vec2f();
    for (var row = 0u; row < params.batch; row++) { loss += losses[row]; }
    var divergence = 0.0;
    for (var i = 0u; i < params.ranks; i++) { divergence += kl[i]; }
    statistics[step.slot] = vec4f(loss, divergence, f32(step.count));
}
