// Every weight of A and B drawn about its mean, once for all rows: theta = mu + sigma_i eps, eps standard normal.
// One workgroup per rank.
//
// eps of lane k of a rank's quad q is normal number k of the Philox block with
//   key = seed,  counter = (q, draw, layer 2^16 + id, purpose + 2),
// so it depends on these alone, not on the place in the buffer or on what was pruned.

//# include "common/step"
//# include "common/weights"
//# include "common/philox"

struct Params {
    ranks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ranks: array<Rank>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> drawn: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let number = group.x + group.y * groups.x;
    if (number >= params.ranks) { return; }
    let rank = ranks[number];
    let sigma = exp(0.5 * parameters[rank.rho / 4u][rank.rho % 4u]);
    for (var quad = local; quad < quads_of(rank); quad += 64u) {
        let place = place_of(rank, quad);
        let mu = parameters[place];
        var theta = mu;
        if (step.gate_mode != 0u) {
            let counter = vec4u(quad, step.draw, rank.layer * 65536u + rank.id, step.purpose + 2u);
            let bits = philox(counter, vec2u(step.seed_low, step.seed_high));
            let eps = vec4f(normal_pair(bits.x, bits.y), normal_pair(bits.z, bits.w));
            theta = select(mu, fma(vec4f(sigma), eps, mu), is_weight(rank, quad));
        }
        drawn[place] = theta;
    }
}
