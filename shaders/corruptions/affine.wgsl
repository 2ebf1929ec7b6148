// Displacements of a random affine map: of the three corners p0 = c + (s, s), p1 = c + (s, -s) and
// p2 = c - (s, s) around the centre c = side/2, with s = side/3 or 1, both rounded down, corner k moves to
// q_k = p_k + shift u_k, u uniform in (-1, 1). Pixel p reads where the inverse map takes it:
//   p1 + A^-1 (p - q1),  A = (q1 - q2, q0 - q1) / 2s in columns.

//# include "common/draw"

struct Params {
    images: u32,
    side: u32,
    first_image: u32, // number of the first image in its set
    corruption: u32,
    seed_low: u32,
    seed_high: u32,
    shift: f32,
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
    let near = params.shift * (2.0 * unit(draw(place.image, 0u, 1u)) - 1.0);
    let last = params.shift * (2.0 * unit(draw(place.image, 1u, 1u)).xy - 1.0);
    let reach = f32(max(params.side / 3u, 1u));
    let a = vec2f(1.0, 0.0) + (near.zw - last) / (2.0 * reach);
    let b = vec2f(0.0, 1.0) + (near.xy - near.zw) / (2.0 * reach);
    let corner = f32(params.side / 2u) + vec2f(reach, -reach);
    let d = vec2f(place.at) - corner - near.zw;
    let back = vec2f(b.y * d.x - b.x * d.y, a.x * d.y - a.y * d.x) / (a.x * b.y - a.y * b.x);
    out[item] = vec4f(corner + back - vec2f(place.at), 0.0, 0.0);
}
