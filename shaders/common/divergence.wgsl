// Logistic functions, and the KL to the log-uniform prior.

fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-x)); }

// log(1 + e^x), which does not overflow
fn softplus(x: f32) -> f32 { return max(x, 0.0) + log(1.0 + exp(-abs(x))); }

// Molchanov's fit (2017, equation 14) and its derivative at log alpha = t.
fn molchanov(t: f32) -> vec2f {
    const k1 = 0.63576; const k2 = 1.87320; const k3 = 1.48695;
    let u = sigmoid(fma(k3, t, k2));
    let rest = sigmoid(-fma(k3, t, k2)); // 1 - u, without the cancellation at large t
    return vec2f(k1 * rest + 0.5 * softplus(-t), -k1 * k3 * u * rest - 0.5 * sigmoid(-t));
}
