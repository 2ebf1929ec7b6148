// The mean over some zooms, each of which reads coordinate start + i ratio at pixel i of a line.

struct Params {
    images: u32,
    side: u32,
    zooms: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> zooms: array<vec2f>; // start, ratio
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

//# include "common/picture"
//# include "common/bilinear"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let place = place_of(item);
    var sum = vec4f();
    for (var i = 0u; i < params.zooms; i++) {
        let zoom = zooms[i];
        sum += between(place.image, zoom.x + zoom.y * vec2f(place.at), NEAREST);
    }
    out[item] = sum / f32(params.zooms);
}
