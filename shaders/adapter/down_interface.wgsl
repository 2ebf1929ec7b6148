// Low-rank activations: low[p,n,i] = sum_tap sum_c x[p stride + tap - pad, n, c] a[i,tap,c] (+ bias[i]).
// Used for h = A * x, its counterpart q = B' G in the backward pass, and the logits (rank = classes).

//# from "common/map" import reads

struct Params {
    positions: u32,
    batch: u32,
    in_height: u32,
    in_width: u32,
    in_quads: u32,
    out_width: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
    rank: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
@group(0) @binding(2) var<storage, read> a: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> low: array<vec4f>;
//# if biased
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;
//# endif

//# include "common/taps"

fn store(position: u32, row: u32, quad: u32, acc: vec4f) {
    let quads = (params.rank + 3u) / 4u;
    if (quad >= quads) { return; }
    var value = acc;
//# if biased
    value += bias[quad];
//# endif
    // Lanes beyond the rank hold zero, regardless of the padding of the bias.
    let lane = vec4u(0u, 1u, 2u, 3u) + quad * 4u;
    low[(position * params.batch + row) * quads + quad] = select(vec4f(), value, lane < vec4u(params.rank));
}
