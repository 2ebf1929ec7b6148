// What every convolution does to its sum before it stores it:
//   forward   relu?(gain . sum + bias + residual?)
//   backward  gain? . mask? (sum + residual?)
// The includer's params hold batch and out_quads, and residual_share where there is a residual.

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

fn store(position: u32, row: u32, col: u32, sum: vec4f) {
    let place = (position * params.batch + row) * params.out_quads + col;
    var value = sum;
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
