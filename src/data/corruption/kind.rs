//! The corruptions and their names.

use std::fmt;
use std::str::FromStr;

use super::CorruptionError;

/// One of the 15 common corruptions of Hendrycks and Dietterich (2019).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Corruption {
    GaussianNoise,
    ShotNoise,
    ImpulseNoise,
    DefocusBlur,
    GlassBlur,
    MotionBlur,
    ZoomBlur,
    Snow,
    Frost,
    Fog,
    Brightness,
    Contrast,
    ElasticTransform,
    Pixelate,
    JpegCompression,
}

impl Corruption {
    /// In the order of the paper's tables: noise, blur, weather, digital.
    pub const ALL: [Self; 15] = [
        Self::GaussianNoise,
        Self::ShotNoise,
        Self::ImpulseNoise,
        Self::DefocusBlur,
        Self::GlassBlur,
        Self::MotionBlur,
        Self::ZoomBlur,
        Self::Snow,
        Self::Frost,
        Self::Fog,
        Self::Brightness,
        Self::Contrast,
        Self::ElasticTransform,
        Self::Pixelate,
        Self::JpegCompression,
    ];

    /// The name of its file in CIFAR-10-C.
    pub fn name(self) -> &'static str {
        match self {
            Self::GaussianNoise => "gaussian_noise",
            Self::ShotNoise => "shot_noise",
            Self::ImpulseNoise => "impulse_noise",
            Self::DefocusBlur => "defocus_blur",
            Self::GlassBlur => "glass_blur",
            Self::MotionBlur => "motion_blur",
            Self::ZoomBlur => "zoom_blur",
            Self::Snow => "snow",
            Self::Frost => "frost",
            Self::Fog => "fog",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::ElasticTransform => "elastic_transform",
            Self::Pixelate => "pixelate",
            Self::JpegCompression => "jpeg_compression",
        }
    }

    /// What it does, in a few words.
    pub fn description(self) -> &'static str {
        match self {
            Self::GaussianNoise => "normal noise on every value",
            Self::ShotNoise => "Poisson counts of light",
            Self::ImpulseNoise => "values set to 0 or 255",
            Self::DefocusBlur => "blur by a disk",
            Self::GlassBlur => "blur, pixels shuffled nearby, blur",
            Self::MotionBlur => "blur along a line",
            Self::ZoomBlur => "mean over enlargements",
            Self::Snow => "paler colours and streaks of flakes",
            Self::Frost => "a layer of ice crystals",
            Self::Fog => "a fractal cloud",
            Self::Brightness => "higher value in HSV",
            Self::Contrast => "values drawn to the image's mean",
            Self::ElasticTransform => "an affine map and smooth displacements",
            Self::Pixelate => "resized to fewer pixels and back",
            Self::JpegCompression => "JPEG at a low quality",
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Corruption {
    type Err = CorruptionError;

    fn from_str(name: &str) -> Result<Self, CorruptionError> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| CorruptionError::Unknown { name: name.into() })
    }
}
