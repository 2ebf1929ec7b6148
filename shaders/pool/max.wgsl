// Max-pool 3x3, stride 2, padding 1.

//# from "common/map" import reads, writes

//# include "pool/window"

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
{{ writes(2, "out", textured) }}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let row = item % params.row_quads;
    let position = item / params.row_quads;
    if (position >= params.out_height * params.out_width) { return; }
    let corner = vec2i(vec2u(position % params.out_width, position / params.out_width) * 2u) - 1;
    var best = vec4f(-3.4028234e38);
    for (var k = 0; k < 9; k++) {
        let at = corner + vec2i(k % 3, k / 3);
        if (inside(at)) { best = max(best, x_at(place(at, row))); }
    }
    out_set(item, best);
}
