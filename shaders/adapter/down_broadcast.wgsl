// Low-rank activations for software adapters: a lane holds {{ rows }} rows x 8 ranks, and each quad of
// `a` is loaded by one lane and shared by subgroupBroadcast.

//# include "adapter/down_interface"

//# set depth = [1, lanes // 8] | max
//# set loads = [1, 8 // lanes] | max
@compute @workgroup_size({{ lanes }})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
    let octets = (params.rank + 7u) / 8u;
    let row_tiles = (params.batch + {{ rows * lanes - 1 }}u) / {{ rows * lanes }}u;
    let wanted = group.x + group.y * groups.x;
    let tiles = params.positions * row_tiles * octets;
    let tile = min(wanted, tiles - 1u);
    let octet = tile % octets;
    let first_row = tile / octets % row_tiles * {{ rows * lanes }}u;
    let position = tile / (octets * row_tiles);
//# for r in range(rows)
    let row{{ r }} = first_row + {{ r * lanes }}u + lane;
    let in_row{{ r }} = min(row{{ r }}, params.batch - 1u);
//# for i in range(8)
    var acc{{ r }}_{{ i }} = 0.0;
//# endfor
//# endfor
    for (var ky = 0u; ky < params.kernel; ky++) {
        let iy = tapped(i32(position / params.out_width), i32(ky), params.in_height);
        if (iy < 0) { continue; }
        for (var kx = 0u; kx < params.kernel; kx++) {
            let ix = tapped(i32(position % params.out_width), i32(kx), params.in_width);
            if (ix < 0) { continue; }
            let pixel = u32(iy) * params.in_width + u32(ix);
            let tap = ky * params.kernel + kx;
//# for r in range(rows)
            let start{{ r }} = (pixel * params.batch + in_row{{ r }}) * params.in_quads;
//# endfor
            for (var c = 0u; c < params.in_quads; c += {{ depth }}u) {
//# for j in range(loads)
                let i{{ j }} = octet * 8u + (lane + {{ j * lanes }}u) % 8u;
                let c{{ j }} = c + lane / 8u;
                var a{{ j }} = vec4f();
                if (i{{ j }} < params.rank && c{{ j }} < params.in_quads) {
                    a{{ j }} = a[(i{{ j }} * params.kernel * params.kernel + tap) * params.in_quads + c{{ j }}];
                }
//# endfor
//# for s in range(depth)
//# for r in range(rows)
                let x{{ s }}_{{ r }} = x_at(start{{ r }} + min(c + {{ s }}u, params.in_quads - 1u));
//# endfor
//# for i in range(8)
                let b{{ s }}_{{ i }} = subgroupBroadcast(a{{ (s * 8 + i) // lanes }}, {{ (s * 8 + i) % lanes }}u);
//# for r in range(rows)
                acc{{ r }}_{{ i }} = fma(b{{ s }}_{{ i }}.x, x{{ s }}_{{ r }}.x, acc{{ r }}_{{ i }});
                acc{{ r }}_{{ i }} = fma(b{{ s }}_{{ i }}.y, x{{ s }}_{{ r }}.y, acc{{ r }}_{{ i }});
                acc{{ r }}_{{ i }} = fma(b{{ s }}_{{ i }}.z, x{{ s }}_{{ r }}.z, acc{{ r }}_{{ i }});
                acc{{ r }}_{{ i }} = fma(b{{ s }}_{{ i }}.w, x{{ s }}_{{ r }}.w, acc{{ r }}_{{ i }});
//# endfor
//# endfor
//# endfor
            }
        }
    }
//# for r in range(rows)
    if (wanted < tiles && row{{ r }} < params.batch) {
        store(position, row{{ r }}, octet * 2u, vec4f(acc{{ r }}_0, acc{{ r }}_1, acc{{ r }}_2, acc{{ r }}_3));
        store(position, row{{ r }}, octet * 2u + 1u, vec4f(acc{{ r }}_4, acc{{ r }}_5, acc{{ r }}_6, acc{{ r }}_7));
    }
//# endfor
}
