// Convolution for software adapters: a register tile of {{ rows }} rows x {{ vecs }} vec4 a lane, the
// left operand shared by subgroupBroadcast, frozen weights in a texture. A tile holds rows of one
// output position, so taps in the padding are skipped uniformly.

//# set textured = true
//# set half = false
//# include "conv/interface"

//# macro multiply_accumulate()
//# for r in range(rows)
    let b{{ r }} = subgroupBroadcast(left{{ r // lanes }}, {{ r % lanes }}u);
//# for v in range(vecs)
    acc{{ r }}_{{ v }} = fma(vec4f(b{{ r }}.x), w0_{{ v }}, acc{{ r }}_{{ v }});
    acc{{ r }}_{{ v }} = fma(vec4f(b{{ r }}.y), w1_{{ v }}, acc{{ r }}_{{ v }});
    acc{{ r }}_{{ v }} = fma(vec4f(b{{ r }}.z), w2_{{ v }}, acc{{ r }}_{{ v }});
    acc{{ r }}_{{ v }} = fma(vec4f(b{{ r }}.w), w3_{{ v }}, acc{{ r }}_{{ v }});
//# endfor
//# endfor
//# endmacro

//# set loads = (rows + lanes - 1) // lanes

//# macro adapter_term(pixel, tap)
    for (var i = 0u; i < (params.rank + 3u) / 4u; i++) {
//# for j in range(loads)
        let left{{ j }} = gated({{ pixel }}, row_{{ j }}, i);
//# endfor
//# for v in range(vecs)
//# for k in range(4)
        let w{{ k }}_{{ v }} = raised(i * 4u + {{ k }}u, {{ tap }}, texel{{ v }});
//# endfor
//# endfor
        {{ multiply_accumulate() }}
    }
//# endmacro

@compute @workgroup_size({{ lanes }})
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // No early return: it would make the broadcasts non-uniform. Stores are predicated instead.
    let wanted = group.x + group.y * groups.x;
    let tile = min(wanted, params.tiles - 1u);
    let col_tiles = (params.out_quads + {{ lanes * vecs - 1 }}u) / {{ lanes * vecs }}u;
    let row_tiles = (params.batch + {{ rows - 1 }}u) / {{ rows }}u;
    let col_tile = tile % col_tiles;
    let row0 = (tile / col_tiles) % row_tiles * {{ rows }}u;
    let position = tile / (col_tiles * row_tiles);
    let oy = i32(position / params.out_width);
    let ox = i32(position % params.out_width);

//# for v in range(vecs)
    let col{{ v }} = col_tile * {{ lanes * vecs }}u + {{ v * lanes }}u + lane;
    let texel{{ v }} = min(col{{ v }}, params.out_quads - 1u);
//# endfor
//# for j in range(loads)
    let row_{{ j }} = min(row0 + {{ j * lanes }}u + lane, params.batch - 1u);
//# endfor
//# for r in range(rows)
//# for v in range(vecs)
    var acc{{ r }}_{{ v }} = start(position, min(row0 + {{ r }}u, params.batch - 1u), texel{{ v }});
//# endfor
//# endfor

//# if weighted or backward
    for (var ky = 0; ky < i32(params.kernel); ky++) {
        let iy = tapped(oy, ky, params.in_height);
        if (iy < 0) { continue; }
        for (var kx = 0; kx < i32(params.kernel); kx++) {
            let ix = tapped(ox, kx, params.in_width);
            if (ix < 0) { continue; }
            let pixel = u32(iy) * params.in_width + u32(ix);
//# if weighted and per_position
            let tap = position;
//# else
            let tap = u32(ky) * params.kernel + u32(kx);
//# endif
//# if weighted
//# for j in range(loads)
            let start{{ j }} = (pixel * params.batch + row_{{ j }}) * params.in_quads;
//# endfor
            for (var c = 0u; c < params.in_quads; c++) {
                let k = (tap * params.in_quads + c) * 4u;
//# for j in range(loads)
                let left{{ j }} = x_at(start{{ j }} + c);
//# endfor
//# for v in range(vecs)
//# for i in range(4)
                let w{{ i }}_{{ v }} = textureLoad(weight, vec2u(texel{{ v }}, k + {{ i }}u));
//# endfor
//# endfor
                {{ multiply_accumulate() }}
            }
//# endif
//# if adapter and backward
            {{ adapter_term("pixel", "tap") }}
//# endif
        }
    }
//# endif
//# if adapter and not backward
    {{ adapter_term("position", "0u") }}
//# endif

//# for v in range(vecs)
    if (wanted < params.tiles && col{{ v }} < params.out_quads) {
//# for r in range(rows)
        if (row0 + {{ r }}u < params.batch) { store(position, row0 + {{ r }}u, col{{ v }}, acc{{ r }}_{{ v }}); }
//# endfor
    }
//# endfor
}
