// What weights theta_ij = mu_ij + sigma_i eps add to the gradients, once those of A and B hold g = dL/dtheta:
//   dL/dmu_ij = g_ij - 2 w_i KL'(t_ij) / mu_ij
//   dL/drho_i = sum_j g_ij (theta_ij - mu_ij)/2 + w_i sum_j KL'(t_ij)
// with rho_i = log sigma_i^2, t_ij = rho_i - log mu_ij^2, w_i = beta kl_scale kappa_i / (N n_i); and each rank's KL to
// the log-uniform prior, kappa_i / n_i sum_j KL(t_ij). One workgroup per rank; sums in a fixed order.

//# include "common/step"
//# include "common/weights"
//# include "common/divergence"

struct Params {
    ranks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ranks: array<Rank>;
@group(0) @binding(2) var<storage, read> parameters: array<vec4f>;
@group(0) @binding(3) var<storage, read> drawn: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> gradients: array<f32>;
@group(0) @binding(5) var<storage, read_write> kl: array<f32>;

var<workgroup> parts: array<vec3f, 64>;

// KL and KL' of one weight. Above t = 40, where |mu| is below 2e-9 sigma, both are below 1e-17 and count as zero, and
// so does KL'/mu, which tends to 0 with mu.
fn divergence(rho: f32, mu: f32) -> vec2f {
    let t = rho - 2.0 * log(max(abs(mu), 0x1p-100));
    if (t > 40.0) { return vec2f(); }
    return molchanov(t);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let number = group.x + group.y * groups.x;
    if (number >= params.ranks) { return; }
    let rank = ranks[number];
    let rho = parameters[rank.rho / 4u][rank.rho % 4u];
    let weight = step.kl_weight * rank.kl;
    var sum = vec3f(); // KL, KL', g (theta - mu)
    for (var quad = local; quad < quads_of(rank); quad += 64u) {
        let place = place_of(rank, quad);
        let mu = parameters[place];
        let noise = drawn[place] - mu;
        let mask = is_weight(rank, quad);
//# for k in range(4)
        if (mask[{{ k }}]) {
            let g = gradients[4u * place + {{ k }}u];
            let kl_and_slope = divergence(rho, mu[{{ k }}]);
            sum += vec3f(kl_and_slope, g * noise[{{ k }}]);
            if (kl_and_slope.y != 0.0) {
                gradients[4u * place + {{ k }}u] = g - 2.0 * weight * kl_and_slope.y / mu[{{ k }}];
            }
        }
//# endfor
    }
    parts[local] = sum;
    workgroupBarrier();
    if (local == 0u) {
        var total = vec3f();
        for (var i = 0u; i < 64u; i++) { total += parts[i]; }
        kl[number] = rank.kl * total.x;
        gradients[rank.rho] = fma(weight, total.y, 0.5 * total.z);
    }
}
