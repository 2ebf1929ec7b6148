// Weight gradients of the adapters, sums of outer products over positions and examples:
//   grad[i,tap,:] = sum_p sum_n left[p,n,i] x[p stride + tap - pad, n, :],  left = scale z[n,i] low[p,n,i]
// Used for dA (low = B' G, x the layer's input), dB (low = A * x, x = G) and the head (low = dL/dlogits).
// Positions are cut into `splits` parts whose sums a second pass adds in a fixed order.

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
    scale: f32,
    splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
@group(0) @binding(2) var<storage, read> low: array<vec4f>;
//# if gated
@group(0) @binding(3) var<storage, read> gates: array<vec4f>;
//# endif
@group(0) @binding(4) var<storage, read_write> grad: array<vec4f>; // [splits][rank][tap][quad]

//# include "common/taps"

// scale z, the same at all positions; zero for rows and ranks that do not exist.
fn gate(row: u32, quad: u32) -> vec4f {
    let quads = (params.rank + 3u) / 4u;
    if (row >= params.batch || quad >= quads) { return vec4f(); }
//# if gated
    return params.scale * gates[row * quads + quad];
//# else
    return vec4f(params.scale);
//# endif
}

// For rows and ranks that do not exist the last ones.
fn low_at(position: u32, row: u32, quad: u32) -> vec4f {
    let quads = (params.rank + 3u) / 4u;
    return low[(position * params.batch + min(row, params.batch - 1u)) * quads + min(quad, quads - 1u)];
}

fn left(position: u32, row: u32, quad: u32) -> vec4f {
    return gate(row, quad) * low_at(position, row, quad);
}

fn store(split: u32, i: u32, tap: u32, col: u32, value: vec4f) {
    if (i >= params.rank || col >= params.in_quads) { return; }
    let taps = params.kernel * params.kernel;
    grad[((split * params.rank + i) * taps + tap) * params.in_quads + col] = value;
}
