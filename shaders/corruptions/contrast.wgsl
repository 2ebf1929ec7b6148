// (x - mean) factor + mean, the mean of each channel of an image.

struct Params {
    images: u32,
    side: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> range: array<vec4f>; // [image][mean, smallest, largest]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let mean = range[item / (params.side * params.side) * 3u];
    out[item] = (x[item] - mean) * params.factor + mean;
}
