// Poisson(c v)/c at most 1, by inversion: the number of counts k below c with P(K <= k) <= u. Row v of the
// table, one for each byte 255 v, has P(K <= k) in units of 2^-32.

//# include "common/draw"

struct Params {
    images: u32,
    side: u32,
    first_image: u32, // number of the first image in its set
    corruption: u32,
    seed_low: u32,
    seed_high: u32,
    counts: u32, // c
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> table: array<u32>; // [byte][count]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

fn poisson(value: f32, bits: u32) -> f32 {
    let row = u32(round(255.0 * value)) * params.counts;
    var low = 0u;
    var high = params.counts;
    for (var step = 0u; step < 32u && low < high; step++) {
        let middle = (low + high) / 2u;
        if (table[row + middle] <= bits) { low = middle + 1u; } else { high = middle; }
    }
    return f32(low) / f32(params.counts);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let area = params.side * params.side;
    let bits = draw(item / area, item % area, 0u);
    let v = x[item];
    out[item] = vec4f(poisson(v.x, bits.x), poisson(v.y, bits.y), poisson(v.z, bits.z), 0.0);
}
