// What every convolution does to its sum before it stores it:
//   forward   relu?(gain . sum + bias + residual?)
//   backward  gain? . mask? (sum + residual?)
// The includer's params hold batch and out_quads, and residual_share if
// several rows share one of the residual. An integer division takes software adapters longer than all else here.

//# from "common/map" import reads, writes

{{ writes(3, "out", textured) }}
//# if affine or gain
@group(0) @binding(7) var<storage, read> affine: array<vec4f>; // gains, then biases
//# endif
//# if residual
{{ reads(8, "residual", textured) }}
//# endif
//# if mask
{{ reads(9, "activation", textured) }}
//# endif

// A quad of channels, with what is loaded once for all of its elements.
struct Column {
    col: u32,
//# if affine or gain
    gain: vec4f,
//# endif
//# if affine
    bias: vec4f,
//# endif
}

fn column_of(col: u32) -> Column {
    var column: Column;
    column.col = col;
//# if affine or gain
    column.gain = affine[col];
//# endif
//# if affine
    column.bias = affine[params.out_quads + col];
//# endif
    return column;
}

fn store(position: u32, row: u32, column: Column, sum: vec4f) {
    let place = (position * params.batch + row) * params.out_quads + column.col;
    var value = sum;
//# if affine
    value = fma(column.gain, value, column.bias);
//# endif
//# if residual
//# if residual_shared
    let residual_line = position * (params.batch / params.residual_share) + row / params.residual_share;
    value += residual_at(residual_line * params.out_quads + column.col);
//# else
    value += residual_at(place);
//# endif
//# endif
//# if relu
    value = max(value, vec4f());
//# endif
//# if mask
    value = select(vec4f(), value, activation_at(place) > vec4f());
//# endif
//# if gain
    value *= column.gain;
//# endif
    out_set(place, value);
}
