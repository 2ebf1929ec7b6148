// y = A' p A (conv/winograd): the {{ outputs }}x{{ outputs }} outputs of each tile p of {{ side }}x{{ side }} products.
// Products are [values][tile][example][channel quad].

//# from "common/map" import reads
//# from "conv/winograd" import transform_products

struct Params {
    batch: u32,
    height: u32,
    width: u32,
    out_quads: u32,
    tiles_high: u32,
    tiles_wide: u32,
//# if residual_shared
    residual_share: u32,
//# endif
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "products", domain_textured) }}

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
    // A' p, column by column of p.
//# for j in range(side)
//# for i in range(side)
    let p{{ i }}_{{ j }} = products_at({{ i * side + j }}u * tiles * row_quads + item);
//# endfor
    {{ transform_products(side, "t", "p", "_" ~ j) }}
//# endfor
    let y = tile / params.tiles_wide * {{ outputs }}u;
    let x = tile % params.tiles_wide * {{ outputs }}u;
    let column = column_of(col);
    let corner = y * params.width + x;
//# for i in range(outputs)
    {{ transform_products(side, "y" ~ i ~ "_", "t" ~ i ~ "_", "") }}
//# for j in range(outputs)
    if (y + {{ i }}u < params.height && x + {{ j }}u < params.width) {
        store(corner + {{ i }}u * params.width + {{ j }}u, row, column, y{{ i }}_{{ j }});
    }
//# endfor
//# endfor
}
