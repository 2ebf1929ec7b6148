// floor(255 clip(v, 0, 1) + bias)/255, and 0 below a threshold.

struct Params {
    images: u32,
    side: u32,
    threshold: f32,
    bias: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let v = select(vec4f(), x[item], x[item] >= vec4f(params.threshold));
    out[item] = floor(255.0 * clamp(v, vec4f(), vec4f(1.0)) + params.bias) / 255.0;
}
