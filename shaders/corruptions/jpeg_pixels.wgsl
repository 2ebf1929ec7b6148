// Back to RGB: Y as it is, Cb and Cr from planes of half the size by the triangle filter, that is bilinear
// with half-pixel centres. As libjpeg rounds: halves up in even columns and down in odd ones.

struct Params {
    images: u32,
    side: u32,
    padded: u32, // side of the plane of Y
    half_padded: u32, // and of those of Cb and Cr
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> luma: array<vec4f>;
@group(0) @binding(2) var<storage, read> chroma: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

//# include "common/picture"

fn levels(v: vec4f) -> vec4f {
    return clamp(floor(v + (128.5 + 0x1p-9)), vec4f(), vec4f(255.0));
}

fn chroma_at(image: u32, at: vec2i) -> vec4f {
    let last = i32((params.side + 1u) / 2u) - 1;
    let place = vec2u(clamp(at, vec2i(), vec2i(last)));
    return levels(chroma[(image * params.half_padded + place.y) * params.half_padded + place.x]) - 128.0;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let place = place_of(item);
    let row = place.image * params.padded + u32(place.at.y);
    let y = levels(luma[row * params.padded + u32(place.at.x)]).x;
    let near = place.at / 2;
    let far = near + 2 * (place.at % 2) - 1;
    let top = mix(chroma_at(place.image, near), chroma_at(place.image, vec2i(far.x, near.y)), 0.25);
    let bottom = mix(chroma_at(place.image, vec2i(near.x, far.y)), chroma_at(place.image, far), 0.25);
    let c = floor(mix(top, bottom, 0.25) + select(0.5, 0.4375, place.at.x % 2 == 1));
    let rgb = vec3f(y + 1.402 * c.z, y - 0.344136 * c.y - 0.714136 * c.z, y + 1.772 * c.y);
    out[item] = vec4f(rgb / 255.0, 0.0);
}
