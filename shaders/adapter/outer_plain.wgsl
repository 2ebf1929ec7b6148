// Adapter weight gradients within WebGPU's default limits: one quad of ranks x one quad of columns
// per invocation.

//# include "adapter/outer_interface"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let quads = (params.rank + 3u) / 4u;
    let taps = params.kernel * params.kernel;
    let col = item % params.in_quads;
    let tap = item / params.in_quads % taps;
    let quad = item / (params.in_quads * taps) % quads;
    let split = item / (params.in_quads * taps * quads);
    if (split >= params.splits) { return; }
    var acc = mat4x4f();
    for (var p = split * params.positions / params.splits; p < (split + 1u) * params.positions / params.splits; p++) {
        let iy = tapped(i32(p / params.out_width), i32(tap / params.kernel), params.in_height);
        let ix = tapped(i32(p % params.out_width), i32(tap % params.kernel), params.in_width);
        if (iy < 0 || ix < 0) { continue; }
        let start = (u32(iy) * params.in_width + u32(ix)) * params.batch;
        for (var row = 0u; row < params.batch; row++) {
            let value = x_at((start + row) * params.in_quads + col);
            let l = left(p, row, quad);
            acc += mat4x4f(l.x * value, l.y * value, l.z * value, l.w * value);
        }
    }
    store(split, quad * 4u, tap, col, acc[0]);
    store(split, quad * 4u + 1u, tap, col, acc[1]);
    store(split, quad * 4u + 2u, tap, col, acc[2]);
    store(split, quad * 4u + 3u, tap, col, acc[3]);
}
