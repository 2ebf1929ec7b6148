//! The frozen ResNet as a checked set of tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::architecture::{Architecture, looks_like};
use super::tensors::without_prefixes;
use super::{Asset, FormatError, Tensor, TensorFile, files, foreign, hugging_face, pytorch};

/// What stands for the backbone that comes with the program in the place of a file's path.
const EMBEDDED: &str = "embedded";

const EXPECTED: &str = "a file of weights";

const MODEL: &str = "a ResNet";

/// What wrappers put before the names of torchvision and timm.
pub(super) const WRAPPERS: [&str; 3] = ["module.", "model.", "backbone."];

/// The first convolution and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stem {
    /// 7x7 with stride 2, then max pooling.
    ImageNet,
    /// 3x3 with stride 1, no pooling.
    Cifar,
}

/// The tensors of a ResNet-18 or ResNet-34, with the names of torchvision. timm's are the same; those of Hugging Face's
/// transformers (`microsoft/resnet-18`) are translated.
///
/// Convolutions are `[out, in, k, k]`, BatchNorm has `weight`, `bias`,
/// `running_mean` and `running_var` of `[channels]`. The widths are the file's
/// own; that layers fit one another and that every value is finite is checked.
#[derive(Debug, Clone)]
pub struct BackboneFile {
    /// By the number of blocks.
    pub architecture: Architecture,
    /// By the kernel size of `conv1`.
    pub stem: Stem,
    /// Output channels of `layer1` to `layer4`; `layer1` has those of the stem.
    pub widths: [usize; 4],
    /// Rows of `fc.weight`, if the file has a classifier.
    pub classes: Option<usize>,
    /// The `__metadata__` of the header.
    pub metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Tensor>,
}

