//# if normal
// shift + scale n, n standard normal
//# else
// shift + scale u, u uniform in (-1, 1)
//# endif
// for each lane of each pixel, added to x where there is one.

//# include "common/draw"

struct Params {
    images: u32,
    side: u32,
    first_image: u32, // number of the first image in its set
    corruption: u32,
    seed_low: u32,
    seed_high: u32,
    shift: f32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> out: array<vec4f>;
//# if based
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
//# endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.images * params.side * params.side) { return; }
    let area = params.side * params.side;
    let bits = draw(item / area, item % area, 0u);
//# if normal
    let value = vec4f(normal_pair(bits.x, bits.y), normal_pair(bits.z, bits.w));
//# else
    let value = 2.0 * unit(bits) - 1.0;
//# endif
    out[item] = {{ "x[item] +" if based }} params.shift + params.scale * value;
}
