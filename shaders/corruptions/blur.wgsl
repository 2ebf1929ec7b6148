// The weighted sum of the pixels at some offsets.

struct Params {
    images: u32,
    side: u32,
    taps: u32,
    stride: u32, // taps from one image to the next; 0 where all have the same
    border: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> taps: array<vec4f>; // column, row, weight
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

//# include "common/picture"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let place = place_of(item);
    var sum = vec4f();
    for (var i = 0u; i < params.taps; i++) {
        let tap = taps[place.image * params.stride + i];
        sum += tap.z * x[item_of(place.image, place.at + vec2i(tap.xy), params.border)];
    }
    out[item] = sum;
}
