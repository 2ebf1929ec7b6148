// Frozen weights of 8 bits. A vec4u holds 4 rows x 4 columns of the matrix [tap, row, column]: a row a word, its first
// column in the lowest byte. Before the matrix, up to the end of a row of vec4us, stand the bits of the scales of the
// layer's output channels, four a vec4u; these channels are columns in the forward pass and rows in the backward pass.
// A weight is scale * integer, rounded once: the same number with every kernel.

fn words_at(row: u32, col: u32) -> vec4u {
//# if weight_textured
    return textureLoad(weight, vec2u(col, row));
//# else
    return weight[row * params.out_quads + col];
//# endif
}

// A word's four integers, -127 to 127.
fn integers(word: u32) -> vec4f {
    return vec4f(bitcast<vec4i>(vec4u(word) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u));
}

//# if backward
// Rows of vec4us before the matrix.
fn matrix_start() -> u32 { return (params.in_quads + params.out_quads - 1u) / params.out_quads; }

// The scales of a quad of rows.
fn scales_of(quad: u32) -> vec4f {
    return bitcast<vec4f>(words_at(quad / params.out_quads, quad % params.out_quads));
}
//# else
// Rows of vec4us before the matrix.
fn matrix_start() -> u32 { return 1u; }

// The scales of a quad of columns.
fn scales_of(quad: u32) -> vec4f { return bitcast<vec4f>(words_at(0u, quad)); }
//# endif

// The weights of a block, one vec4f a row.
fn dequantised(words: vec4u, scales: vec4f) -> mat4x4f {
//# if backward
    return mat4x4f(scales.x * integers(words.x), scales.y * integers(words.y),
                   scales.z * integers(words.z), scales.w * integers(words.w));
//# else
    return mat4x4f(scales * integers(words.x), scales * integers(words.y),
                   scales * integers(words.z), scales * integers(words.w));
//# endif
}
