// Convolution within WebGPU's default limits: {{ rows }} rows x 1 vec4 per invocation.

//# set textured = false
//# set weight_textured = false
//# set half = false
//# include "conv/interface"
//# include "common/taps"

//# macro adapter_term(pixel, tap)
    // One rank after the other: a zero rank then adds exactly nothing, and pruning it changes no bit,
    // although the ranks after it move to other lanes.
    for (var i = 0u; i < (params.rank + 3u) / 4u; i++) {
//# for k in range(4)
        let w{{ k }} = raised(i * 4u + {{ k }}u, {{ tap }}, col);
//# endfor
//# for r in range(rows)
        let left{{ r }} = gated({{ pixel }}, row_{{ r }}, i);
//# for k in range(4)
        acc{{ r }} = fma(vec4f(left{{ r }}.{{ "xyzw"[k] }}), w{{ k }}, acc{{ r }});
//# endfor
//# endfor
    }
//# endmacro

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let col = item % params.out_quads;
    let row_tiles = (params.batch + {{ rows - 1 }}u) / {{ rows }}u;
    let row0 = (item / params.out_quads) % row_tiles * {{ rows }}u;
    let position = item / (params.out_quads * row_tiles);
    if (position >= params.positions) { return; }
    let oy = i32(position / params.out_width);
    let ox = i32(position % params.out_width);

//# for r in range(rows)
    let row_{{ r }} = min(row0 + {{ r }}u, params.batch - 1u);
    var acc{{ r }} = start(position, row_{{ r }}, col);
//# endfor

//# if int8 and not backward
    let scales = scales_of(col);
//# endif
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
//# for r in range(rows)
            let start{{ r }} = (pixel * params.batch + row_{{ r }}) * params.in_quads;
//# endfor
            for (var c = 0u; c < params.in_quads; c++) {
//# if int8
                let words = words_at(matrix_start() + tap * params.in_quads + c, col);
                let w = dequantised(words, {{ "scales_of(c)" if backward else "scales" }});
//# else
                let k = (tap * params.in_quads + c) * 4u;
                let w = mat4x4f(weight[k * params.out_quads + col], weight[(k + 1u) * params.out_quads + col],
                                weight[(k + 2u) * params.out_quads + col], weight[(k + 3u) * params.out_quads + col]);
//# endif
//# for r in range(rows)
                acc{{ r }} += w * x_at(start{{ r }} + c);
//# endfor
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

    let column = column_of(col);
//# for r in range(rows)
    if (row0 + {{ r }}u < params.batch) { store(position, row0 + {{ r }}u, column, acc{{ r }}); }
//# endfor
}
