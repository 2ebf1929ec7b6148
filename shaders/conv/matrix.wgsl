// Convolution for GPUs with matrix units: {{ rows }} lines x {{ cols }} columns a workgroup, a block of 32 x 32 a
// subgroup, of cooperative matrices of {{ size }} x {{ size }}: f16 operands staged in workgroup memory, f32 sums.
// The staged arrays are of scalars, since Metal loads its matrices through scalar pointers only.

enable f16;
enable wgpu_cooperative_matrix;

//# set textured = false
//# set half = true
//# set blocks = rows * cols // 1024
//# set threads = 32 * blocks
//# set width = 4 * depth
//# include "conv/interface"
//# include "common/taps"
//# include "conv/tiles"

var<workgroup> left: array<f16, {{ rows * width }}>;
var<workgroup> right: array<f16, {{ width * cols }}>;
// {{ size }} lines of each block's sums on their way to the epilogue.
var<workgroup> sums: array<f32, {{ blocks * size * 32 }}>;

fn set_left(index: u32, value: vec4f) {
//# for i in range(4)
    left[index * 4u + {{ i }}u] = f16(value[{{ i }}]);
//# endfor
}
fn set_right(index: u32, value: vec4f) {
//# for i in range(4)
    right[index * 4u + {{ i }}u] = f16(value[{{ i }}]);
//# endfor
}

//# macro matrix(number, role)
coop_mat{{ size }}x{{ size }}<{{ number }}, {{ role }}>
//# endmacro

//# set across = 32 // size
//# macro multiply_accumulate()
    for (var k = 0u; k < {{ width }}u; k += {{ size }}u) {
//# for i in range(across)
        let a{{ i }} = coopLoadT<{{ matrix("f16", "A") }}>(&left[(block_line + {{ i * size }}u) * {{ width }}u + k], {{ width }}u);
        let b{{ i }} = coopLoadT<{{ matrix("f16", "B") }}>(&right[k * {{ cols }}u + block_col + {{ i * size }}u], {{ cols }}u);
//# endfor
//# for i in range(across)
//# for j in range(across)
        acc{{ i }}_{{ j }} = coopMultiplyAdd(a{{ i }}, b{{ j }}, acc{{ i }}_{{ j }});
//# endfor
//# endfor
    }
//# endmacro

//# macro sources()
{% for j in range(rows * depth // threads) %}, source{{ j }}{% endfor %}
//# endmacro

@compute @workgroup_size({{ threads }})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32, @builtin(subgroup_id) subgroup: u32,
        @builtin(num_subgroups) subgroups: u32) {
    let number = group.x + group.y * groups.x;
    if (number >= params.tiles) { return; }
    let tile = tile_of(number);
//# for j in range(left_loads)
    let staged{{ j }} = tile.first + (local + {{ j * threads }}u) / {{ depth }}u;
//# endfor
    // Subgroups of more than 32 invocations are too few for all blocks at once.
    for (var first_block = 0u; first_block < {{ blocks }}u; first_block += subgroups) {
        let block = min(first_block + subgroup, {{ blocks - 1 }}u);
        let block_line = block / {{ cols // 32 }}u * 32u;
        let block_col = block % {{ cols // 32 }}u * 32u;
//# for i in range(across)
//# for j in range(across)
        var acc{{ i }}_{{ j }} = {{ matrix("f32", "C") }}();
//# endfor
//# endfor
        for (var ky = 0u; ky < params.kernel; ky++) {
            for (var kx = 0u; kx < params.kernel; kx++) {
                if (!reached(tile, ky, kx)) { continue; }
//# for j in range(left_loads)
                let source{{ j }} = source_of(tile, staged{{ j }}, ky, kx);
//# endfor
                let tap = ky * params.kernel + kx;
                for (var c = 0u; c < params.in_quads; c += {{ depth }}u) {
                    stage_weighted(tile, local, tap, c{{ sources() }});
                    {{ multiply_accumulate() }}
                }
//# if adapter and backward
                for (var i = 0u; i * 4u < params.rank; i += {{ depth }}u) {
                    stage_adapter(tile, local, tap, i{{ sources() }});
                    {{ multiply_accumulate() }}
                }
//# endif
            }
        }
//# if adapter and not backward
//# for j in range(left_loads)
        let source{{ j }} = select(-1, i32(staged{{ j }}), staged{{ j }} < tile.end);
//# endfor
        for (var i = 0u; i * 4u < params.rank; i += {{ depth }}u) {
            stage_adapter(tile, local, 0u, i{{ sources() }});
            {{ multiply_accumulate() }}
        }
//# endif
//# for i in range(across)
        workgroupBarrier();
        if (first_block + subgroup < {{ blocks }}u) {
//# for j in range(across)
            coopStoreT(acc{{ i }}_{{ j }}, &sums[block * {{ size * 32 }}u + {{ j * size }}u], 32u);
//# endfor
        }
        workgroupBarrier();
        store_sums(tile, local, first_block, min(first_block + subgroups, {{ blocks }}u), {{ i * size }}u);
//# endfor
    }
}

// {{ size }} lines of blocks from `first` to before `end`, `line0` lines into each.
fn store_sums(tile: Tile, local: u32, first: u32, end: u32, line0: u32) {
    for (var quad = first * {{ size * 8 }}u + local; quad < end * {{ size * 8 }}u; quad += {{ threads }}u) {
        let block = quad / {{ size * 8 }}u;
        let line = tile.first + block / {{ cols // 32 }}u * 32u + line0 + quad / 8u % {{ size }}u;
        let col = tile.col + block % {{ cols // 32 }}u * 8u + quad % 8u;
        let sum = vec4f(sums[quad * 4u], sums[quad * 4u + 1u], sums[quad * 4u + 2u], sums[quad * 4u + 3u]);
        if (line < tile.end && col < params.out_quads) {
            store(line / params.batch, line % params.batch, col, sum / params.lift);
        }
    }
}
