//! `adapter_config.json`: peft's `LoraConfig`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::adapter::MAX_RANK;
use super::peft_modules::{HEAD, Patterns, Selection, is_head};
use super::{Adapter, FormatError, LayerAdapter};

/// The part of a `LoraConfig` that decides what the adapter computes.
#[derive(Debug, Deserialize)]
pub(super) struct PeftConfig {
    pub peft_type: String,
    pub r: usize,
    pub lora_alpha: f64,
    #[serde(default)]
    target_modules: Option<Selection>,
    #[serde(default)]
    exclude_modules: Option<Selection>,
    #[serde(default)]
    rank_pattern: Option<Patterns<usize>>,
    #[serde(default)]
    alpha_pattern: Option<Patterns<f64>>,
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Options that change which layers are adapted or what they compute, and that are not read. Others of this
/// kind begin with `use_`.
const UNREAD: [&str; 11] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
];

/// Ways to begin that leave the weights of the base as they are.
const STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What peft's kinds of adapters are called.
const KINDS: [(&str, &str); 12] = [
    ("ADALORA", "AdaLoRA"),
    ("BOFT", "BOFT"),
    ("FOURIERFT", "FourierFT"),
    ("HRA", "HRA"),
    ("IA3", "(IA)^3"),
    ("LN_TUNING", "LayerNorm tuning"),
    ("LOHA", "LoHa"),
    ("LOKR", "LoKr"),
    ("OFT", "OFT"),
    ("VBLORA", "VB-LoRA"),
    ("VERA", "VeRA"),
    ("XLORA", "X-LoRA"),
];

impl PeftConfig {
    /// Checks that the adapter is a LoRA of which nothing is read past: a dropped option gives other answers.
    ///
    /// `fan_in_fan_out` may be anything: it is of layers that store their weight transposed, and peft ignores it
    /// for convolutions and linear layers.
    pub fn check(&self, file: &str) -> Result<(), FormatError> {
        let refused = |item: &str, found: String, expected: String| {
            Err(FormatError::Value {
                file: file.to_owned(),
                item: item.to_owned(),
                found,
                expected,
            })
        };
        if self.peft_type != "LORA" {
            let kind = KINDS.iter().find(|(kind, _)| *kind == self.peft_type);
            let found = kind.map_or(self.peft_type.clone(), |(kind, name)| {
                format!("{kind} ({name})")
            });
            return refused(
                "peft_type",
                found,
                "LORA: no other kind of adapter is read".into(),
            );
        }
        if !(1..=MAX_RANK).contains(&self.r) {
            return refused(
                "r",
                self.r.to_string(),
                format!("a rank of 1 to {MAX_RANK}"),
            );
        }
        let alphas = self.alpha_pattern.iter().flat_map(Patterns::values);
        for alpha in alphas.chain([&self.lora_alpha]) {
            if !(alpha.is_normal() && *alpha > 0.0) {
                return refused(
                    "lora_alpha",
                    alpha.to_string(),
                    "a finite number above 0".into(),
                );
            }
        }
        for (key, value) in &self.rest {
            let dora = if key == "use_dora" { " (DoRA)" } else { "" };
            let without = format!("none: it is not read{dora}; train the adapter without it");
            match (key.as_str(), value) {
                ("bias", Value::String(bias)) if bias == "none" => {}
                ("bias", value) => {
                    let expected = "none: the biases of the base are not read from adapters; train it with bias=\"none\"";
                    return refused("bias", value.to_string(), expected.into());
                }
                ("init_lora_weights", Value::Bool(_) | Value::Null) => {}
                ("init_lora_weights", Value::String(start)) if STARTS.contains(&start.as_str()) => {
                }
                ("init_lora_weights", value) => {
                    let expected = "true: others change the weights of the base too; have peft convert it with \
                                    save_pretrained(path_initial_model_for_weight_conversion=...)";
                    return refused("init_lora_weights", value.to_string(), expected.into());
                }
                (key, value) if UNREAD.contains(&key) && is_set(value) => {
                    return refused(key, value.to_string(), without);
                }
                (key, value) if key.starts_with("use_") && is_set(value) => {
                    return refused(key, value.to_string(), without);
                }
                _ => {}
            }
        }
        let others = self.modules_to_save.iter().flatten();
        match others.into_iter().find(|name| !is_head(name)) {
            None => Ok(()),
            Some(other) => refused(
                "modules_to_save",
                format!("`{other}` among others"),
                format!(
                    "the classifier alone (`{HEAD}`, in transformers `classifier`): nothing else is read from adapters"
                ),
            ),
        }
    }

    /// Whether the classifier is said to be in the file.
    pub fn saves_head(&self) -> bool {
        self.modules_to_save.iter().flatten().next().is_some()
    }

    /// Refuses tensors of a module that peft would not adapt by this configuration, and so would leave out; `file` is what
    /// errors call it. What a pattern means that only Python reads is not known, and peft has written both.
    pub fn check_target(&self, file: &str, module: &str) -> Result<(), FormatError> {
        let [targets, excluded] = [&self.target_modules, &self.exclude_modules].map(|option| {
            option
                .as_ref()
                .and_then(|option| Some((option, option.has(module)?)))
        });
        let (item, option) = match (targets, excluded) {
            (Some((option, false)), _) => ("target_modules", option),
            (_, Some((option, true))) => ("exclude_modules", option),
            _ => return Ok(()),
        };
        Err(FormatError::Value {
            file: file.to_owned(),
            item: item.to_owned(),
            found: option.to_string(),
            expected: format!(
                "one by which `{module}` is adapted, as there are tensors for it: put back the configuration that was saved \
                 with them"
            ),
        })
    }

    /// The rank and the scale s that peft gives a module of the base; `file` is what errors call the configuration.
    pub fn rank_and_scale(&self, file: &str, module: &str) -> Result<(usize, f64), FormatError> {
        let rank = match &self.rank_pattern {
            Some(patterns) => patterns.find(file, "rank_pattern", module)?,
            None => None,
        };
        let alpha = match &self.alpha_pattern {
            Some(patterns) => patterns.find(file, "alpha_pattern", module)?,
            None => None,
        };
        let (rank, alpha) = (rank.unwrap_or(self.r), alpha.unwrap_or(self.lora_alpha));
        let divisor = match self.use_rslora {
            true => (rank as f64).sqrt(),
            false => rank as f64,
        };
        Ok((rank, alpha / divisor))
    }
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
        _ => true,
    }
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
        "modules_to_save": adapter.head.trained.then_some([HEAD]),
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
