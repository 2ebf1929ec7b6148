//! The frozen backbone in host memory.

use std::path::Path;
use std::sync::Arc;

use super::{BackboneBits, ResNet};
use crate::formats::{BackboneFile, EPSILON, FormatError};

/// Why a backbone was refused.
pub type BackboneError = FormatError;

/// A convolution's raw weight and its BatchNorm as an affine map.
#[derive(Clone, Debug)]
pub struct ConvWeights {
    /// `[out, in, k, k]`.
    pub weight: Vec<f32>,
    /// Where every weight is a whole number from -127 to 127 of steps: the step of each output channel, `[out]`. They lie
    /// on the GPU as 8-bit integers then.
    pub scales: Option<Vec<f32>>,
    /// gamma / sqrt(var + eps), `[out]`.
    pub gain: Vec<f32>,
    /// beta - mean * gain, `[out]`.
    pub bias: Vec<f32>,
}

/// A ResNet-18 or ResNet-34 whose weights never change.
#[derive(Clone, Debug)]
pub struct Backbone {
    /// The file's name, or `embedded`.
    pub name: String,
    /// Its layers.
    pub resnet: ResNet,
    /// In the order of [`ResNet::convs`].
    pub convs: Vec<Arc<ConvWeights>>,
    /// The classifier it came with: `[classes, features]` and `[classes]`.
    pub fc: Option<(Vec<f32>, Vec<f32>)>,
    /// Of the file's tensors, in hex, with `int8:` before it where the weights were rounded to 8 bits.
    pub sha256: String,
}

impl Backbone {
    /// Reads a file of safetensors or PyTorch, or a directory with one, as [`BackboneFile::read`] does; `embedded` is the one of
    /// [`embedded`](Self::embedded).
    ///
    /// # Errors
    /// The file cannot be read, or is not a sound ResNet.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, BackboneError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        Ok(Self::from_file(&name, &BackboneFile::read(path)?))
    }

    /// The backbone that comes with the program (CIFAR-100 and Tiny-ImageNet at 64x64).
    ///
    /// # Errors
    /// It is neither compiled in nor where [`Asset::directories`](crate::formats::Asset::directories) says, or has been changed.
    pub fn embedded() -> Result<Self, BackboneError> {
        Ok(Self::from_file("embedded", &BackboneFile::embedded()?))
    }

    /// Bits of each weight.
    pub fn bits(&self) -> BackboneBits {
        match self.convs.iter().any(|conv| conv.scales.is_some()) {
            true => BackboneBits::Int8,
            false => BackboneBits::F32,
        }
    }

    /// The same with weights of so many bits: of 8 each is the nearest whole number from -127 to 127 of steps, of which an
    /// output channel's largest weight has 127. What has 8 bits keeps them, as nothing brings back what was rounded.
    pub fn in_bits(&self, bits: BackboneBits) -> Self {
        if bits.is_full() || self.bits() == bits {
            return self.clone();
        }
        let rounded = |conv: &Arc<ConvWeights>| Arc::new(conv.quantised());
        Self {
            convs: self.convs.iter().map(rounded).collect(),
            sha256: bits.hash_of(&self.sha256),
            ..self.clone()
        }
    }

    /// Folds a checked file's BatchNorm into affine maps.
    pub fn from_file(name: &str, file: &BackboneFile) -> Self {
        let data = |name: String| &file.tensor(&name).expect("the file has been checked").data;
        let resnet = ResNet::new(file.architecture, file.stem, file.widths);
        let convs = resnet.convs.iter().map(|spec| {
            let norm = |part: &str| data(format!("{}.{part}", spec.norm));
            let (gamma, beta) = (norm("weight"), norm("bias"));
            let (mean, variance) = (norm("running_mean"), norm("running_var"));
            // A variance is not negative; what rounding made of zero is zero.
            let deviation = |o: usize| (f64::from(variance[o]).max(0.0) + EPSILON).sqrt();
            let gain = |o: usize| f64::from(gamma[o]) / deviation(o);
            let channels = 0..spec.out_channels;
            Arc::new(ConvWeights {
                weight: data(format!("{}.weight", spec.name)).clone(),
                gain: channels.clone().map(|o| gain(o) as f32).collect(),
                bias: channels
                    .map(|o| (f64::from(beta[o]) - f64::from(mean[o]) * gain(o)) as f32)
                    .collect(),
                scales: None,
            })
        });
        let fc = file.classes.map(|_| {
            (
                data("fc.weight".into()).clone(),
                data("fc.bias".into()).clone(),
            )
        });
        Self {
            name: name.into(),
            convs: convs.collect(),
            resnet,
            fc,
            sha256: file.sha256(),
        }
    }
}
