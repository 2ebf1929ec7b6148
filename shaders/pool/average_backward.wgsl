// The gradient of the global average pool, masked by the ReLU below it (whose output is x).

//# from "common/map" import reads, writes

struct Params {
    positions: u32,
    row_quads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
@group(0) @binding(2) var<storage, read> grad: array<vec4f>;
{{ writes(3, "out", textured) }}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.positions * params.row_quads) { return; }
    let value = grad[item % params.row_quads] / f32(params.positions);
    out_set(item, select(vec4f(), value, x_at(item) > vec4f()));
}
