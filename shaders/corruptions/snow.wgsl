// Paler colours, and the flakes twice, the second time turned by half a turn.

struct Params {
    images: u32,
    side: u32,
    colour: f32,
    bias: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> flakes: array<vec4f>; // the first lane
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

fn flake(item: u32) -> f32 {
    return floor(255.0 * flakes[item].x + params.bias) / 255.0;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let area = params.side * params.side;
    let turned = item / area * area + area - 1u - item % area;
    let grey = dot(x[item].xyz, vec3f(0.299, 0.587, 0.114));
    let pale = max(x[item], vec4f(1.5 * grey + 0.5));
    out[item] = mix(pale, x[item], params.colour) + flake(item) + flake(turned);
}
