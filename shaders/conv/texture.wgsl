// Convolution for software adapters: a register tile of {{ rows }} rows x {{ vecs }} vec4 per lane, the
// left operand shared by subgroupBroadcast, frozen weights in a texture. A tile holds rows of one
// output position, so taps in the padding are skipped uniformly. If there are fewer than four input
// channels, `narrow` is their number.

//# set weight_textured = true
//# set half = false
//# include "conv/interface"
//# include "common/reach"

//# macro multiply_accumulate(depth)
//# for r in range(rows)
    let b{{ r }} = subgroupBroadcast(left{{ r // lanes }}, {{ r % lanes }}u);
//# for v in range(vecs)
//# for i in range(depth)
    acc{{ r }}_{{ v }} = fma(vec4f(b{{ r }}.{{ "xyzw"[i] }}), w{{ i }}_{{ v }}, acc{{ r }}_{{ v }});
//# endfor
//# endfor
//# endfor
//# endmacro

//# set loads = (rows + lanes - 1) // lanes

//# macro weighted_term(quad, depth)
//# for j in range(loads)
        let left{{ j }} = x_at(start{{ j }} + {{ quad }});
//# endfor
//# if int8
        let row = matrix_start() + tap * params.in_quads + {{ quad }};
//# if backward
        let scales = scales_of({{ quad }});
//# endif
//# for v in range(vecs)
        let rows{{ v }} = dequantised(words_at(row, texel{{ v }}), scales{{ "" if backward else v }});
//# for i in range(depth)
        let w{{ i }}_{{ v }} = rows{{ v }}[{{ i }}];
//# endfor
//# endfor
//# else
        let k = (tap * params.in_quads + {{ quad }}) * 4u;
//# for v in range(vecs)
//# for i in range(depth)
        let w{{ i }}_{{ v }} = textureLoad(weight, vec2u(texel{{ v }}, k + {{ i }}u));
//# endfor
//# endfor
//# endif
        {{ multiply_accumulate(depth) }}
//# endmacro

//# macro adapter_term(pixel, tap)
//# for j in range(loads)
        let left{{ j }} = gate{{ j }} * low_at({{ pixel }}, row_{{ j }}, quad);
//# endfor
//# for v in range(vecs)
//# for k in range(4)
        let w{{ k }}_{{ v }} = raised(quad * 4u + {{ k }}u, {{ tap }}, texel{{ v }});
//# endfor
//# endfor
        {{ multiply_accumulate(4) }}
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
//# if int8 and not backward
    let scales{{ v }} = scales_of(texel{{ v }});
//# endif
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
    let down = reach(oy, params.in_height);
    let across = reach(ox, params.in_width);
    let taps = u32(down.count * across.count);
//# endif
//# if weighted
    var at = Place();
    for (var n = taps; n > 0u; n--) {
        let pixel = pixel_of(down, across, at);
//# if per_position
        let tap = position;
//# else
        let tap = tap_of(down, across, at);
//# endif
//# for j in range(loads)
        let start{{ j }} = (pixel * params.batch + row_{{ j }}) * params.in_quads;
//# endfor
//# if narrow
        {{ weighted_term("0u", narrow) }}
//# else
        for (var quad = 0u; quad < params.in_quads; quad++) {
            {{ weighted_term("quad", 4) }}
        }
//# endif
        at = next(at, across.count);
    }
//# endif
//# if adapter
    for (var quad = 0u; quad < (params.rank + 3u) / 4u; quad++) {
//# for j in range(loads)
        let gate{{ j }} = gate(row_{{ j }}, quad);
//# endfor
//# if backward
        var term = Place();
        for (var n = taps; n > 0u; n--) {
            let pixel = pixel_of(down, across, term);
            let tap = tap_of(down, across, term);
            {{ adapter_term("pixel", "tap") }}
            term = next(term, across.count);
        }
//# else
        {{ adapter_term("position", "0u") }}
//# endif
    }
//# endif

//# for v in range(vecs)
    if (wanted < params.tiles && col{{ v }} < params.out_quads) {
        let column{{ v }} = column_of(col{{ v }});
//# for r in range(rows)
        if (row0 + {{ r }}u < params.batch) { store(position, row0 + {{ r }}u, column{{ v }}, acc{{ r }}_{{ v }}); }
//# endfor
    }
//# endfor
}
