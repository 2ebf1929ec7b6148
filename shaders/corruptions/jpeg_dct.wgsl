// Eight values of a block's row or column times an orthonormal 8 x 8 matrix: a pass of the cosine
// transform, or back. Where `quantised`, coefficients then go to the nearest multiple of the table's entry.

struct Params {
    images: u32,
    padded: u32,
    down: u32, // 1 for columns
    quantised: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> matrix: array<f32>; // [out][in]
@group(0) @binding(3) var<storage, read> table: array<vec4f>; // [row][column] of y, cb, cr, unused
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.padded * params.padded) { return; }
    let column = item % params.padded % 8u;
    let row = item / params.padded % 8u; // the sides of all images are multiples of 8
    let place = select(column, row, params.down == 1u);
    let stride = select(1u, params.padded, params.down == 1u);
    let start = item - place * stride;
    var sum = vec4f();
    for (var i = 0u; i < 8u; i++) {
        sum += matrix[8u * place + i] * x[start + i * stride];
    }
    if (params.quantised == 1u) {
        let q = table[8u * row + column];
        sum = sign(sum) * floor(abs(sum) / q + (0.5 + 0x1p-9)) * q;
    }
    out[item] = sum;
}
