// Gates of every adapter for every row, with mean 1 and variance alpha:
//# if bernoulli
// z = 1 + alpha where u < 1/(1 + alpha), else 0, u uniform: dropout with alpha = p/(1 - p).
//# else
// z = 1 + sqrt(alpha) eps, eps standard normal (equation 12).
//# endif
//
// {{ "u comes from word" if bernoulli else "eps is normal" }} number id % 4 of the Philox block with
//   key = seed,  counter = (example, draw, layer 2^16 + id / 4, purpose),
// so it depends on these alone, not on the batch or on what was pruned.

//# include "common/step"
//# include "common/ranks"
//# include "common/philox"

struct Params {
    ranks: u32,
    rows: u32,
    samples: u32, // rows of one example
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ranks: array<Rank>;
@group(0) @binding(2) var<storage, read> examples: array<u32>;
@group(0) @binding(3) var<storage, read> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> gates: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.ranks * params.rows) { return; }
    let rank = ranks[item % params.ranks];
    let row = item / params.ranks;
    var z = 1.0;
    if (rank.parameter == NONE) {
        z = 0.0;
    } else if (step.gate_mode != 0u) {
        let example = select(examples[row / params.samples], NONE, step.gate_mode == 2u);
        let draw = step.draw + row % params.samples;
        let counter = vec4u(example, draw, rank.layer * 65536u + rank.id / 4u, step.purpose);
        let bits = philox(counter, vec2u(step.seed_low, step.seed_high));
//# if bernoulli
        let u = (f32(bits[rank.id & 3u]) + 0.5) * 0x1p-32;
        let kept = 1.0 + exp(parameters[rank.parameter]);
        z = select(0.0, kept, u * kept < 1.0);
//# else
        let pair = select(normal_pair(bits.x, bits.y), normal_pair(bits.z, bits.w), (rank.id & 2u) != 0u);
        let eps = select(pair.x, pair.y, (rank.id & 1u) != 0u);
        z += exp(0.5 * parameters[rank.parameter]) * eps;
//# endif
    }
    gates[rank.gate + row * rank.stride] = z;
}