impl BackboneFile {
    /// Reads and checks a safetensors file, or weights that `torch.save` has written (since PyTorch 1.6: a `.pth`, of which
    /// nothing is executed); `embedded` is the one of [`embedded`](Self::embedded), and of a directory
    /// `model.safetensors` is read, in Hugging Face's cache (`models--OWNER--NAME`) that of the snapshot which `refs/main`
    /// names. With names of transformers, a `config.json` beside it must not ask for another activation than ReLU.
    ///
    /// # Errors
    /// The file is absent or unreadable, and as in [`BackboneFile::from_bytes`] and [`Asset::bytes`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        if path.as_os_str() == EMBEDDED {
            return Self::embedded();
        }
        let path = match path.is_dir() {
            true => hugging_face::weights_in(path)?,
            false => path.to_owned(),
        };
        let source = path.display().to_string();
        // Before all of it is read: it may be large, and something else.
        let (start, _) = files::read_start(&path, foreign::START, EXPECTED)?;
        let file = match pytorch::is_archive(&start) {
            true => pytorch::read(&source, &files::read(&path, EXPECTED)?)?,
            false => TensorFile::read(&path)?,
        };
        hugging_face::require_relu(&file, &path)?;
        Self::from_tensors(file)
    }

    /// The file that comes with the program.
    ///
    /// # Errors
    /// As [`Asset::bytes`].
    pub fn embedded() -> Result<Self, FormatError> {
        Self::from_bytes(EMBEDDED, &Asset::Backbone.bytes()?)
    }

    /// Reads and checks the bytes of such a file; `source` is what errors call it.
    ///
    /// The prefixes `module.`, `model.` and `backbone.` are dropped, names of transformers are translated, and
    /// `num_batches_tracked` is ignored.
    ///
    /// # Errors
    /// As in [`TensorFile::from_bytes`]; a file of PyTorch is damaged or holds more than tensors; a tensor is missing, has no
    /// place in the network, does not fit its neighbours, or has a NaN or an infinity.
    pub fn from_bytes(source: &str, bytes: &[u8]) -> Result<Self, FormatError> {
        let start = &bytes[..bytes.len().min(foreign::START as usize)];
        Self::from_tensors(match pytorch::is_archive(start) {
            true => pytorch::read(source, bytes)?,
            false => TensorFile::from_bytes(source, bytes)?,
        })
    }

    fn from_tensors(mut file: TensorFile) -> Result<Self, FormatError> {
        file.tensors
            .retain(|name, _| !name.ends_with("num_batches_tracked"));
        file.integers
            .retain(|name, _| !name.ends_with("num_batches_tracked"));
        file.rename(MODEL, |name| {
            hugging_face::torchvision_name(without_prefixes(name, &WRAPPERS))
        })?;
        let architecture = Architecture::of(&file);
        require_names(&file, architecture).map_err(|error| named(looks_like(&file), error))?;
        let (stem, widths) = stem_and_widths(&file)?;
        let (kernel, head) = (stem.kernel(), file.tensors.get("fc.weight"));
        // A weight that is not a matrix has no rows to count; its shape is refused below.
        let classes = head.map(|weight| weight.shape.first().copied().unwrap_or(0));
        if let (Some(0), Some(weight)) = (classes, head) {
            return Err(file.bad_shape(
                "fc.weight",
                &weight.shape,
                "[classes, features], at least one class",
            ));
        }
        let mut tensors = BTreeMap::new();
        for (name, expected) in expected_shapes(architecture, kernel, widths, classes) {
            let tensor = file.take(&name)?;
            if tensor.shape != expected {
                return Err(file.bad_shape(&name, &tensor.shape, format!("{expected:?}")));
            }
            tensors.insert(name, tensor);
        }
        file.tensors = tensors;
        file.require_finite()?;
        require_scales(&file)?;
        Ok(Self {
            architecture,
            stem,
            widths,
            classes,
            metadata: file.metadata,
            tensors: file.tensors,
        })
    }

    /// A tensor by its torchvision name; `None` for other names and for `fc.*` without a classifier.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Puts other weights into a convolution, such as those that it was rounded to.
    ///
    /// # Panics
    /// When there is no such convolution, or it has another number of weights.
    pub fn set_weight(&mut self, conv: &str, weight: &[f32]) {
        let tensor = self.tensors.get_mut(&format!("{conv}.weight"));
        tensor
            .expect("a convolution of it")
            .data
            .copy_from_slice(weight);
    }

    pub(super) fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Hex SHA-256 of the content: of every tensor, sorted by name, the length
    /// of the name, the name, the number of dimensions, the dimensions and the
    /// f32 values (counts as 8 bytes; all little-endian).
    ///
    /// It does not depend on the file's dtype, prefixes, order or metadata.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (name, tensor) in &self.tensors {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update((tensor.shape.len() as u64).to_le_bytes());
            for &dimension in &tensor.shape {
                hash.update((dimension as u64).to_le_bytes());
            }
            let values: Vec<u8> = tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            hash.update(values);
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// BatchNorm's epsilon, PyTorch's default.
pub(crate) const EPSILON: f64 = 1e-5;

/// BatchNorm must come out finite: a variance is not negative, and gamma / sqrt(var + eps) no infinity.
fn require_scales(file: &TensorFile) -> Result<(), FormatError> {
    for (name, variances) in &file.tensors {
        let Some(norm) = name.strip_suffix(".running_var") else {
            continue;
        };
        let tensor = |part: &str| &file.tensors[&format!("{norm}.{part}")].data;
        let (gamma, beta, mean) = (tensor("weight"), tensor("bias"), tensor("running_mean"));
        for (index, &variance) in variances.data.iter().enumerate() {
            let refused = |item: String, found: String, expected: &str| FormatError::Value {
                file: file.source.clone(),
                item,
                found,
                expected: expected.to_owned(),
            };
            if variance < 0.0 {
                let item = format!("tensor `{name}` at index {index}");
                let expected = "a variance, which is not negative: the file is damaged, or these are other values";
                return Err(refused(item, variance.to_string(), expected));
            }
            let gain = f64::from(gamma[index]) / (f64::from(variance) + EPSILON).sqrt();
            let bias = f64::from(beta[index]) - f64::from(mean[index]) * gain;
            if !((gain as f32).is_finite() && (bias as f32).is_finite()) {
                let item = format!("what `{norm}` scales and adds at index {index}");
                let found = format!("{gain:e} and {bias:e}");
                return Err(refused(item, found, "numbers that f32 holds"));
            }
        }
    }
    Ok(())
}

