// Winograd F(2x2, 3x3): v = B' d B of each tile d of 4x4 inputs, its corner one before the outputs',
//   B' = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1].
// Out is [16 values][tile][example][channel quad]; inputs in the padding are zero.

//# from "common/map" import reads, writes

struct Params {
    batch: u32,
    height: u32,
    width: u32,
    quads: u32,
    tiles_high: u32,
    tiles_wide: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
{{ writes(2, "out", textured) }}

fn padded(at: vec2i, row: u32) -> vec4f {
    let inside = all(at >= vec2i()) && at.x < i32(params.width) && at.y < i32(params.height);
    if (!inside) { return vec4f(); }
    return x_at((u32(at.y) * params.width + u32(at.x)) * params.batch * params.quads + row);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let row_quads = params.batch * params.quads;
    let items = params.tiles_high * params.tiles_wide * row_quads;
    if (item >= items) { return; }
    let tile = item / row_quads;
    let row = item % row_quads;
    let corner = vec2i(vec2u(tile % params.tiles_wide, tile / params.tiles_wide) * 2u) - 1;
    // B' d, column by column of d.
//# for j in range(4)
//# for i in range(4)
    let d{{ i }}{{ j }} = padded(corner + vec2i({{ j }}, {{ i }}), row);
//# endfor
    let t0{{ j }} = d0{{ j }} - d2{{ j }};
    let t1{{ j }} = d1{{ j }} + d2{{ j }};
    let t2{{ j }} = d2{{ j }} - d1{{ j }};
    let t3{{ j }} = d1{{ j }} - d3{{ j }};
//# endfor
//# for i in range(4)
    out_set({{ i * 4 }}u * items + item, t{{ i }}0 - t{{ i }}2);
    out_set({{ i * 4 + 1 }}u * items + item, t{{ i }}1 + t{{ i }}2);
    out_set({{ i * 4 + 2 }}u * items + item, t{{ i }}2 - t{{ i }}1);
    out_set({{ i * 4 + 3 }}u * items + item, t{{ i }}1 - t{{ i }}3);
//# endfor
}
