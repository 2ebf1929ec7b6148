// image x + weight ice. The ice is made of two plasma fractals a and b in 0..1: crystals along the contours
// a = 0, 1/3, 2/3 and 1, c = (2 fract(3a) - 1)^2, on a film of frost b; from a dark blue to white by
// t = 0.6 c + 0.4 b.

struct Params {
    images: u32,
    side: u32,
    map_side: u32,
    image: f32,
    weight: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> map: array<vec4f>;
@group(0) @binding(3) var<storage, read> map_range: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

//# include "common/picture"
//# include "common/height"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let h = height(place_of(item));
    let ridge = 2.0 * fract(3.0 * h.x) - 1.0;
    let ice = mix(vec3f(0.15, 0.24, 0.36), vec3f(0.95, 0.98, 1.0), 0.6 * ridge * ridge + 0.4 * h.y);
    out[item] = params.image * x[item] + params.weight * vec4f(ice, 0.0);
}
