// Winograd F(2x2, 3x3): y = A' m A of each tile m of 4x4 products gives 2x2 outputs,
//   A' = [1 1 1 0; 0 1 -1 -1].
// Products are [16 values][tile][example][channel quad].

//# from "common/map" import reads

struct Params {
    batch: u32,
    height: u32,
    width: u32,
    out_quads: u32,
    tiles_high: u32,
    tiles_wide: u32,
//# if residual
    residual_share: u32,
//# endif
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "products", textured) }}

//# include "conv/epilogue"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let tiles = params.tiles_high * params.tiles_wide;
    let row_quads = params.batch * params.out_quads;
    if (item >= tiles * row_quads) { return; }
    let tile = item / row_quads;
    let row = item % row_quads / params.out_quads;
    let col = item % params.out_quads;
    // A' m, column by column of m.
//# for j in range(4)
//# for i in range(4)
    let m{{ i }}{{ j }} = products_at({{ i * 4 + j }}u * tiles * row_quads + item);
//# endfor
    let t0{{ j }} = m0{{ j }} + m1{{ j }} + m2{{ j }};
    let t1{{ j }} = m1{{ j }} - m2{{ j }} - m3{{ j }};
//# endfor
    let y = tile / params.tiles_wide * 2u;
    let x = tile % params.tiles_wide * 2u;
//# for i in range(2)
    if (y + {{ i }}u < params.height) {
        let position = (y + {{ i }}u) * params.width + x;
        store(position, row, col, t{{ i }}0 + t{{ i }}1 + t{{ i }}2);
        if (x + 1u < params.width) {
            store(position + 1u, row, col, t{{ i }}1 - t{{ i }}2 - t{{ i }}3);
        }
    }
//# endfor
}
