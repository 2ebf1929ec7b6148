// BatchNorm's gain applied to a gradient once: dY = g . dOut, before the adapter and the convolution.

//# from "common/map" import reads, writes

struct Params {
    quads: u32, // of the whole tensor
    channel_quads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
{{ reads(1, "grad", textured) }}
@group(0) @binding(2) var<storage, read> affine: array<vec4f>;
{{ writes(3, "out", textured) }}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.quads) { return; }
    out_set(item, grad_at(item) * affine[item % params.channel_quads]);
}
