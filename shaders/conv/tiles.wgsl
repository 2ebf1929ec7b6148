// Tiles of a product's operands in workgroup memory: {{ rows }} lines x {{ 4 * depth }} values of the sum, and as
// many values x {{ cols }} columns. A line is one row of one position: line = position batch + row, so where
// the batch is a multiple of {{ rows }} a tile has one position, and its taps in the padding are skipped
// for all of it; elsewhere a tile's lines have taps of their own, which are zeros in the padding.
// The includer gives set_left(index, vec4f) and set_right(index, vec4f): element [line][quad of values]
// and [value][quad of columns].

//# set col_quads = cols // 4
//# set left_loads = rows * depth // threads
//# set right_loads = 4 * depth * col_quads // threads

// The lines and columns of a workgroup.
struct Tile {
    first: u32,
    end: u32, // of the lines that it may compute
    col: u32, // its first quad of columns
}

fn tile_of(number: u32) -> Tile {
    let col_tiles = (params.out_quads + {{ col_quads - 1 }}u) / {{ col_quads }}u;
    let col = number % col_tiles * {{ col_quads }}u;
    let row_tile = number / col_tiles;
//# if weighted and per_position
    let row_tiles = (params.batch + {{ rows - 1 }}u) / {{ rows }}u;
    let first = row_tile / row_tiles * params.batch;
    return Tile(first + row_tile % row_tiles * {{ rows }}u, first + params.batch, col);
//# else
    return Tile(row_tile * {{ rows }}u, params.positions * params.batch, col);
//# endif
}

// Whether a tap leaves the padding for any line of a tile; exact for up to two positions.
fn reached(tile: Tile, ky: u32, kx: u32) -> bool {
    let low = tile.first / params.batch;
    let high = (min(tile.first + {{ rows }}u, tile.end) - 1u) / params.batch;
    return high - low > 1u || landing(low, ky, kx) >= 0 || landing(high, ky, kx) >= 0;
}

// The line of the input that a tap leads a line to, or -1.
fn source_of(tile: Tile, line: u32, ky: u32, kx: u32) -> i32 {
    let pixel = landing(line / params.batch, ky, kx);
    let row = i32(line % params.batch);
    return select(-1, pixel * i32(params.batch) + row, line < tile.end && pixel >= 0);
}

//# if weighted
// Quads `c` and on of x at each loaded line's source, and the rows of the weight that meet them.
fn stage_weighted(tile: Tile, local: u32, matrix: u32, c: u32{% for j in range(left_loads) %}, source{{ j }}: i32{% endfor %}) {
    workgroupBarrier();
//# for j in range(left_loads)
    let left{{ j }} = local + {{ j * threads }}u;
    let quad{{ j }} = c + left{{ j }} % {{ depth }}u;
    var x{{ j }} = vec4f();
    if (source{{ j }} >= 0 && quad{{ j }} < params.in_quads) {
        x{{ j }} = x_at(u32(source{{ j }}) * params.in_quads + quad{{ j }});
    }
//# if half
    set_left(left{{ j }}, params.lift * x{{ j }});
//# else
    set_left(left{{ j }}, x{{ j }});
//# endif
//# endfor
//# for j in range(right_loads)
    let right{{ j }} = local + {{ j * threads }}u;
    let k{{ j }} = c * 4u + right{{ j }} / {{ col_quads }}u;
    let col{{ j }} = tile.col + right{{ j }} % {{ col_quads }}u;
    var w{{ j }} = vec4{{ "h" if half else "f" }}();
    if (k{{ j }} < params.in_quads * 4u && col{{ j }} < params.out_quads) {
        w{{ j }} = weight[(matrix * params.in_quads * 4u + k{{ j }}) * params.out_quads + col{{ j }}];
    }
    set_right(right{{ j }}, vec4f(w{{ j }}));
//# endfor
    workgroupBarrier();
}
//# endif

//# if adapter
// Quads `i` and on of the gated low-rank activations, and the rows of `up` that meet them.
fn stage_adapter(tile: Tile, local: u32, tap: u32, i: u32{% for j in range(left_loads) %}, source{{ j }}: i32{% endfor %}) {
    workgroupBarrier();
//# for j in range(left_loads)
    let left{{ j }} = local + {{ j * threads }}u;
    let quad{{ j }} = i + left{{ j }} % {{ depth }}u;
    var low{{ j }} = vec4f();
    if (source{{ j }} >= 0 && quad{{ j }} * 4u < params.rank) {
        low{{ j }} = gated(u32(source{{ j }}) / params.batch, u32(source{{ j }}) % params.batch, quad{{ j }});
    }
//# if half
    set_left(left{{ j }}, params.lift * low{{ j }});
//# else
    set_left(left{{ j }}, low{{ j }});
//# endif
//# endfor
//# for j in range(right_loads)
    let right{{ j }} = local + {{ j * threads }}u;
    let rank{{ j }} = i * 4u + right{{ j }} / {{ col_quads }}u;
    let col{{ j }} = tile.col + right{{ j }} % {{ col_quads }}u;
    var up{{ j }} = vec4f();
    if (col{{ j }} < params.out_quads) { up{{ j }} = raised(rank{{ j }}, tap, col{{ j }}); }
    set_right(right{{ j }}, up{{ j }});
//# endfor
    workgroupBarrier();
}
//# endif
