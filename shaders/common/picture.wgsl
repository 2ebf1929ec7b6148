// Images of the corruptions: [image][row][column] of vec4f (red, green, blue, unused), 0 to 1. Beyond an
// edge another pixel of the row or column is used:
const NEAREST: u32 = 0u;   // a | a b c
const MIRROR: u32 = 1u;    // c b | a b c
const SYMMETRIC: u32 = 2u; // b a | a b c

struct Place { image: u32, at: vec2i }

fn place_of(item: u32) -> Place {
    let pixel = item % (params.side * params.side);
    return Place(item / (params.side * params.side), vec2i(vec2u(pixel % params.side, pixel / params.side)));
}

// Steps longer than the image is wide end at its far edge.
fn folded(at: i32, border: u32) -> i32 {
    let last = i32(params.side) - 1;
    let skipped = select(0, 1, border == SYMMETRIC);
    var i = at;
    if (border != NEAREST) {
        i = select(i, -i - skipped, i < 0);
        i = select(i, 2 * last + skipped - i, i > last);
    }
    return clamp(i, 0, last);
}

fn item_of(image: u32, at: vec2i, border: u32) -> u32 {
    let row = image * params.side + u32(folded(at.y, border));
    return row * params.side + u32(folded(at.x, border));
}
