// One half step of the diamond-square algorithm on a torus whose side is a power of two, four maps per
// image: points between those known become the mean of their four neighbours plus amplitude u, u uniform
// in (-1, 1). First the centres of the squares of `step`, then the middles of their edges. The first step
// begins at a single point of height 0.

//# include "common/draw"

struct Params {
    images: u32,
    side: u32,
    first_image: u32, // number of the first image in its set
    corruption: u32,
    seed_low: u32,
    seed_high: u32,
    step: u32,
    edges: u32,
    amplitude: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> map: array<vec4f>;

fn point_of(at: vec2u) -> u32 {
    return at.y % params.side * params.side + at.x % params.side;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    let squares = params.side / params.step;
    let points = squares * squares * (1u + params.edges);
    if (item >= params.images * points) { return; }
    let image = item / points;
    let start = image * params.side * params.side;
    let point = item % points;
    let square = point % (squares * squares);
    let corner = vec2u(square % squares, square / squares) * params.step;
    let reach = params.step / 2u;
    var at = corner + reach;
    var sum = vec4f();
    if (params.edges == 1u) {
        at = corner + select(vec2u(reach, 0u), vec2u(0u, reach), point >= squares * squares);
        sum = map[start + point_of(at + vec2u(reach, 0u))] + map[start + point_of(at + vec2u(0u, reach))]
            + map[start + point_of(at + vec2u(params.side - reach, 0u))]
            + map[start + point_of(at + vec2u(0u, params.side - reach))];
    } else if (squares == 1u) {
        map[start] = vec4f();
    } else {
        let far = params.step;
        sum = map[start + point_of(corner)] + map[start + point_of(corner + vec2u(far, 0u))]
            + map[start + point_of(corner + vec2u(0u, far))] + map[start + point_of(corner + far)];
    }
    let bits = draw(image, point_of(at), 2u);
    map[start + point_of(at)] = sum / 4.0 + params.amplitude * (2.0 * unit(bits) - 1.0);
}
