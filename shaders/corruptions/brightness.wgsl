// V + shift at most 1 in HSV. With hue and saturation kept the channels grow as V = max(r, g, b) does.

struct Params {
    images: u32,
    side: u32,
    shift: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let v = x[item];
    let value = max(max(v.x, v.y), v.z);
    let lifted = min(value + params.shift, 1.0);
    if (value > 0.0) { out[item] = v * (lifted / value); } else { out[item] = vec4f(lifted); }
}
