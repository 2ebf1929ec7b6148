// Displacements to a pixel nearby: each coordinate uniform among -reach .. reach - 1, none for the first
// reach + 1 and the last reach - 1 rows and columns.

//# include "common/draw"

struct Params {
    images: u32,
    side: u32,
    first_image: u32, // number of the first image in its set
    corruption: u32,
    seed_low: u32,
    seed_high: u32,
    stream: u32,
    reach: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>; // columns, rows

//# include "common/picture"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let place = place_of(item);
    let area = params.side * params.side;
    let bits = draw(place.image, item % area, params.stream).xy;
    let reach = i32(params.reach);
    let step = vec2i(bits % (2u * params.reach)) - reach;
    let inside = (place.at > vec2i(reach)) & (place.at <= vec2i(i32(params.side) - reach));
    out[item] = vec4f(select(vec2f(), vec2f(step), all(inside)), 0.0, 0.0);
}
