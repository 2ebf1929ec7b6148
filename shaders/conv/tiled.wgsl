// Convolution for GPUs: {{ rows }} lines x {{ cols }} columns per workgroup, {{ tall }} x {{ 4 * vecs }} of them per invocation,
// operands staged in workgroup memory. With `half`, operands are f16; their products are exact in f32 and are
// summed in f32.

//# if half
enable f16;
//# endif

//# set textured = false
//# set weight_textured = false
//# set col_threads = cols // (4 * vecs)
//# set row_threads = rows // tall
//# set threads = col_threads * row_threads
//# include "conv/interface"
//# include "common/taps"
//# include "conv/tiles"

var<workgroup> left: array<{{ quad }}, {{ rows * depth }}>;
var<workgroup> right: array<{{ quad }}, {{ depth * cols }}>;

fn set_left(index: u32, value: vec4f) { left[index] = {{ quad }}(value); }
fn set_right(index: u32, value: {{ quad }}) { right[index] = value; }

//# macro multiply_accumulate()
//# for q in range(depth)
    {
//# for k in range(4)
//# for v in range(vecs)
        let w{{ k }}_{{ v }} = vec4f(right[{{ (q * 4 + k) * cols // 4 + v * col_threads }}u + col_thread]);
//# endfor
//# endfor
//# for r in range(tall)
        let l{{ r }} = vec4f(left[(row_thread + {{ r * row_threads }}u) * {{ depth }}u + {{ q }}u]);
//# for k in range(4)
//# for v in range(vecs)
        acc{{ r }}_{{ v }} = fma(vec4f(l{{ r }}.{{ "xyzw"[k] }}), w{{ k }}_{{ v }}, acc{{ r }}_{{ v }});
//# endfor
//# endfor
//# endfor
    }
//# endfor
//# endmacro

@compute @workgroup_size({{ threads }})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let number = group.x + group.y * groups.x;
    if (number >= params.tiles) { return; }
    let tile = tile_of(number);
    let col_thread = local % {{ col_threads }}u;
    let row_thread = local / {{ col_threads }}u;
//# for r in range(tall)
    let line{{ r }} = tile.first + row_thread + {{ r * row_threads }}u;
//# for v in range(vecs)
    var acc{{ r }}_{{ v }} = vec4f();
//# if not weighted
    if (line{{ r }} < tile.end && tile.col + {{ v * col_threads }}u + col_thread < params.out_quads) {
        acc{{ r }}_{{ v }} = start(line{{ r }} / params.batch, line{{ r }} % params.batch, tile.col + {{ v * col_threads }}u + col_thread);
    }
//# endif
//# endfor
//# endfor

    {{ sum_products(multiply_accumulate(), false) }}

//# for v in range(vecs)
    let col{{ v }} = tile.col + {{ v * col_threads }}u + col_thread;
    let column{{ v }} = column_of(min(col{{ v }}, params.out_quads - 1u));
//# endfor
//# for r in range(tall)
    if (line{{ r }} < tile.end) {
//# for v in range(vecs)
//# if half
        let sum{{ v }} = acc{{ r }}_{{ v }} / params.lift;
//# else
        let sum{{ v }} = acc{{ r }}_{{ v }};
//# endif
        if (col{{ v }} < params.out_quads) { store(line{{ r }} / params.batch, line{{ r }} % params.batch, column{{ v }}, sum{{ v }}); }
//# endfor
    }
//# endfor
}
