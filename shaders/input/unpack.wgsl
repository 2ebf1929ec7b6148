// Cached features, two f16 a word, to f32.

//# from "common/map" import writes

struct Params {
    quads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> halves: array<vec2u>;
{{ writes(2, "out", textured) }}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.quads) { return; }
    let words = halves[item];
    out_set(item, vec4f(unpack2x16float(words.x), unpack2x16float(words.y)));
}
