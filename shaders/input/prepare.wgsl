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

fn reflected(at: i32) -> u32 {
    let last = i32(params.side) - 1;
    let positive = abs(at);
    return u32(clamp(select(positive, 2 * last - positive, positive > last), 0, last));
}

// Two pixels of a row.
struct Pair { left: vec3f, right: vec3f }

// The pixels of a row at columns that are neighbours or the same: their bytes lie in one to three words, and no other is loaded, since a
// load costs more than all that is done with it.
fn pair(y: i32, columns: vec2i, view: vec4i) -> Pair {
    let flipped = select(columns, i32(params.side) - 1 - columns, view.z != 0) + view.x;
    let found = vec2u(reflected(flipped.x), reflected(flipped.y));
    let row = (u32(view.w) - params.first_image) * params.side + reflected(y + view.y);
    let start = (row * params.side + min(found.x, found.y)) * 3u;
    let shift = start % 4u * 8u;
    let bytes = start % 4u + select(6u, 3u, found.x == found.y);
    var words = vec3u(images[start / 4u], 0u, 0u);
    if (bytes > 4u) { words.y = images[start / 4u + 1u]; }
    if (bytes > 8u) { words.z = images[start / 4u + 2u]; }
    // WGSL takes the amount of a shift modulo 32, so that a shift by 32 would be one by 0.
    let low = select((words.xy >> vec2u(shift)) | (words.yz << vec2u(32u - shift)), words.xy, shift == 0u);
    let first = vec3f(unpacked(low.x, 0u), unpacked(low.x, 1u), unpacked(low.x, 2u));
    let second = vec3f(unpacked(low.x, 3u), unpacked(low.y, 0u), unpacked(low.y, 1u));
    return Pair(
        select(second, first, found.x <= found.y),
        select(second, first, found.y <= found.x),
    );
}

fn unpacked(word: u32, index: u32) -> f32 { return f32((word >> (index * 8u)) & 0xffu); }

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
    // Without a resize each output is one pixel, and no neighbour is loaded.
    let columns = vec2i(low.x, select(high.x, low.x, t.x == 0.0));
    let top = pair(low.y, columns, view);
    var bottom = top;
    if (t.y > 0.0) { bottom = pair(high.y, columns, view); }
    let mean = vec3f(0.485, 0.456, 0.406);
    let deviation = vec3f(0.229, 0.224, 0.225);
    let value = mix(mix(top.left, top.right, t.x), mix(bottom.left, bottom.right, t.x), t.y);
    out_set(item, vec4f((value / 255.0 - mean) / deviation, 0.0));
}
