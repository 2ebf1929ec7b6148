// dL/dz[n,i] = scale sum_p q[p,n,i] h[p,n,i] for the gates of one layer.

struct Params {
    positions: u32,
    batch: u32,
    quads: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> h: array<vec4f>;
@group(0) @binding(2) var<storage, read> q: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> gate_gradients: array<vec4f>; // [batch][quads]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let size = params.batch * params.quads;
    if (item >= size) { return; }
    var sum = vec4f();
    for (var p = 0u; p < params.positions; p++) {
        sum = fma(h[p * size + item], q[p * size + item], sum);
    }
    gate_gradients[item] = params.scale * sum;
}
