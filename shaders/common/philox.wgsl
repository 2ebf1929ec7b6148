// Philox4x32-10 (Salmon et al. 2011) and standard normals by Box-Muller. Logarithm, sine and
// cosine are polynomials (Cephes' single precision ones), since WGSL leaves the accuracy of
// its built-in functions to the vendor.

fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu; let a_high = a >> 16u;
    let b_low = b & 0xffffu; let b_high = b >> 16u;
    let low = a_low * b_low;
    let mid1 = a_high * b_low + (low >> 16u);
    let mid2 = a_low * b_high + (mid1 & 0xffffu);
    return a_high * b_high + (mid1 >> 16u) + (mid2 >> 16u);
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
    var c = counter;
    var k = key;
    for (var round = 0; round < 10; round++) {
        let high0 = multiply_high(0xD2511F53u, c.x); let low0 = 0xD2511F53u * c.x;
        let high1 = multiply_high(0xCD9E8D57u, c.z); let low1 = 0xCD9E8D57u * c.z;
        c = vec4u(high1 ^ c.y ^ k.x, low1, high0 ^ c.w ^ k.y, low0);
        k += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// ln((bits + 1/2) / 2^32)
fn log_unit(bits: u32) -> f32 {
    var f: f32; // the argument is (1 + f) 2^e with 1 + f in [sqrt(1/2), sqrt(2))
    var e = 0.0;
    if (bits >= 0xB504F334u) {
        f = -(f32(~bits) + 0.5) * 0x1p-32; // exact where the logarithm is nearly zero
    } else {
        let word = bitcast<u32>(f32(bits) + 0.5);
        e = f32(i32(word >> 23u) - 127 - 32);
        var m = bitcast<f32>((word & 0x007fffffu) | 0x3f800000u);
        if (m > 1.41421356) { m *= 0.5; e += 1.0; }
        f = m - 1.0;
    }
    var p = 7.0376836292e-2;
    p = fma(p, f, -1.1514610310e-1);
    p = fma(p, f, 1.1676998740e-1);
    p = fma(p, f, -1.2420140846e-1);
    p = fma(p, f, 1.4249322787e-1);
    p = fma(p, f, -1.6668057665e-1);
    p = fma(p, f, 2.0000714765e-1);
    p = fma(p, f, -2.4999993993e-1);
    p = fma(p, f, 3.3333331174e-1);
    let f2 = f * f;
    var y = f * f2 * p;
    y = fma(e, -2.12194440e-4, y);
    y = fma(-0.5, f2, y);
    return fma(e, 0.693359375, f + y);
}

// cos and sin of 2 pi (bits + 1/2) / 2^32
fn cos_sin_turn(bits: u32) -> vec2f {
    let quarter = ((bits + 0x20000000u) >> 30u) & 3u;
    let rest = bitcast<i32>(bits - (quarter << 30u));
    let t = (f32(rest) + 0.5) * 0x1p-30 * 1.57079633; // in [-pi/4, pi/4)
    let t2 = t * t;
    let s = fma(fma(fma(-1.9515295891e-4, t2, 8.3321608736e-3), t2, -1.6666654611e-1), t2 * t, t);
    let c = fma(fma(fma(2.443315711809948e-5, t2, -1.388731625493765e-3), t2, 4.166664568298827e-2),
                t2 * t2, fma(-0.5, t2, 1.0));
    switch quarter {
        case 0u: { return vec2f(c, s); }
        case 1u: { return vec2f(-s, c); }
        case 2u: { return vec2f(-c, -s); }
        default: { return vec2f(s, -c); }
    }
}

fn normal_pair(a: u32, b: u32) -> vec2f {
    return sqrt(-2.0 * log_unit(a)) * cos_sin_turn(b);
}
