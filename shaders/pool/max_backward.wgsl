// The gradient of the 3x3 stride-2 max-pool: each window gives its gradient to its first maximum in
// row-major order, as PyTorch does. Masked by the ReLU below the pool: its output is x itself.

//# from "common/map" import reads, writes

//# include "pool/window"

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
{{ reads(2, "grad", textured) }}
{{ writes(3, "out", textured) }}

// Where in its window the first maximum is, for each lane.
fn winner(corner: vec2i, row: u32) -> vec4i {
    var best = vec4f(-3.4028234e38);
    var at_best = vec4i(-1);
    for (var k = 0; k < 9; k++) {
        let at = corner + vec2i(k % 3, k / 3);
        if (inside(at)) {
            let value = x_at(place(at, row));
            let better = value > best;
            best = select(best, value, better);
            at_best = select(at_best, vec4i(k), better);
        }
    }
    return at_best;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let row = item % params.row_quads;
    let position = item / params.row_quads;
    if (position >= params.in_height * params.in_width) { return; }
    let here = vec2i(vec2u(position % params.in_width, position / params.in_width));
    var sum = vec4f();
    // Windows o with 2 o - 1 <= here <= 2 o + 1.
    for (var oy = here.y / 2; oy <= (here.y + 1) / 2; oy++) {
        for (var ox = here.x / 2; ox <= (here.x + 1) / 2; ox++) {
            if (oy >= i32(params.out_height) || ox >= i32(params.out_width)) { continue; }
            let corner = vec2i(ox, oy) * 2 - 1;
            let k = (here.y - corner.y) * 3 + here.x - corner.x;
            let mine = winner(corner, row) == vec4i(k);
            sum += select(vec4f(), grad_at((u32(oy) * params.out_width + u32(ox)) * params.row_quads + row), mine);
        }
    }
    out_set(item, select(vec4f(), sum, x_at(item) > vec4f()));
}
