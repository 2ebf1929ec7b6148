// floor(255 clip(v, 0, 1) + bias) as bytes [pixel][rgb], one invocation per word.

struct Params {
    images: u32,
    side: u32,
    bias: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> bytes: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let total = 3u * params.images * params.side * params.side;
    if (4u * item >= total) { return; }
    var word = 0u;
    for (var i = 0u; i < min(4u, total - 4u * item); i++) {
        let index = 4u * item + i;
        let level = floor(255.0 * clamp(x[index / 3u][index % 3u], 0.0, 1.0) + params.bias);
        word |= u32(level) << (8u * i);
    }
    bytes[item] = word;
}
