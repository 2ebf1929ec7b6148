// Tiles of a product's operands in workgroup memory: {{ rows }} lines x {{ 4 * depth }} terms of the sum, and as
// many terms x {{ cols }} columns. A line is one row of the batch at one position: line = position batch + row.
// If the batch is a multiple of {{ rows }}, a tile has one position, and taps in the padding are skipped
// for all of it. Otherwise each line of a tile has its own taps, which are zeros in the padding.
// With `flat`, taps and channels are one dimension of the sum, for inputs of fewer channels than are
// staged at once. The includer gives set_left(index, vec4f) and set_right(index, quad): element [line][quad
// of terms] and [term][quad of columns].

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

// The next tap from `first` on that is outside the padding for any line of a tile; exact for up to two positions.
fn reached(tile: Tile, first: u32) -> u32 {
    let low = tile.first / params.batch;
    let high = (min(tile.first + {{ rows }}u, tile.end) - 1u) / params.batch;
    var tap = first;
    while (tap < params.kernel * params.kernel && high - low <= 1u) {
        let ky = tap / params.kernel;
        let kx = tap % params.kernel;
        if (landing(low, ky, kx) >= 0 || landing(high, ky, kx) >= 0) { break; }
        tap++;
    }
    return tap;
}

// The line of the input that a tap of a line reads, or -1.
fn source_of(tile: Tile, line: u32, tap: u32) -> i32 {
    let pixel = landing(line / params.batch, tap / params.kernel, tap % params.kernel);
    let row = i32(line % params.batch);
    return select(-1, pixel * i32(params.batch) + row, line < tile.end && pixel >= 0);
}

//# set quad = "vec4h" if half else "vec4f"
//# set matrix = "0u" if flat else "(tile.first / params.batch)" if weighted and per_position else "tap"

//# macro fetch_weighted()
//# for j in range(left_loads)
//# if flat
        let value{{ j }} = c + left_quad;
        let source{{ j }} = source_of(tile, staged{{ j }}, value{{ j }} / params.in_quads);
        left{{ j }} = vec4f();
        if (source{{ j }} >= 0 && value{{ j }} < span) {
            left{{ j }} = x_at(u32(source{{ j }}) * params.in_quads + value{{ j }} % params.in_quads);
        }
//# else
        left{{ j }} = vec4f();
        if (source{{ j }} >= 0 && c + left_quad < params.in_quads) {
            left{{ j }} = x_at(u32(source{{ j }}) * params.in_quads + c + left_quad);
        }
//# endif
//# endfor
//# for j in range(right_loads)
        let k{{ j }} = c * 4u + right_value + {{ j * threads // col_quads }}u;
        right{{ j }} = {{ quad }}();
        if (k{{ j }} < {{ "span" if flat else "params.in_quads" }} * 4u && right_col < params.out_quads) {
//# if int8
            let row{{ j }} = matrix_start() + {{ matrix }} * params.in_quads + k{{ j }} / 4u;
            let words{{ j }} = words_at(row{{ j }}, right_col);
//# if backward
            let scales{{ j }} = scales_of(k{{ j }} / 4u);
            right{{ j }} = {{ quad }}(scales{{ j }}[k{{ j }} % 4u] * integers(words{{ j }}[k{{ j }} % 4u]));
//# else
            right{{ j }} = {{ quad }}(scales * integers(words{{ j }}[k{{ j }} % 4u]));
//# endif
//# else
            right{{ j }} = weight[({{ matrix }} * params.in_quads * 4u + k{{ j }}) * params.out_quads + right_col];
//# endif
        }
//# endfor
//# endmacro

//# macro fetch_adapter(tap)
//# for j in range(left_loads)
        left{{ j }} = vec4f();
        if (source{{ j }} >= 0 && (i + left_quad) * 4u < params.rank) {
            left{{ j }} = gated(u32(source{{ j }}) / params.batch, u32(source{{ j }}) % params.batch, i + left_quad);
        }
//# endfor
//# for j in range(right_loads)
        right{{ j }} = {{ quad }}();
        if (right_col < params.out_quads) {
            right{{ j }} = {{ quad }}(raised(i * 4u + right_value + {{ j * threads // col_quads }}u, {{ tap }}, right_col));
        }
//# endfor
//# endmacro

// What is multiplied at `c` of `span`: channels, and after them, in the backward pass, the ranks of the adapter's term.
//# macro fetch()
//# if weighted and adapter and backward
    if (c < channels) {
        {{ fetch_weighted() }}
    } else {
        let i = c - channels;
        {{ fetch_adapter("tap") }}
    }
//# elif weighted
        {{ fetch_weighted() }}
//# else
        let i = c;
        {{ fetch_adapter("tap") }}
//# endif
//# endmacro

//# macro put()
    workgroupBarrier();
//# for j in range(left_loads)
    set_left(local + {{ j * threads }}u, {{ "params.lift * " if half else "" }}left{{ j }});
//# endfor
//# for j in range(right_loads)
    set_right(local + {{ j * threads }}u, right{{ j }});
//# endfor
    workgroupBarrier();
//# endmacro

// All products of a tile; `multiply` is called for each slice that has been staged. With `ahead`, the next slice is
// loaded into registers before that, so that it arrives in the meantime.
//# macro sum_products(multiply, ahead)
    let left_quad = local % {{ depth }}u;
    let right_value = local / {{ col_quads }}u;
    let right_col = tile.col + local % {{ col_quads }}u;
//# if int8 and not backward
    let scales = scales_of(min(right_col, params.out_quads - 1u));
//# endif
//# for j in range(left_loads)
    let staged{{ j }} = tile.first + (local + {{ j * threads }}u) / {{ depth }}u;
    var left{{ j }} = vec4f();
//# endfor
//# for j in range(right_loads)
    var right{{ j }} = {{ quad }}();
//# endfor
//# if flat
    let span = params.kernel * params.kernel * params.in_quads;
    for (var c = 0u; c < span; c += {{ depth }}u) {
        {{ fetch() }}
        {{ put() }}
        {{ multiply }}
    }
//# elif weighted or adapter and backward
    let taps = params.kernel * params.kernel;
//# if weighted
    let channels = (params.in_quads + {{ depth - 1 }}u) / {{ depth }}u * {{ depth }}u;
//# else
    let channels = 0u;
//# endif
//# if adapter and backward
    let span = channels + (params.rank + 3u) / 4u;
//# else
    let span = channels;
//# endif
    var c = 0u;
    var tap = reached(tile, 0u);
//# for j in range(left_loads)
    var source{{ j }} = source_of(tile, staged{{ j }}, tap);
//# endfor
//# if ahead
    if (tap < taps) {
        {{ fetch() }}
    }
//# endif
    while (tap < taps) {
//# if not ahead
        {
        {{ fetch() }}
        }
//# endif
        {{ put() }}
        c += {{ depth }}u;
        if (c >= span) {
            c = 0u;
            tap = reached(tile, tap + 1u);
//# for j in range(left_loads)
            source{{ j }} = source_of(tile, staged{{ j }}, tap);
//# endfor
        }
//# if ahead
        if (tap < taps) {
            {{ fetch() }}
        }
//# endif
        {{ multiply }}
    }
//# endif
//# if adapter and not backward
    for (var i = 0u; i * 4u < params.rank; i += {{ depth }}u) {
//# for j in range(left_loads)
        let source{{ j }} = select(-1, i32(staged{{ j }}), staged{{ j }} < tile.end);
//# endfor
        {{ fetch_adapter("0u") }}
        {{ put() }}
        {{ multiply }}
    }
//# endif
//# endmacro
