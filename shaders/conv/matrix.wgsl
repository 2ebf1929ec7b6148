// Convolution for GPUs with matrix units: {{ rows }} lines x {{ cols }} columns per workgroup, {{ tall }} x {{ wide }} of them per
// subgroup, as cooperative matrices of {{ size }} x {{ size }}: f16 operands staged in workgroup memory, f32 sums.
// Staged lines are two quads longer than what they hold, so that the lines of a matrix lie in different
// banks. `scalars`: Metal loads its matrices through pointers to scalars only.

enable f16;
enable wgpu_cooperative_matrix;

//# set textured = false
//# set weight_textured = false
//# set half = true
//# set across = cols // wide
//# set blocks = rows // tall * across
//# set threads = lanes * blocks
//# include "conv/interface"
//# include "common/taps"
//# include "conv/tiles"

//# set pad = 2
//# set left_stride = depth + pad
//# set right_stride = col_quads + pad
//# set parts = 4 if scalars else 1
//# set element = "f16" if scalars else "vec4h"
var<workgroup> left: array<{{ element }}, {{ rows * left_stride * parts }}>;
var<workgroup> right: array<{{ element }}, {{ 4 * depth * right_stride * parts }}>;
// A matrix of each block's sums on its way to the epilogue.
//# set matrix_quads = size * size // 4
var<workgroup> sums: array<f32, {{ blocks * size * size }}>;

//# macro write_quad(array, index, value)
//# if scalars
//# for i in range(4)
    {{ array }}[{{ index }} * 4u + {{ i }}u] = {{ value }}[{{ i }}];
//# endfor
//# else
    {{ array }}[{{ index }}] = {{ value }};
//# endif
//# endmacro

fn set_left(index: u32, value: vec4f) {
    let place = index / {{ depth }}u * {{ left_stride }}u + index % {{ depth }}u;
    let halves = vec4h(value);
    {{ write_quad("left", "place", "halves") }}
}
fn set_right(index: u32, value: vec4h) {
    let place = index / {{ col_quads }}u * {{ right_stride }}u + index % {{ col_quads }}u;
    {{ write_quad("right", "place", "value") }}
}

//# macro matrix_of(number, role)
coop_mat{{ size }}x{{ size }}<{{ number }}, {{ role }}>
//# endmacro

//# set down = tall // size
//# set over = wide // size
//# macro multiply_accumulate()
//# for k in range(0, 4 * depth, size)
        {
//# for i in range(down)
        let a{{ i }} = coopLoadT<{{ matrix_of("f16", "A") }}>(&left[((block_line + {{ i * size }}u) * {{ left_stride }}u + {{ k // 4 }}u) * {{ parts }}u], {{ left_stride * parts }}u);
//# endfor
//# for j in range(over)
        let b{{ j }} = coopLoadT<{{ matrix_of("f16", "B") }}>(&right[({{ k * right_stride + j * size // 4 }}u + block_col) * {{ parts }}u], {{ right_stride * parts }}u);
//# endfor
//# for i in range(down)
//# for j in range(over)
        acc{{ i }}_{{ j }} = coopMultiplyAdd(a{{ i }}, b{{ j }}, acc{{ i }}_{{ j }});
//# endfor
//# endfor
        }
//# endfor
//# endmacro

@compute @workgroup_size({{ threads }})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32,
        @builtin(num_subgroups) subgroups: u32) {
    let number = group.x + group.y * groups.x;
    if (number >= params.tiles) { return; }
    let tile = tile_of(number);
    // With subgroups of more than {{ lanes }} invocations there are too few of them for all blocks at once.
    for (var first_block = 0u; first_block < {{ blocks }}u; first_block += subgroups) {
        let block = min(first_block + subgroup, {{ blocks - 1 }}u);
        let block_line = block / {{ across }}u * {{ tall }}u;
        let block_col = block % {{ across }}u * {{ wide // 4 }}u;
//# for i in range(down)
//# for j in range(over)
        var acc{{ i }}_{{ j }} = {{ matrix_of("f32", "C") }}();
//# endfor
//# endfor
        {{ sum_products(multiply_accumulate(), true) }}
//# for i in range(down)
//# for j in range(over)
        workgroupBarrier();
        if (first_block + subgroup < {{ blocks }}u) {
            coopStoreT(acc{{ i }}_{{ j }}, &sums[block * {{ size * size }}u], {{ size }}u);
        }
        workgroupBarrier();
        store_sums(tile, local, first_block, min(first_block + subgroups, {{ blocks }}u), {{ i * size }}u, {{ j * size // 4 }}u);
//# endfor
//# endfor
    }
}

// The matrices of the blocks from `first` up to but not including `end` that lie `line0` lines and `col0` quads of columns
// into each.
fn store_sums(tile: Tile, local: u32, first: u32, end: u32, line0: u32, col0: u32) {
    for (var quad = first * {{ matrix_quads }}u + local; quad < end * {{ matrix_quads }}u; quad += {{ threads }}u) {
        let block = quad / {{ matrix_quads }}u;
        let line = tile.first + block / {{ across }}u * {{ tall }}u + line0 + quad / {{ size // 4 }}u % {{ size }}u;
        let col = tile.col + block % {{ across }}u * {{ wide // 4 }}u + col0 + quad % {{ size // 4 }}u;
        let sum = vec4f(sums[quad * 4u], sums[quad * 4u + 1u], sums[quad * 4u + 2u], sums[quad * 4u + 3u]);
        if (line < tile.end && col < params.out_quads) {
            store(line / params.batch, line % params.batch, column_of(col), sum / params.lift);
        }
    }
}
