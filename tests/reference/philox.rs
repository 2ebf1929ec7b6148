//! Philox4x32-10 (Salmon et al. 2011) and the map from its words to normals.

use std::f64::consts::TAU;

pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mul = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let (high0, low0) = mul(0xD251_1F53, c0);
        let (high1, low1) = mul(0xCD9E_8D57, c2);
        (c0, c1, c2, c3) = (high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// `(bits + 1/2) / 2^32`, in the open unit interval.
pub fn uniform(bits: u32) -> f64 {
    (f64::from(bits) + 0.5) / 2f64.powi(32)
}

/// Box-Muller: `r = sqrt(-2 ln u0)`, `(r cos 2 pi u1, r sin 2 pi u1)`.
pub fn normal_pair(bits0: u32, bits1: u32) -> [f64; 2] {
    let r = (-2.0 * uniform(bits0).ln()).sqrt();
    let (sin, cos) = (TAU * uniform(bits1)).sin_cos();
    [r * cos, r * sin]
}

/// Words 0 and 1 give normals 0 and 1, words 2 and 3 give normals 2 and 3.
pub fn normals(words: [u32; 4]) -> [f64; 4] {
    let [a, b] = normal_pair(words[0], words[1]);
    let [c, d] = normal_pair(words[2], words[3]);
    [a, b, c, d]
}
