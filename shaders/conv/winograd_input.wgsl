// v = B' d B (conv/winograd) of each tile d of {{ inputs }}x{{ inputs }} inputs, centred on its
// {{ outputs }}x{{ outputs }} outputs. Out is [values][tile][example][channel quad]; inputs in the padding are zero.

//# from "common/map" import reads, writes
//# from "conv/winograd" import transform_inputs
//# set halo = (inputs - outputs) // 2

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
{{ writes(2, "out", domain_textured) }}

fn padded(at: vec2i, row: u32) -> vec4f {
    let end = vec2i(vec2u(params.width, params.height)) - 1;
    let near = clamp(at, vec2i(), end);
    let value = x_at((u32(near.y) * params.width + u32(near.x)) * params.batch * params.quads + row);
    return select(vec4f(), value, all(near == at));
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
    let corner = vec2i(vec2u(tile % params.tiles_wide, tile / params.tiles_wide) * {{ outputs }}u) - {{ halo }};
    // B' d, column by column of d.
//# for j in range(inputs)
//# for i in range(inputs)
    let d{{ i }}_{{ j }} = padded(corner + vec2i({{ j }}, {{ i }}), row);
//# endfor
    {{ transform_inputs(side, "t", "d", "_" ~ j) }}
//# endfor
//# for i in range(side)
    {{ transform_inputs(side, "v" ~ i ~ "_", "t" ~ i ~ "_", "") }}
//# for j in range(side)
    out_set({{ i * side + j }}u * items + item, v{{ i }}_{{ j }});
//# endfor
//# endfor
}
