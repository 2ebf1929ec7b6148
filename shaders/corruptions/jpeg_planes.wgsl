// Y, Cb and Cr less 128 (JFIF) as whole numbers, of each pixel or (`shrink` 2) of each 2 x 2; edge pixels fill
// the last blocks up. As libjpeg rounds: chroma's halves down, means of four by adding 1 and 2 in turn.
// In thousandths and millionths, so that it is exact.

struct Params {
    images: u32,
    side: u32,
    shrink: u32,
    padded: u32, // side of the planes, a multiple of 8
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> planes: array<vec4f>;

//# include "common/picture"

fn ycc(image: u32, at: vec2i) -> vec3i {
    let v = vec3i(round(255.0 * x[item_of(image, at, NEAREST)].xyz));
    let y = (299 * v.x + 587 * v.y + 114 * v.z + 500) / 1000;
    let blue = (500000 * v.z - 168736 * v.x - 331264 * v.y + 128499999) / 1000000;
    let red = (500000 * v.x - 418688 * v.y - 81312 * v.z + 128499999) / 1000000;
    return vec3i(y, blue, red);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.padded * params.padded) { return; }
    let place = item % (params.padded * params.padded);
    let image = item / (params.padded * params.padded);
    let at = vec2i(vec2u(place % params.padded, place / params.padded));
    let shrink = i32(params.shrink);
    var sum = vec3i(select(0, 1 + at.x % 2, shrink == 2));
    for (var row = 0; row < shrink; row++) {
        for (var column = 0; column < shrink; column++) {
            sum += ycc(image, shrink * at + vec2i(column, row));
        }
    }
    planes[item] = vec4f(vec3f(sum / (shrink * shrink) - 128), 0.0);
}
