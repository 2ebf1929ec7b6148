struct Params {
    in_height: u32,
    in_width: u32,
    out_height: u32,
    out_width: u32,
    row_quads: u32, // quads of one position: examples x channel quads
}

fn inside(at: vec2i) -> bool {
    return all(at >= vec2i()) && at.x < i32(params.in_width) && at.y < i32(params.in_height);
}

fn place(at: vec2i, row: u32) -> u32 {
    return (u32(at.y) * params.in_width + u32(at.x)) * params.row_quads + row;
}
