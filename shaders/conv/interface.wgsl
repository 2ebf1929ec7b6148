// What every kernel of a convolution's products computes and binds. If it is not `weighted`, the
// first term has been computed before and is in `base`.
//
//   forward:   acc[p,n,:] = sum_tap sum_c x[p stride + tap - pad, n, c] W[tap,c,:]
//                         + sum_i scale z[n,i] low[p,n,i] up[i,:]           low = A * x,  up = B
//   backward:  acc[p,n,:] = sum_tap sum_o x[(p + pad - tap)/stride, n, o] W'[tap,o,:]
//                         + sum_tap sum_i scale z[n,i] low[same,n,i] up[i,tap,:]  low = B' x,  up = A
//
// Tensors are [position][example][channel quad]. With `shared`, `share` output rows of one example (Monte Carlo
// samples) read the same row of base and low. With `per_position`, each position has its own matrix W. With `int8`, W is of
// integers (conv/int8).

//# from "common/map" import reads

struct Params {
    tiles: u32, // workgroups
//# if not weight_textured
    positions: u32,
//# endif
    batch: u32,
//# if shared
    share: u32,
//# endif
    in_height: u32,
    in_width: u32,
//# if weighted
    in_quads: u32,
//# endif
    out_width: u32,
    out_quads: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
//# if adapter
    rank: u32,
    scale: f32,
//# endif
//# if residual_shared
    residual_share: u32,
//# endif
//# if half
    lift: f32, // a power of two that brings x into f16's range
//# endif
}

@group(0) @binding(0) var<uniform> params: Params;
//# if weighted
{{ reads(1, "x", textured) }}
//# if weight_textured
@group(0) @binding(2) var weight: texture_storage_2d<rgba32{{ "uint" if int8 else "float" }}, read>;
//# else
@group(0) @binding(2) var<storage, read> weight: array<vec4{{ "u" if int8 else "h" if half else "f" }}>;
//# endif
//# else
{{ reads(1, "base", textured) }}
//# endif
//# if adapter
@group(0) @binding(4) var<storage, read> low: array<vec4f>;
@group(0) @binding(5) var<storage, read> gates: array<vec4f>;
@group(0) @binding(6) var<storage, read> up: array<vec4f>;
//# endif

//# if int8
//# include "conv/int8"
//# endif
//# include "conv/epilogue"

// The line of base and low that a row of the output reads.
fn line_of(position: u32, row: u32) -> u32 {
//# if shared
    return position * (params.batch / params.share) + row / params.share;
//# else
    return position * params.batch + row;
//# endif
}

// The initial value of a sum.
fn start(position: u32, row: u32, col: u32) -> vec4f {
//# if weighted
    return vec4f();
//# else
    return base_at(line_of(position, row) * params.out_quads + col);
//# endif
}

//# if adapter
// scale z, the same at all positions.
fn gate(row: u32, quad: u32) -> vec4f {
    return params.scale * gates[row * ((params.rank + 3u) / 4u) + quad];
}

fn low_at(pixel: u32, row: u32, quad: u32) -> vec4f {
    return low[line_of(pixel, row) * ((params.rank + 3u) / 4u) + quad];
}

// The adapter's left operand: a quad of gated low-rank activations.
fn gated(pixel: u32, row: u32, quad: u32) -> vec4f { return gate(row, quad) * low_at(pixel, row, quad); }

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
