// (x + density h) m/(m + density), h the plasma fractal brought to 0..1 and m the image's largest value.

struct Params {
    images: u32,
    side: u32,
    map_side: u32,
    density: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read> map: array<vec4f>;
@group(0) @binding(3) var<storage, read> map_range: array<vec4f>;
@group(0) @binding(4) var<storage, read> range: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;

//# include "common/picture"
//# include "common/height"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let place = place_of(item);
    let high = range[3u * place.image + 2u];
    let largest = max(max(high.x, high.y), high.z);
    let fog = params.density * height(place).x;
    out[item] = (x[item] + fog) * largest / (largest + params.density);
}
