// The second pass of the weight gradients: adds the partial sums in a fixed order.

struct Params {
    quads: u32,
    splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> grad: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.quads) { return; }
    var sum = vec4f();
    for (var split = 0u; split < params.splits; split++) {
        sum += parts[split * params.quads + item];
    }
    grad[item] = sum;
}