/// An error about names says what the file is, where that is known.
fn named(known: Option<String>, error: FormatError) -> FormatError {
    let Some(found) = known else {
        return error;
    };
    let (file, misfit) = match error {
        FormatError::Missing { file, tensor, .. } => (file, format!("`{tensor}` is missing")),
        FormatError::Unexpected { file, tensor, .. } => {
            (file, format!("`{tensor}` has no place there"))
        }
        other => return other,
    };
    FormatError::Architecture {
        file,
        found,
        misfit,
    }
}

impl Stem {
    fn kernel(self) -> usize {
        match self {
            Self::ImageNet => 7,
            Self::Cifar => 3,
        }
    }
}

/// Names first: a shape error about a ResNet-50 would hide what the file is.
fn require_names(file: &TensorFile, architecture: Architecture) -> Result<(), FormatError> {
    let has_head = file.tensors.contains_key("fc.weight");
    let names = expected_shapes(architecture, 0, [0; 4], has_head.then_some(0));
    let mut missing = names
        .iter()
        .filter(|(name, _)| !file.tensors.contains_key(name));
    if let Some((first, _)) = missing.next() {
        return Err(file.missing(first, 1 + missing.count()));
    }
    let places: BTreeSet<_> = names.iter().map(|(name, _)| name).collect();
    let mut others = file.tensors.keys().filter(|name| !places.contains(name));
    match others.next() {
        None => Ok(()),
        Some(first) => Err(FormatError::Unexpected {
            file: file.source.clone(),
            tensor: first.clone(),
            count: 1 + others.count(),
            expected: architecture.with_article(),
        }),
    }
}

fn stem_and_widths(file: &TensorFile) -> Result<(Stem, [usize; 4]), FormatError> {
    let conv1 = &file.tensors["conv1.weight"].shape;
    let (stem, width) = match conv1[..] {
        [width, 3, 7, 7] if width > 0 => (Stem::ImageNet, width),
        [width, 3, 3, 3] if width > 0 => (Stem::Cifar, width),
        _ => {
            let expected = "[width, 3, 7, 7] or [width, 3, 3, 3]";
            return Err(file.bad_shape("conv1.weight", conv1, expected));
        }
    };
    let mut widths = [width; 4];
    for (stage, width) in widths.iter_mut().enumerate().skip(1) {
        let name = format!("layer{}.0.conv1.weight", stage + 1);
        let shape = &file.tensors[&name].shape;
        *width = match shape[..] {
            [out, _, 3, 3] if out > 0 => out,
            _ => return Err(file.bad_shape(&name, shape, "[width, in, 3, 3]")),
        };
    }
    Ok((stem, widths))
}

/// Every tensor of the network in the order of its forward pass.
fn expected_shapes(
    architecture: Architecture,
    stem_kernel: usize,
    widths: [usize; 4],
    classes: Option<usize>,
) -> Vec<(String, Vec<usize>)> {
    let mut list = Vec::new();
    let mut layer = |conv: &str, norm: &str, output: usize, input: usize, kernel: usize| {
        list.push((
            format!("{conv}.weight"),
            vec![output, input, kernel, kernel],
        ));
        for field in ["weight", "bias", "running_mean", "running_var"] {
            list.push((format!("{norm}.{field}"), vec![output]));
        }
    };
    layer("conv1", "bn1", widths[0], 3, stem_kernel);
    let mut input = widths[0];
    for (stage, (width, blocks)) in widths.into_iter().zip(architecture.blocks()).enumerate() {
        for block in 0..blocks {
            let at = format!("layer{}.{block}", stage + 1);
            let (conv1, conv2) = (format!("{at}.conv1"), format!("{at}.conv2"));
            layer(&conv1, &format!("{at}.bn1"), width, input, 3);
            layer(&conv2, &format!("{at}.bn2"), width, width, 3);
            if stage > 0 && block == 0 {
                let shortcut = format!("{at}.downsample");
                layer(
                    &format!("{shortcut}.0"),
                    &format!("{shortcut}.1"),
                    width,
                    input,
                    1,
                );
            }
            input = width;
        }
    }
    if let Some(classes) = classes {
        list.push(("fc.weight".to_owned(), vec![classes, input]));
        list.push(("fc.bias".to_owned(), vec![classes]));
    }
    list
}
