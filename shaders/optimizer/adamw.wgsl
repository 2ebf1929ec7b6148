// AdamW (Loshchilov and Hutter 2019) over all trainable parameters, as PyTorch computes it. Blocks of
// 64 parameters belong to one group: 0 weights with decay, 1 without, 2 log alpha, which has its own
// learning rate, no decay, and is projected to [low, high] after the step.
//
// A ReLU hides NaN from the loss, so every number that passes through here is checked: `unsound` keeps the
// first step with one that is not finite (or a second moment below zero), and which number it was.

//# include "common/step"

struct Params {
    size: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32, // 1 - beta1, rounded once: in f32 1 - 0.999 is off by 5e-5
    rest2: f32,
    epsilon: f32,
    low: f32,
    high: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<f32>;
@group(0) @binding(2) var<storage, read> groups_of: array<u32>;
@group(0) @binding(3) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(4) var<storage, read_write> first: array<f32>;
@group(0) @binding(5) var<storage, read_write> second: array<f32>;
@group(0) @binding(6) var<storage, read_write> unsound: array<atomic<u32>>; // step, part and item

// What is not a finite number, causes before consequences.
const PARAMETER: u32 = 0u;
const FIRST: u32 = 1u;
const SECOND: u32 = 2u;
const GRADIENT: u32 = 3u;
const NOTHING: u32 = 4u;

// By its bits: compilers may assume that `x != x` is false.
fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let item = (group.x + group.y * groups.x) * 64u + local;
    if (item >= params.size) { return; }
    let kind = groups_of[item / 64u];
    let rate = select(step.learning_rate, step.log_alpha_learning_rate, kind == 2u);
    let g = gradients[item];
    let m_before = first[item];
    let v_before = second[item];
    let p_before = parameters[item];
    let m = fma(params.beta1, m_before, params.rest1 * g);
    let v = fma(params.beta2, v_before, params.rest2 * g * g);
    first[item] = m;
    second[item] = v;
    var p = p_before;
    if (kind == 0u) { p *= 1.0 - rate * step.weight_decay; }
    p -= rate / step.correction1 * m / (sqrt(v) / step.correction2 + params.epsilon);
    if (kind == 2u) { p = clamp(p, params.low, params.high); }
    parameters[item] = p;

    var part = NOTHING;
    if (!is_finite(p)) { part = PARAMETER; }
    if (!is_finite(v)) { part = SECOND; }
    if (!is_finite(m)) { part = FIRST; }
    if (!is_finite(g)) { part = GRADIENT; }
    if (!is_finite(v_before) || v_before < 0.0) { part = SECOND; }
    if (!is_finite(m_before)) { part = FIRST; }
    if (!is_finite(p_before)) { part = PARAMETER; }
    if (part == NOTHING) { return; }
    // Steps come in order: later ones leave the first as it is.
    if (atomicMin(&unsound[0], step.draw) >= step.draw) {
        atomicMin(&unsound[1], (part << 29u) | item);
    }
}
