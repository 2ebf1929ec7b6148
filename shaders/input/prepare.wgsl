// Images (u8, [n][side][side][rgb]) to the network's input: crop, flip, bilinear resize (half-pixel
// centres, no antialias), (v/255 - mean)/std. Crops reach up to 4 pixels past the border, which is
// reflected. One invocation per pixel; the fourth channel is zero. A set may lie in several buffers, each
// with a dispatch of its own: rows whose image is in another one are skipped.

//# from "common/map" import writes

struct Params {
    first: u32, // row of the batch that this chunk begins with
    batch: u32,
    side: u32,
    size: u32,
    first_image: u32, // of those in the buffer
    image_count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> images: array<u32>;
@group(0) @binding(2) var<storage, read> views: array<vec4i>; // crop x, crop y, flip, image
{{ writes(3, "out", textured) }}

fn byte(index: u32) -> f32 {
    return f32((images[index / 4u] >> (index % 4u * 8u)) & 0xffu);
}

fn reflected(at: i32) -> u32 {
    let last = i32(params.side) - 1;
    let positive = abs(at);
    return u32(clamp(select(positive, 2 * last - positive, positive > last), 0, last));
}

fn pixel(at: vec2i, view: vec4i) -> vec3f {
    let column = select(at.x, i32(params.side) - 1 - at.x, view.z != 0) + view.x;
    let image = u32(view.w) - params.first_image;
    let start = ((image * params.side + reflected(at.y + view.y)) * params.side + reflected(column)) * 3u;
    return vec3f(byte(start), byte(start + 1u), byte(start + 2u));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let n = item % params.batch;
    let position = item / params.batch;
    if (position >= params.size * params.size) { return; }
    let view = views[params.first + n];
    // Wraps around for images before the first.
    if (u32(view.w) - params.first_image >= params.image_count) { return; }
    let target_ = vec2f(vec2u(position % params.size, position / params.size));
    let ratio = f32(params.side) / f32(params.size);
    let source = max((target_ + 0.5) * ratio - 0.5, vec2f());
    let low = min(vec2i(source), vec2i(i32(params.side) - 1));
    let high = min(low + 1, vec2i(i32(params.side) - 1));
    let t = source - vec2f(low);
    let top = mix(pixel(low, view), pixel(vec2i(high.x, low.y), view), t.x);
    let bottom = mix(pixel(vec2i(low.x, high.y), view), pixel(high, view), t.x);
    let mean = vec3f(0.485, 0.456, 0.406);
    let deviation = vec3f(0.229, 0.224, 0.225);
    out_set(item, vec4f((mix(top, bottom, t.y) / 255.0 - mean) / deviation, 0.0));
}
