// Bytes [pixel][rgb] to v/255.

struct Params {
    images: u32,
    side: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> bytes: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

fn byte(index: u32) -> f32 {
    return f32((bytes[index / 4u] >> (index % 4u * 8u)) & 0xffu);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    out[item] = vec4f(byte(3u * item), byte(3u * item + 1u), byte(3u * item + 2u), 0.0) / 255.0;
}
