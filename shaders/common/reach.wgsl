// All taps that meet the input, as one loop: the first tap, the input coordinate it reads, and how many
// there are, for output coordinate `o` along one dimension.
//   forward:   i = o stride + k - pad            backward:  i = (o + pad - k) / stride
// Software adapters copy every accumulator at the end of a loop, so there is one loop over taps, not two.

struct Reach { tap: i32, input: i32, count: i32 }

//# if backward
fn reach(o: i32, extent: u32) -> Reach {
    let stride = i32(params.stride);
    let top = o + i32(params.pad);
    // k <= top and k > top - extent stride, in steps of the stride from top down.
    let lowest = max(0, top - i32(extent) * stride + 1);
    let tap = lowest + (top - lowest) % stride;
    let end = min(i32(params.kernel), top + 1);
    return Reach(tap, (top - tap) / stride, max(0, (end - tap + stride - 1) / stride));
}
//# else
fn reach(o: i32, extent: u32) -> Reach {
    let first = o * i32(params.stride) - i32(params.pad);
    let tap = max(0, -first);
    return Reach(tap, first + tap, max(0, min(i32(params.kernel), i32(extent) - first) - tap));
}
//# endif

// A place in the loop over rows of taps and the taps of a row, and the next one.
struct Place { y: i32, x: i32 }

fn next(at: Place, across: i32) -> Place {
    let wraps = at.x + 1 == across;
    return Place(at.y + i32(wraps), select(at.x + 1, 0, wraps));
}

fn pixel_of(rows: Reach, columns: Reach, at: Place) -> u32 {
//# if backward
    return u32(rows.input - at.y) * params.in_width + u32(columns.input - at.x);
//# else
    return u32(rows.input + at.y) * params.in_width + u32(columns.input + at.x);
//# endif
}

fn tap_of(rows: Reach, columns: Reach, at: Place) -> u32 {
//# if backward
    let step = i32(params.stride);
//# else
    let step = 1;
//# endif
    return u32((rows.tap + step * at.y) * i32(params.kernel) + columns.tap + step * at.x);
}
