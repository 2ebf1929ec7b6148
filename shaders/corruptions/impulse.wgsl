// Salt and pepper: of the share `amount` of all values half become 0 and half 1.

//# include "common/draw"

struct Params {
    images: u32,
    side: u32,
    first_image: u32, // number of the first image in its set
    corruption: u32,
    seed_low: u32,
    seed_high: u32,
    amount: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let area = params.side * params.side;
    let u = unit(draw(item / area, item % area, 0u));
    let salted = select(x[item], vec4f(1.0), u < vec4f(params.amount));
    out[item] = select(salted, vec4f(), u < vec4f(0.5 * params.amount));
}
