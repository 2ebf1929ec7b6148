// x at each pixel's place plus scale times its displacement, bilinear.

struct Params {
    images: u32,
    side: u32,
    scale: f32,
    border: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> displacements: array<vec4f>; // columns, rows
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

//# include "common/picture"
//# include "common/bilinear"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let place = place_of(item);
    let at = vec2f(place.at) + params.scale * displacements[item].xy;
    out[item] = between(place.image, at, params.border);
}
