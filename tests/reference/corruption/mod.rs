//! The 15 corruptions, as the authors' programme does them: whole images, one after the other.

mod blur;
mod digital;
mod noise;
mod picture;
mod weather;

pub use picture::{Draws, Picture};

/// A whole level stays, whatever the arithmetic's last bits.
pub const DOWN: f64 = 1.0 / 512.0;
pub const NEAREST_LEVEL: f64 = 0.5 + DOWN;

/// The levels of `[row][column][rgb]` before they are rounded down.
pub fn corrupt(name: &str, x: &Picture, severity: usize, draws: Draws) -> Vec<f64> {
    let level = severity - 1;
    let (picture, bias) = match name {
        "gaussian_noise" => (noise::gaussian(x, level, draws), DOWN),
        "shot_noise" => (noise::shot(x, level, draws), DOWN),
        "impulse_noise" => (noise::impulse(x, level, draws), DOWN),
        "defocus_blur" => (blur::defocus(x, level), DOWN),
        "glass_blur" => (blur::glass(x, level, draws), DOWN),
        "motion_blur" => (blur::motion(x, level, draws), NEAREST_LEVEL),
        "zoom_blur" => (blur::zoom(x, level), DOWN),
        "snow" => (weather::snow(x, level, draws), DOWN),
        "frost" => (weather::frost(x, level, draws), DOWN),
        "fog" => (weather::fog(x, level, draws), DOWN),
        "brightness" => (weather::brightness(x, level), DOWN),
        "contrast" => (digital::contrast(x, level), DOWN),
        "elastic_transform" => (digital::elastic(x, level, draws), DOWN),
        "pixelate" => (digital::pixelate(x, level), NEAREST_LEVEL),
        "jpeg_compression" => (digital::jpeg(x, level), NEAREST_LEVEL),
        _ => panic!("{name}"),
    };
    let area = x.side * x.side;
    (0..3 * area)
        .map(|i| 255.0 * picture.planes[i % 3][i / 3].clamp(0.0, 1.0) + bias)
        .collect()
}
