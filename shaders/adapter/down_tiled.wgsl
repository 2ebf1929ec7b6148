// Low-rank activations for GPUs: a workgroup computes 8 lines (rows of positions) x 8 ranks. Neighbouring
// invocations share the channels of the same lines, so they load neighbouring quads, and narrow products with
// few lines still give many invocations; their partial sums are added in a fixed order.

//# set lanes = 32
//# set tall = 4
//# set threads = 64
//# include "adapter/down_interface"

var<workgroup> parts: array<vec4f, {{ 2 * tall * threads }}>; // [line][quad of ranks][invocation]

@compute @workgroup_size({{ threads }})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let octets = (params.rank + 7u) / 8u;
    let number = group.x + group.y * groups.x;
    let octet = number % octets;
    let first = number / octets * 8u;
    let lines = params.positions * params.batch;
    if (first >= lines) { return; }
    let lane = local % {{ lanes }}u;
    let taps = params.kernel * params.kernel;
//# for r in range(tall)
    let line{{ r }} = min(first + local / {{ lanes }}u * {{ tall }}u + {{ r }}u, lines - 1u);
    let position{{ r }} = line{{ r }} / params.batch;
    let row{{ r }} = line{{ r }} % params.batch;
//# for i in range(8)
    var acc{{ r }}_{{ i }} = 0.0;
//# endfor
//# endfor
    // Ranks that do not exist repeat the last one; store() drops them.
//# for i in range(8)
    let rank{{ i }} = min(octet * 8u + {{ i }}u, params.rank - 1u) * taps;
//# endfor
    for (var ky = 0u; ky < params.kernel; ky++) {
        for (var kx = 0u; kx < params.kernel; kx++) {
            let tap = ky * params.kernel + kx;
//# for r in range(tall)
            let pixel{{ r }} = landing(position{{ r }}, ky, kx);
//# endfor
            if (max(max(pixel0, pixel1), max(pixel2, pixel3)) < 0) { continue; }
            for (var c = lane; c < params.in_quads; c += {{ lanes }}u) {
//# for r in range(tall)
                var x{{ r }} = vec4f();
                if (pixel{{ r }} >= 0) { x{{ r }} = x_at((u32(pixel{{ r }}) * params.batch + row{{ r }}) * params.in_quads + c); }
//# endfor
//# for i in range(8)
                let a{{ i }} = a[(rank{{ i }} + tap) * params.in_quads + c];
//# for r in range(tall)
                acc{{ r }}_{{ i }} += dot(a{{ i }}, x{{ r }});
//# endfor
//# endfor
            }
        }
    }
//# for r in range(tall)
    parts[{{ 2 * r * threads }}u + local] = vec4f(acc{{ r }}_0, acc{{ r }}_1, acc{{ r }}_2, acc{{ r }}_3);
    parts[{{ (2 * r + 1) * threads }}u + local] = vec4f(acc{{ r }}_4, acc{{ r }}_5, acc{{ r }}_6, acc{{ r }}_7);
//# endfor
    workgroupBarrier();
    let line = first + local / 2u;
    if (local < 16u && line < lines) {
        let own = local / 2u % {{ tall }}u * 2u + local % 2u;
        let start = own * {{ threads }}u + local / 2u / {{ tall }}u * {{ lanes }}u;
        var total = vec4f();
        for (var l = 0u; l < {{ lanes }}u; l++) { total += parts[start + l]; }
        store(line / params.batch, line % params.batch, octet * 2u + local % 2u, total);
    }
}
