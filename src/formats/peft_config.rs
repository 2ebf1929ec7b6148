//! `adapter_config.json`: peft's `LoraConfig`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::backbone::WRAPPERS;
use super::tensors::without_prefixes;
use super::{Adapter, FormatError, LayerAdapter};

/// The module that peft saves in full.
pub(super) const HEAD: &str = "fc";

/// The part of a `LoraConfig` that decides what the adapter computes.
#[derive(Debug, Deserialize)]
pub(super) struct PeftConfig {
    pub peft_type: String,
    pub r: usize,
    pub lora_alpha: f64,
    #[serde(default)]
    rank_pattern: Option<BTreeMap<String, usize>>,
    #[serde(default)]
    alpha_pattern: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    #[serde(default)]
    use_rslora: bool,
}

impl PeftConfig {
    /// The rank and the scale s that peft gives a layer; `file` is what errors call the configuration.
    pub fn rank_and_scale(&self, file: &str, layer: &str) -> Result<(usize, f64), FormatError> {
        let rank = find(&self.rank_pattern, file, layer)?.unwrap_or(self.r);
        let alpha = find(&self.alpha_pattern, file, layer)?.unwrap_or(self.lora_alpha);
        let divisor = match self.use_rslora {
            true => (rank as f64).sqrt(),
            false => rank as f64,
        };
        Ok((rank, alpha / divisor))
    }
}

/// The value of the first key that names `layer` or ends its name, as peft looks them up.
///
/// To peft the keys are regular expressions. Reading one as a name would
/// silently give a wrong scale, so they are refused.
fn find<T: Copy>(
    patterns: &Option<BTreeMap<String, T>>,
    file: &str,
    layer: &str,
) -> Result<Option<T>, FormatError> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    for (key, &value) in patterns.iter().flatten() {
        let anchored = key.strip_prefix('^');
        let name = without_prefixes(anchored.unwrap_or(key), &WRAPPERS);
        if !name.chars().all(named) {
            return Err(FormatError::Value {
                file: file.to_owned(),
                item: "a key of rank_pattern or alpha_pattern".to_owned(),
                found: format!("`{key}`"),
                expected: "the name of a layer (regular expressions are not read)".to_owned(),
            });
        }
        let ends = layer
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'));
        if layer == name || (anchored.is_none() && ends) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The configuration that makes peft compute the mean model of `adapter`.
pub(super) fn for_adapter(adapter: &Adapter) -> Value {
    let kept = adapter.layers.iter();
    let kept: Vec<&LayerAdapter> = kept.filter(|l| l.rank() > 0 && l.name != HEAD).collect();
    let ranks: BTreeMap<_, _> = kept.iter().map(|l| (pattern(&l.name), l.rank())).collect();
    // peft divides by the rank again; the product is exact in f64, so it gets s to the bit.
    let scale = f64::from(adapter.scale());
    let alphas: BTreeMap<_, _> = kept
        .iter()
        .map(|l| (pattern(&l.name), scale * l.rank() as f64))
        .collect();
    let base = &adapter.base_name;
    json!({
        "peft_type": "LORA",
        "task_type": null,
        "auto_mapping": null,
        "base_model_name_or_path": (!base.is_empty()).then_some(base),
        "inference_mode": true,
        "r": adapter.initial_rank,
        "lora_alpha": adapter.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": target_modules(&kept),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "modules_to_save": [HEAD],
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "use_dora": false,
        "use_rslora": false,
    })
}

/// peft lets a name stand for all modules that end in it: `conv1` would be one of every block too.
fn is_ambiguous(name: &str) -> bool {
    !name.contains('.')
}

fn pattern(name: &str) -> String {
    match is_ambiguous(name) {
        true => format!("^{name}"),
        false => name.to_owned(),
    }
}

/// A list of full names, or a regular expression (which peft matches in full) where a name is ambiguous.
fn target_modules(layers: &[&LayerAdapter]) -> Value {
    let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    match names.iter().any(|name| is_ambiguous(name)) {
        true => json!(names.join("|").replace('.', r"\.")),
        false => json!(names),
    }
}
