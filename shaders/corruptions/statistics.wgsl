// Mean, smallest and largest value of each lane of an image. One workgroup per image.

struct Params {
    images: u32,
    side: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [image][mean, smallest, largest]

var<workgroup> sums: array<vec4f, 64>;
var<workgroup> lowest: array<vec4f, 64>;
var<workgroup> highest: array<vec4f, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let image = group.x + group.y * groups.x;
    if (image >= params.images) { return; }
    let area = params.side * params.side;
    var sum = vec4f();
    var low = x[image * area];
    var high = low;
    for (var i = local; i < area; i += 64u) {
        let v = x[image * area + i];
        sum += v;
        low = min(low, v);
        high = max(high, v);
    }
    sums[local] = sum;
    lowest[local] = low;
    highest[local] = high;
    workgroupBarrier();
    if (local != 0u) { return; }
    for (var i = 1u; i < 64u; i++) {
        sum += sums[i];
        low = min(low, lowest[i]);
        high = max(high, highest[i]);
    }
    out[3u * image] = sum / f32(area);
    out[3u * image + 1u] = low;
    out[3u * image + 2u] = high;
}
