// Cached features (f16, two per word, [n][position][channel]) to f32. A set may lie in several buffers,
// each with a dispatch of its own: rows whose features are in another one are skipped. Rows with a
// negative number have no features: the first dispatch sets them to zero. A workgroup has one row, so that
// skipped rows cost next to nothing.

//# from "common/map" import writes

struct Params {
    batch: u32,
    row_groups: u32, // workgroups of a row
    row_quads: u32,
    channel_quads: u32,
    first_row: u32, // of those in the buffer
    row_count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> halves: array<vec2u>;
@group(0) @binding(2) var<storage, read> views: array<vec4i>; // w: number of the features
{{ writes(3, "out", textured) }}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let wg = group.x + group.y * groups.x;
    let n = wg / params.row_groups;
    if (n >= params.batch) { return; }
    let number = views[n].w;
    // Wraps around for rows before the first.
    let row = u32(number) - params.first_row;
    let here = row < params.row_count;
    let nowhere = number < 0 && params.first_row == 0u;
    if (!here && !nowhere) { return; }
    let first = (wg - n * params.row_groups) * 64u + local;
    for (var quad = first; quad < params.row_quads; quad += params.row_groups * 64u) {
        var value = vec4f();
        if (here) {
            let words = halves[row * params.row_quads + quad];
            value = vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
        }
        let position = quad / params.channel_quads;
        let channel = quad - position * params.channel_quads;
        out_set((position * params.batch + n) * params.channel_quads + channel, value);
    }
}
