// The trace of the adapter's output covariance (equation 16), summed over positions and added to
// what the layers before have added:  trace[n] += scale^2 sum_p sum_i alpha_i h[p,n,i]^2 |b_i|^2.

struct Params {
    positions: u32,
    batch: u32,
    rank: u32,
    out_quads: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> log_alpha: array<f32>;
@group(0) @binding(4) var<storage, read_write> trace: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let row = (group.x + group.y * groups.x) * 64u + local;
    if (row >= params.batch) { return; }
    let lanes = (params.rank + 3u) / 4u * 4u;
    var sum = 0.0;
    for (var i = 0u; i < params.rank; i++) {
        var energy = 0.0;
        for (var p = 0u; p < params.positions; p++) {
            let value = h[(p * params.batch + row) * lanes + i];
            energy = fma(value, value, energy);
        }
        var norm = 0.0;
        for (var o = 0u; o < params.out_quads; o++) {
            let value = b[i * params.out_quads + o];
            norm += dot(value, value);
        }
        sum += exp(log_alpha[i]) * energy * norm;
    }
    trace[row] += params.scale * params.scale * sum;
}
