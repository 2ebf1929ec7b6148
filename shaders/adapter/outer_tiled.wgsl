// Adapter weight gradients for GPUs: a workgroup sums one split of the lines (rows of positions) for 8 ranks
// x 16 quads of columns. The gated left operand is staged in workgroup memory, a few lines at a time; the
// invocations of a column take the lines in turns, and their sums are added in a fixed order.

//# set cols = 16
//# set threads = 64
//# set turns = threads // cols
//# set lines = threads // 2
//# include "adapter/outer_interface"

var<workgroup> staged: array<vec4f, {{ threads }}>; // [line][quad of ranks]
var<workgroup> places: array<i32, {{ lines }}>; // the row of x that it is multiplied with, or -1 in the padding
var<workgroup> sums: array<vec4f, {{ 8 * threads }}>; // [rank][turn][column]

@compute @workgroup_size({{ threads }})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let octets = (params.rank + 7u) / 8u;
    let taps = params.kernel * params.kernel;
    let col_tiles = (params.in_quads + {{ cols - 1 }}u) / {{ cols }}u;
    let number = group.x + group.y * groups.x;
    let first_col = number % col_tiles * {{ cols }}u;
    let tap = number / col_tiles % taps;
    let octet = number / (col_tiles * taps) % octets;
    let split = number / (col_tiles * taps * octets);
    if (split >= params.splits) { return; }
    let col = min(first_col + local % {{ cols }}u, params.in_quads - 1u);
    let turn = local / {{ cols }}u;
    let ky = tap / params.kernel;
    let kx = tap % params.kernel;
    let lines = params.positions * params.batch;
    let share = (lines + params.splits - 1u) / params.splits;
    let end = min((split + 1u) * share, lines);
//# for i in range(8)
    var acc{{ i }} = vec4f();
//# endfor
    for (var first = split * share; first < end; first += {{ lines }}u) {
        let low_position = first / params.batch;
        let high_position = (min(first + {{ lines }}u, end) - 1u) / params.batch;
        // Mostly one position or two; where both are in the padding there is nothing to add.
        if (high_position - low_position < 2u && landing(low_position, ky, kx) < 0
            && landing(high_position, ky, kx) < 0) { continue; }
        workgroupBarrier();
        let line = first + local / 2u;
        var value = vec4f();
        var place = -1;
        if (line < end) {
            let position = line / params.batch;
            let row = line % params.batch;
            let pixel = landing(position, ky, kx);
            if (pixel >= 0) {
                value = left(position, row, octet * 2u + local % 2u);
                place = pixel * i32(params.batch) + i32(row);
            }
        }
        staged[local] = value;
        if (local % 2u == 0u) { places[local / 2u] = place; }
        workgroupBarrier();
//# for l in range(lines // turns)
        let place{{ l }} = places[{{ l * turns }}u + turn];
        var x{{ l }} = vec4f();
        if (place{{ l }} >= 0) { x{{ l }} = x_at(u32(place{{ l }}) * params.in_quads + col); }
//# endfor
//# for l in range(lines // turns)
//# for q in range(2)
        let l{{ l }}_{{ q }} = staged[({{ l * turns }}u + turn) * 2u + {{ q }}u];
//# for k in range(4)
        acc{{ q * 4 + k }} = fma(vec4f(l{{ l }}_{{ q }}.{{ "xyzw"[k] }}), x{{ l }}, acc{{ q * 4 + k }});
//# endfor
//# endfor
//# endfor
    }
//# for i in range(8)
    sums[{{ i * threads }}u + local] = acc{{ i }};
//# endfor
    workgroupBarrier();
    for (var sum = local; sum < {{ 8 * cols }}u; sum += {{ threads }}u) {
        let i = sum / {{ cols }}u;
        var total = vec4f();
        for (var t = 0u; t < {{ turns }}u; t++) { total += sums[(i * {{ turns }}u + t) * {{ cols }}u + sum % {{ cols }}u]; }
        store(split, octet * 8u + i, tap, first_col + sum % {{ cols }}u, total);
    }
}
