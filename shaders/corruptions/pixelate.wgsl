// Resized to `small` pixels by a box filter, and back by the nearest pixel. Column x counts for column s of
// the small image where x + 1/2 lies in (s, s + 1] side/small; rows likewise, after rounding to bytes.

struct Params {
    images: u32,
    side: u32,
    small: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

//# include "common/picture"

// The first column that counts for s.
fn begin(s: u32) -> u32 {
    return (2u * s * params.side + params.small) / (2u * params.small);
}

fn rounded(v: vec4f) -> vec4f {
    return floor(v + (0.5 + 0x1p-9));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let place = place_of(item);
    let small = (2u * vec2u(place.at) + 1u) * params.small / (2u * params.side);
    let low = vec2u(begin(small.x), begin(small.y));
    let high = vec2u(begin(small.x + 1u), begin(small.y + 1u));
    var rows = vec4f();
    for (var row = low.y; row < high.y; row++) {
        var columns = vec4f();
        for (var column = low.x; column < high.x; column++) {
            columns += x[(place.image * params.side + row) * params.side + column];
        }
        rows += rounded(255.0 * columns / f32(high.x - low.x));
    }
    out[item] = rounded(rows / f32(high.y - low.y)) / 255.0;
}
