// out[n,:] = base[n,:] + sum_i scale z[n,i] low[n,i] up[i,:] on a 1x1 map: the adapter of the head, and
// the gradient of the pooled features (low = dL/dlogits, up = the head's weight).

struct Params {
    batch: u32,
    share: u32, // rows (samples) that read one row of `low` and `base`
    rank: u32,
    out_quads: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> low: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
//# if gated
@group(0) @binding(4) var<storage, read> gates: array<f32>;
//# endif
//# if based
@group(0) @binding(5) var<storage, read> base: array<vec4f>;
//# endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.batch * params.out_quads) { return; }
    let row = item / params.out_quads;
    let col = item % params.out_quads;
    let lanes = (params.rank + 3u) / 4u * 4u;
    let low_row = row / params.share;
    var sum = vec4f();
    for (var i = 0u; i < params.rank; i++) {
        var l = params.scale * low[low_row * lanes + i];
//# if gated
        l *= gates[row * lanes + i];
//# endif
        sum = fma(vec4f(l), up[i * params.out_quads + col], sum);
    }
//# if based
    sum += base[low_row * params.out_quads + col];
//# endif
    out[item] = sum;
}
