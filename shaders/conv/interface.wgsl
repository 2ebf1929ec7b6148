// What every convolution kernel computes, binds and stores.
//
//   forward:   acc[p,n,:] = sum_tap sum_c x[p stride + tap - pad, n, c] W[tap,c,:]
//                         + sum_i scale z[n,i] low[p,n,i] up[i,:]           low = A * x,  up = B
//   backward:  acc[p,n,:] = sum_tap sum_o x[(p + pad - tap)/stride, n, o] W'[tap,o,:]
//                         + sum_tap sum_i scale z[n,i] low[same,n,i] up[i,tap,:]  low = B' x,  up = A
//   out = epilogue(acc): affine, residual, ReLU going forward; residual, ReLU mask, gain going back.
//
// Tensors are [position][example][channel quad]. `share` output rows of one example (Monte Carlo
// samples) read the same input row.

//# from "common/map" import reads, writes

struct Params {
//# if textured
    tiles: u32,
//# else
    positions: u32,
//# endif
    batch: u32,
    share: u32,
    in_height: u32,
    in_width: u32,
    in_quads: u32,
    out_width: u32,
    out_quads: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
//# if adapter
    rank: u32,
    scale: f32,
//# endif
//# if residual
    residual_share: u32,
//# endif
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "x", textured) }}
//# if textured
@group(0) @binding(2) var weight: texture_storage_2d<rgba32float, read>;
//# else
@group(0) @binding(2) var<storage, read> weight: array<vec4f>;
//# endif
{{ writes(3, "out", textured) }}
//# if adapter
@group(0) @binding(4) var<storage, read> low: array<vec4f>;
@group(0) @binding(5) var<storage, read> gates: array<vec4f>;
@group(0) @binding(6) var<storage, read> up: array<vec4f>;
//# endif
//# if affine or gain
@group(0) @binding(7) var<storage, read> affine: array<vec4f>; // gains, then biases
//# endif
//# if residual
{{ reads(8, "residual", textured) }}
//# endif
//# if mask
{{ reads(9, "activation", textured) }}
//# endif

//# include "common/taps"

//# if adapter
// The adapter's left operand: a quad of gated low-rank activations.
fn gated(pixel: u32, row: u32, quad: u32) -> vec4f {
    let quads = (params.rank + 3u) / 4u;
//# if backward
    let place = pixel * params.batch + row;
//# else
    let place = pixel * (params.batch / params.share) + row / params.share;
//# endif
    return params.scale * gates[row * quads + quad] * low[place * quads + quad];
}

// The adapter's right operand; ranks that do not exist read as zero.
fn raised(i: u32, tap: u32, col: u32) -> vec4f {
//# if backward
    let row = i * params.kernel * params.kernel + tap;
//# else
    let row = i;
//# endif
    if (i >= params.rank) { return vec4f(); }
    return up[row * params.out_quads + col];
}
//# endif

fn store(position: u32, row: u32, col: u32, acc: vec4f) {
    let place = (position * params.batch + row) * params.out_quads + col;
    var value = acc;
//# if affine
    value = fma(affine[col], value, affine[params.out_quads + col]);
//# endif
//# if residual
    let residual_row = position * (params.batch / params.residual_share) + row / params.residual_share;
    value += residual_at(residual_row * params.out_quads + col);
//# endif
//# if relu
    value = max(value, vec4f());
//# endif
//# if mask
    value = select(vec4f(), value, activation_at(place) > vec4f());
//# endif
//# if gain
    value *= affine[col];
//# endif
    out_set(place, value);
}
