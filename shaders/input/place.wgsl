// Puts a chunk of examples into its place in the tensor of the whole batch.

//# from "common/map" import reads, writes

struct Params {
    positions: u32,
    first: u32, // example of the batch that the chunk begins with
    chunk: u32,
    batch: u32,
    channel_quads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
{{ writes(2, "out", textured) }}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let row_quads = params.chunk * params.channel_quads;
    if (item >= params.positions * row_quads) { return; }
    let position = item / row_quads;
    let start = (position * params.batch + params.first) * params.channel_quads;
    out_set(start + item % row_quads, x_at(item));
}
