// Adapter weight gradients for software adapters: a lane holds one quad of columns for 8 ranks; the
// left operand of {{ lanes }} rows is loaded by all lanes at once and shared by subgroupBroadcast.

//# include "adapter/outer_interface"

@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
    let octets = (params.rank + 7u) / 8u;
    let taps = params.kernel * params.kernel;
    let col_tiles = (params.in_quads + {{ lanes - 1 }}u) / {{ lanes }}u;
    let wanted = group.x + group.y * groups.x;
    let tiles = col_tiles * taps * octets * params.splits;
    let tile = min(wanted, tiles - 1u);
    let col = tile % col_tiles * {{ lanes }}u + lane;
    let in_col = min(col, params.in_quads - 1u);
    let tap = tile / col_tiles % taps;
    let octet = tile / (col_tiles * taps) % octets;
    let split = tile / (col_tiles * taps * octets);
//# for i in range(8)
    var acc{{ i }} = vec4f();
//# endfor
    for (var row = 0u; row < params.batch; row += {{ lanes }}u) {
        let gate0 = gate(row + lane, octet * 2u);
        let gate1 = gate(row + lane, octet * 2u + 1u);
        for (var p = split * params.positions / params.splits; p < (split + 1u) * params.positions / params.splits; p++) {
            let iy = tapped(i32(p / params.out_width), i32(tap / params.kernel), params.in_height);
            let ix = tapped(i32(p % params.out_width), i32(tap % params.kernel), params.in_width);
            if (iy < 0 || ix < 0) { continue; }
            let start = (u32(iy) * params.in_width + u32(ix)) * params.batch;
            let left0 = gate0 * low_at(p, row + lane, octet * 2u);
            let left1 = gate1 * low_at(p, row + lane, octet * 2u + 1u);
//# for r in range(lanes)
            let x{{ r }} = x_at((start + min(row + {{ r }}u, params.batch - 1u)) * params.in_quads + in_col);
            let l{{ r }}_0 = subgroupBroadcast(left0, {{ r }}u);
            let l{{ r }}_1 = subgroupBroadcast(left1, {{ r }}u);
//# for i in range(8)
            acc{{ i }} = fma(vec4f(l{{ r }}_{{ i // 4 }}.{{ "xyzw"[i % 4] }}), x{{ r }}, acc{{ i }});
//# endfor
//# endfor
        }
    }
    if (wanted < tiles) {
//# for i in range(8)
        store(split, octet * 8u + {{ i }}u, tap, col, acc{{ i }});
//# endfor
    }
}
