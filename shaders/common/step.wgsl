// What changes from one run of a plan to the next; written by the host before each submission.
struct Step {
    seed_low: u32,
    seed_high: u32,
    purpose: u32,           // 0 training, 1 prediction
    draw: u32,              // optimiser step, or number of the first Monte Carlo sample
    gate_mode: u32,         // 0 mean (z = 1), 1 one gate per example, 2 gates shared by all examples
    count: u32,             // examples of the batch that are real
    slot: u32,              // where the statistics of this step go
    learning_rate: f32,
    log_alpha_learning_rate: f32,
    weight_decay: f32,
    correction1: f32,       // 1 - beta1^t
    correction2: f32,       // sqrt(1 - beta2^t)
    kl_weight: f32,         // beta kl_scale / N
}
@group(0) @binding(15) var<uniform> step: Step;
