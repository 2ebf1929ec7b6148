// Low-rank activations within WebGPU's default limits: one row and one quad of ranks per invocation.

//# include "adapter/down_interface"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let quads = (params.rank + 3u) / 4u;
    let quad = item % quads;
    let row = item / quads % params.batch;
    let position = item / (quads * params.batch);
    if (position >= params.positions) { return; }
    // Ranks that do not exist repeat the last one; store() drops them.
    let last = params.rank - 1u;
    let i = min(vec4u(0u, 1u, 2u, 3u) + quad * 4u, vec4u(last));
    var acc = vec4f();
    for (var ky = 0u; ky < params.kernel; ky++) {
        let iy = tapped(i32(position / params.out_width), i32(ky), params.in_height);
        if (iy < 0) { continue; }
        for (var kx = 0u; kx < params.kernel; kx++) {
            let ix = tapped(i32(position % params.out_width), i32(kx), params.in_width);
            if (ix < 0) { continue; }
            let start = ((u32(iy) * params.in_width + u32(ix)) * params.batch + row) * params.in_quads;
            let a_row = (i * params.kernel * params.kernel + ky * params.kernel + kx) * params.in_quads;
            for (var c = 0u; c < params.in_quads; c++) {
                let value = x_at(start + c);
                acc += vec4f(dot(value, a[a_row.x + c]), dot(value, a[a_row.y + c]),
                             dot(value, a[a_row.z + c]), dot(value, a[a_row.w + c]));
            }
        }
    }
    store(position, row, quad, acc);
}
