// The taps of a kernel that meet the input, along one dimension. In the backward pass, outputs are the
// layer's inputs: they read where the forward tap of that number wrote.

// The input coordinate that tap `k` of output coordinate `o` reads, or -1 in the padding.
fn tapped(o: i32, k: i32, extent: u32) -> i32 {
    let pad = i32(params.pad);
    let stride = i32(params.stride);
//# if backward is defined and backward
    let at = o + pad - k;
    let i = at / stride;
    return select(-1, i, at >= 0 && at % stride == 0 && i < i32(extent));
//# else
    let i = o * stride + k - pad;
    return select(-1, i, i >= 0 && i < i32(extent));
//# endif
}

// The pixel that a tap of an output position reads, or -1 in the padding.
fn landing(position: u32, ky: u32, kx: u32) -> i32 {
    let iy = tapped(i32(position / params.out_width), i32(ky), params.in_height);
    let ix = tapped(i32(position % params.out_width), i32(kx), params.in_width);
    return select(-1, iy * i32(params.in_width) + ix, iy >= 0 && ix >= 0);
}
