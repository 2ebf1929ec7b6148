// The taps of a motion blur: half a Gaussian along a ray whose angle is uniform within an eighth of a turn
// around `turn`, one angle per image. One invocation per tap.

//# include "common/draw"

struct Params {
    images: u32,
    side: u32,
    first_image: u32, // number of the first image in its set
    corruption: u32,
    seed_low: u32,
    seed_high: u32,
    taps: u32,
    turn: u32, // in units of 2^-32 turns
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> taps: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.taps) { return; }
    let i = item % params.taps;
    let bits = draw(item / params.taps, 0u, 1u).x;
    let direction = cos_sin_turn(params.turn + (bits >> 2u) - 0x20000000u);
    taps[item] = vec4f(ceil(f32(i) * direction - 0.5), weights[i], 0.0);
}
