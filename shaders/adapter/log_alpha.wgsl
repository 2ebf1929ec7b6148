// The gradient of every log alpha and its KL to the prior (equation 4):
//   dL/dt_i = sum_n dL/dz[n,i] (z[n,i] - 1)/2 + beta kl_scale kappa_i / N KL'(t_i)
// {{ ["Molchanov's fit of the log-uniform prior", "empirical Bayes: N(0, s_i^2) at its best s_i", "gate prior N(1, s^2)"][prior] }}

//# include "common/step"
//# include "common/ranks"
//# include "common/divergence"

struct Params {
    ranks: u32,
    batch: u32,
//# if prior == 2
    variance: f32,
//# endif
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ranks: array<Rank>;
@group(0) @binding(2) var<storage, read> parameters: array<f32>;
@group(0) @binding(3) var<storage, read> gates: array<f32>;
@group(0) @binding(4) var<storage, read> gate_gradients: array<f32>;
@group(0) @binding(5) var<storage, read_write> gradients: array<f32>;
@group(0) @binding(6) var<storage, read_write> kl: array<f32>;

// KL and its derivative at log alpha = t.
fn divergence(t: f32) -> vec2f {
//# if prior == 0
    return molchanov(t);
//# elif prior == 1
    return vec2f(0.5 * softplus(-t), -0.5 * sigmoid(-t));
//# else
    let ratio = exp(t) / params.variance;
    return vec2f(0.5 * (ratio - 1.0 - t + log(params.variance)), 0.5 * (ratio - 1.0));
//# endif
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.ranks) { return; }
    let rank = ranks[item];
    if (rank.parameter == NONE) {
        kl[item] = 0.0;
        return;
    }
    var sum = 0.0;
    for (var row = 0u; row < params.batch; row++) {
        let place = rank.gate + row * rank.stride;
        sum = fma(gate_gradients[place], 0.5 * (gates[place] - 1.0), sum);
    }
    let kl_and_slope = rank.kappa * divergence(parameters[rank.parameter]);
    kl[item] = kl_and_slope.x;
    gradients[rank.parameter] = fma(step.kl_weight, kl_and_slope.y, sum);
}
