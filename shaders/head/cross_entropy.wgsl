// Softmax, cross-entropy and its gradient in one: loss[n] = w[y] (logsumexp(l) - l[y]) with the weight w of the class,
// dL/dl = w[y] (softmax(l) - onehot(y)) / count. Rows beyond `count` have neither loss nor gradient.

//# include "common/step"

struct Params {
    batch: u32,
    classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> losses: array<vec2f>; // loss, correct
@group(0) @binding(5) var<storage, read> class_weights: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let row = (group.x + group.y * groups.x) * 64u + local;
    if (row >= params.batch) { return; }
    let lanes = (params.classes + 3u) / 4u * 4u;
    let start = row * lanes;
    var peak = logits[start];
    var best = 0u;
    for (var c = 1u; c < params.classes; c++) {
        if (logits[start + c] > peak) { peak = logits[start + c]; best = c; }
    }
    var total = 0.0;
    for (var c = 0u; c < params.classes; c++) { total += exp(logits[start + c] - peak); }
    let real = row < step.count;
    let label = labels[row];
    let class_weight = class_weights[label];
    let weight = select(0.0, class_weight / f32(step.count), real);
    for (var c = 0u; c < lanes; c++) {
        var value = 0.0;
        if (c < params.classes && real) {
            value = (exp(logits[start + c] - peak) / total - select(0.0, 1.0, c == label)) * weight;
        }
        gradient[start + c] = value;
    }
    let loss = class_weight * (log(total) + peak - logits[start + label]);
    losses[row] = select(vec2f(), vec2f(loss, select(0.0, 1.0, best == label)), real);
}
