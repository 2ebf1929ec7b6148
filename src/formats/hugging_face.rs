//! ResNets of Hugging Face's transformers: the names of their tensors, and where its cache has a model's file.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FormatError, TensorFile, files};

/// The file of a model's weights.
const WEIGHTS: &str = "model.safetensors";

/// torchvision's name of a tensor of a `ResNetForImageClassification` or `ResNetModel`, as `microsoft/resnet-18` is;
/// other names come back as they are.
pub(super) fn torchvision_name(name: &str) -> String {
    renamed(name).unwrap_or_else(|| name.to_owned())
}

fn renamed(name: &str) -> Option<String> {
    if let Some(part) = name.strip_prefix("classifier.1.") {
        return Some(format!("fc.{part}"));
    }
    let name = name.strip_prefix("resnet.").unwrap_or(name);
    if let Some(part) = name.strip_prefix("embedder.embedder.") {
        return layer(part, "conv1", "bn1");
    }
    let (stage, rest) = name.strip_prefix("encoder.stages.")?.split_once('.')?;
    let (block, rest) = rest.strip_prefix("layers.")?.split_once('.')?;
    let stage: usize = stage.parse().ok()?;
    let place = format!("layer{}.{block}", stage.checked_add(1)?);
    if let Some(part) = rest.strip_prefix("shortcut.") {
        return layer(
            part,
            &format!("{place}.downsample.0"),
            &format!("{place}.downsample.1"),
        );
    }
    let (number, part) = rest.strip_prefix("layer.")?.split_once('.')?;
    let number = number.parse::<usize>().ok()?.checked_add(1)?;
    layer(
        part,
        &format!("{place}.conv{number}"),
        &format!("{place}.bn{number}"),
    )
}

/// A convolution with its normalisation.
fn layer(part: &str, convolution: &str, normalization: &str) -> Option<String> {
    let weight = part
        .strip_prefix("convolution.")
        .map(|part| format!("{convolution}.{part}"));
    weight.or_else(|| {
        let part = part.strip_prefix("normalization.")?;
        Some(format!("{normalization}.{part}"))
    })
}

/// The weights in a directory: `model.safetensors`, or in a directory of the cache (`models--OWNER--NAME`) that of the
/// snapshot which `refs/main` names.
///
/// # Errors
/// `refs/main` cannot be read or names no snapshot. Whether the weights are there is left to who reads them.
pub(super) fn weights_in(folder: &Path) -> Result<PathBuf, FormatError> {
    let plain = folder.join(WEIGHTS);
    let main = folder.join("refs").join("main");
    if plain.exists() || !main.exists() {
        return Ok(plain);
    }
    let bytes = files::read(&main, "a file of Hugging Face's cache")?;
    let revision = String::from_utf8_lossy(&bytes);
    let revision = revision.trim();
    if revision.is_empty() || !revision.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(FormatError::Value {
            file: main.display().to_string(),
            item: "the revision".to_owned(),
            found: format!("`{revision}`"),
            expected: "a hash, as Hugging Face's cache has it".to_owned(),
        });
    }
    Ok(folder.join("snapshots").join(revision).join(WEIGHTS))
}

/// Refuses a file of transformers if the `config.json` beside it asks for another activation than ReLU: the tensors are the
/// same.
///
/// # Errors
/// It does, or cannot be read.
pub(super) fn require_relu(weights: &TensorFile, path: &Path) -> Result<(), FormatError> {
    let config = path.with_file_name("config.json");
    let mut names = weights.tensors.keys();
    if !names.any(|name| name.contains("embedder.embedder.")) || !config.exists() {
        return Ok(());
    }
    let bytes = files::read(&config, "the configuration of a model")?;
    let file = config.display().to_string();
    let options: Value = match serde_json::from_slice(&bytes) {
        Ok(options) => options,
        Err(source) => return Err(FormatError::Json { file, source }),
    };
    match options.get("hidden_act") {
        Some(activation) if activation != "relu" => Err(FormatError::Value {
            file,
            item: "`hidden_act`".to_owned(),
            found: activation.to_string(),
            expected: "`relu`: no other activation is computed".to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_torchvisions() {
        for (name, expected) in [
            (
                "resnet.embedder.embedder.convolution.weight",
                "conv1.weight",
            ),
            (
                "embedder.embedder.normalization.running_var",
                "bn1.running_var",
            ),
            (
                "resnet.encoder.stages.0.layers.1.layer.0.convolution.weight",
                "layer1.1.conv1.weight",
            ),
            (
                "resnet.encoder.stages.3.layers.0.layer.1.normalization.bias",
                "layer4.0.bn2.bias",
            ),
            (
                "resnet.encoder.stages.2.layers.0.shortcut.convolution.weight",
                "layer3.0.downsample.0.weight",
            ),
            (
                "encoder.stages.1.layers.0.shortcut.normalization.running_mean",
                "layer2.0.downsample.1.running_mean",
            ),
            ("classifier.1.bias", "fc.bias"),
            ("layer1.0.conv1.weight", "layer1.0.conv1.weight"),
            (
                "resnet.encoder.stages.x.layers.0.layer.0.convolution.weight",
                "resnet.encoder.stages.x.layers.0.layer.0.convolution.weight",
            ),
            ("classifier.weight", "classifier.weight"),
        ] {
            assert_eq!(torchvision_name(name), expected);
        }
    }
}
