// Global average pool: out[n,:] = mean over positions.

//# from "common/map" import reads

struct Params {
    positions: u32,
    row_quads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.row_quads) { return; }
    var sum = vec4f();
    for (var p = 0u; p < params.positions; p++) {
        sum += x_at(p * params.row_quads + item);
    }
    out[item] = sum / f32(params.positions);
}
