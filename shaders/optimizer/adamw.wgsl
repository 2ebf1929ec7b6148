// AdamW (Loshchilov and Hutter 2019) over all trainable parameters, as PyTorch computes it. Blocks of
// 64 parameters belong to one group: 0 weights with decay, 1 without, 2 log alpha, which has its own
// learning rate, no decay, and is projected to [low, high] after the step. One invocation for four parameters.
//
// A ReLU hides NaN from the loss, so every number that passes through here is checked: `unsound` keeps the
// first step with one that is not finite (or a second moment below zero), and which number it was.

//# include "common/step"

struct Params {
    quads: u32,
    beta1: f32,
    beta2: f32,
    rest1: f32, // 1 - beta1, rounded once: in f32 1 - 0.999 is off by 5e-5
    rest2: f32,
    epsilon: f32,
    low: f32,
    high: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<vec4f>;
@group(0) @binding(2) var<storage, read> groups_of: array<u32>;
@group(0) @binding(3) var<storage, read_write> parameters: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> first: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> second: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> unsound: array<atomic<u32>>; // step, part and item

// What is not a finite number, causes before consequences.
const PARAMETER: u32 = 0u;
const FIRST: u32 = 1u;
const SECOND: u32 = 2u;
const GRADIENT: u32 = 3u;
const NOTHING: u32 = 4u;

// By their bits: compilers may assume that `x != x` is false.
fn are_finite(values: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(values) & vec4u(0x7f800000u)) != vec4u(0x7f800000u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let quad = (group.x + group.y * groups.x) * 64u + local;
    if (quad >= params.quads) { return; }
    let kind = groups_of[quad / 16u];
    let rate = select(step.learning_rate, step.log_alpha_learning_rate, kind == 2u);
    let g = gradients[quad];
    let m_before = first[quad];
    let v_before = second[quad];
    let p_before = parameters[quad];
    let m = fma(vec4f(params.beta1), m_before, params.rest1 * g);
    let v = fma(vec4f(params.beta2), v_before, params.rest2 * g * g);
    first[quad] = m;
    second[quad] = v;
    var p = p_before;
    if (kind == 0u) { p *= 1.0 - rate * step.weight_decay; }
    p -= rate / step.correction1 * m / (sqrt(v) / step.correction2 + params.epsilon);
    if (kind == 2u) { p = clamp(p, vec4f(params.low), vec4f(params.high)); }
    parameters[quad] = p;

    var part = vec4u(NOTHING);
    part = select(vec4u(PARAMETER), part, are_finite(p));
    part = select(vec4u(SECOND), part, are_finite(v));
    part = select(vec4u(FIRST), part, are_finite(m));
    part = select(vec4u(GRADIENT), part, are_finite(g));
    part = select(part, vec4u(SECOND), !are_finite(v_before) | (v_before < vec4f()));
    part = select(vec4u(FIRST), part, are_finite(m_before));
    part = select(vec4u(PARAMETER), part, are_finite(p_before));
    if (all(part == vec4u(NOTHING))) { return; }
    let numbers = (part << vec4u(29u)) | (vec4u(0u, 1u, 2u, 3u) + quad * 4u);
    // Steps come in order: later ones leave the first as it is.
    if (atomicMin(&unsound[0], step.draw) >= step.draw) {
        atomicMin(&unsound[1], min(min(numbers.x, numbers.y), min(numbers.z, numbers.w)));
    }
}
