// log p[n,c] = l[n,c] - logsumexp(l[n,:])

struct Params {
    rows: u32,
    classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [rows][classes], no padding

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let row = (group.x + group.y * groups.x) * 64u + local;
    if (row >= params.rows) { return; }
    let start = row * ((params.classes + 3u) / 4u * 4u);
    var peak = logits[start];
    for (var c = 1u; c < params.classes; c++) { peak = max(peak, logits[start + c]); }
    var total = 0.0;
    for (var c = 0u; c < params.classes; c++) { total += exp(logits[start + c] - peak); }
    let shift = peak + log(total);
    for (var c = 0u; c < params.classes; c++) {
        out[row * params.classes + c] = logits[start + c] - shift;
    }
}
