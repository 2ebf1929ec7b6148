//! Adapters as directories that [peft](https://huggingface.co/docs/peft) reads,
//! with what peft does not know in additional files beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fitted::CALIBRATIONS;
use super::peft_config::{self, PeftConfig};
use super::peft_modules::{FACTOR_A, HEAD, PEFT_PREFIX, adapted, place};
use super::publish::Named;
use super::temperature::TEMPERATURES;
use super::{
    Adapter, ClassBalance, FormatError, GateDistribution, Head, LayerAdapter, Mixing, TensorFile,
    add_product, checksum, files, publish,
};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const OURS: &str = "bayeslora.json";
const OUR_TENSORS: &str = "bayeslora.safetensors";
const OUR_VERSION: u32 = 2;
/// With mixed gates, which readers of the previous version would take for one per rank.
const MIXED_VERSION: u32 = 3;
/// With a head that was never trained, which readers of the previous versions would take for one that was.
const UNTRAINED_VERSION: u32 = 4;
const VERSIONS: [u32; 3] = [OUR_VERSION, MIXED_VERSION, UNTRAINED_VERSION];

/// What an adapter's directory may hold; other files in it are not touched.
const FILES: [&str; 6] = [
    CONFIG,
    WEIGHTS,
    OURS,
    OUR_TENSORS,
    TEMPERATURES,
    CALIBRATIONS,
];

const WAY_OUT: &str = "put back a copy of the directory";
const THE_OTHER_HALF: &str = "the file that adapter_model.safetensors was written with (gates, ranks and classes stand in it)";

/// How often a directory is read that does not fit together, as another process may just replace it.
const READS: usize = 4;
const BETWEEN_READS: Duration = Duration::from_millis(25);

const MODEL: &str = "a LoRA adapter of a ResNet with its classifier saved in full or not at all";

/// `bayeslora.json`: what peft has no place for.
#[derive(Debug, Serialize, Deserialize)]
struct Ours {
    version: u32,
    /// SHA-256 of each of the other files: those of two directories do not mix, and peft's have no checksum.
    files: BTreeMap<String, String>,
    method: String,
    #[serde(default)]
    gates: GateDistribution,
    seed: u64,
    resolution: usize,
    backbone_sha256: String,
    initial_rank: usize,
    lora_alpha: f32,
    classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class_balance: Option<ClassBalance>,
    /// The head is among our tensors then, and not among peft's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untrained_head: bool,
    layers: Vec<OurLayer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OurLayer {
    name: String,
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    rank: usize,
}

impl Adapter {
    /// Writes a directory that `peft.PeftModel.from_pretrained` reads and
    /// [`Adapter::load_peft`] restores exactly, in one step: a reader finds all of the old adapter or all of the
    /// new one. A [`Temperature`](super::Temperature) fitted to what was there before goes; files of other
    /// names stay.
    ///
    /// peft has neither gates nor rank 0: it gets the mean model (z = 1) without
    /// the layers of rank 0, and with no rank left anywhere it refuses the
    /// directory. It cannot adapt `fc` and save it in full either, so an adapted
    /// `fc` is merged into the head it gets. A head that was never trained it does not get: to peft it is an
    /// adapter without one.
    ///
    /// # Errors
    /// The adapter contradicts itself (lengths, rank ids, number of classes), or a file cannot be written.
    pub fn save_peft(&self, dir: impl AsRef<Path>) -> Result<(), FormatError> {
        let dir = dir.as_ref();
        publish::directory(dir, &self.files(&dir.display().to_string())?, &FILES)
    }

    /// What tells this adapter from every other one: SHA-256 of its files, in hexadecimal.
    ///
    /// # Errors
    /// The adapter contradicts itself.
    pub fn sha256(&self) -> Result<String, FormatError> {
        let files = self.files("the adapter")?;
        let bytes: Vec<&[u8]> = files.iter().map(|(_, bytes)| &**bytes).collect();
        Ok(checksum::sha256(&bytes))
    }

    /// All its tensors by the layers' names, without PEFT's prefix: `lora_A.weight`, `lora_B.weight`, `rank_ids` and, as far
    /// as there are gates, `log_alpha`, `gate_left`, `gate_right` and `gate_ids`; `fc.weight` and `fc.bias` of a head
    /// that was trained.
    pub fn tensors(&self) -> TensorFile {
        let mut file = TensorFile::default();
        if self.head.trained {
            put_head(&mut file, "", &self.head);
        }
        for layer in &self.layers {
            put_gates(&mut file, layer);
            if layer.rank() > 0 {
                put_factors(&mut file, "", layer);
            }
        }
        file
    }

    /// The files of the directory; `name` is what errors call it.
    pub(super) fn files(&self, name: &str) -> Result<[Named; 4], FormatError> {
        self.check(name)?;
        let (mut weights, mut ours) = (TensorFile::default(), TensorFile::default());
        // torch's own loaders ask for this entry.
        weights.metadata.insert("format".into(), "pt".into());
        match self.head.trained {
            true => put_head(&mut weights, PEFT_PREFIX, &self.head),
            false => put_head(&mut ours, "", &self.head),
        }
        for layer in &self.layers {
            let name = &layer.name;
            put_gates(&mut ours, layer);
            if layer.rank() == 0 {
                continue;
            }
            if name == HEAD {
                put_factors(&mut ours, "", layer);
                put_head(&mut ours, "", &self.head);
                put_head(&mut weights, PEFT_PREFIX, &self.merged_head(layer));
            } else {
                put_factors(&mut weights, PEFT_PREFIX, layer);
            }
        }
        let config = files::json(&format!("{name}/{CONFIG}"), &peft_config::for_adapter(self))?;
        // The checksum in the weights says too that files of ours belong to them.
        let weights = checksum::tensors(&weights.to_bytes(&format!("{name}/{WEIGHTS}"))?);
        let tensors = ours.to_bytes(&format!("{name}/{OUR_TENSORS}"))?;
        let others = [(CONFIG, config), (WEIGHTS, weights), (OUR_TENSORS, tensors)];
        let sums = others
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), checksum::sha256(&[bytes])));
        let ours = checksum::json(&format!("{name}/{OURS}"), &self.our_config(sums.collect()))?;
        let [config, weights, tensors] = others;
        Ok([config, weights, tensors, (OURS, ours.into_bytes())])
    }

    /// Reads a directory written by [`Adapter::save_peft`], or by peft itself for
    /// a ResNet-18 or ResNet-34 with `modules_to_save=["fc"]`, or for one of transformers with
    /// `modules_to_save=["classifier"]`.
    ///
    /// Without `bayeslora.json` there are no gates, the rank ids count up, the
    /// classes are named by their number, and a layer whose scale differs
    /// from `lora_alpha / r` has the ratio folded into B.
    ///
    /// # Errors
    /// A file is missing or damaged, the adapter is of another kind than LoRA
    /// without extras, a shape contradicts the configuration, or a value is NaN or infinite.
    pub fn load_peft(dir: impl AsRef<Path>) -> Result<Self, FormatError> {
        Self::load_peft_over(dir, None)
    }

    /// The same for an adapter that may have been saved without a classifier: it gets this one, which is that of its base,
    /// with LoRA on it or as it is, or one that is [still to be trained](Head::trained).
    ///
    /// # Errors
    /// As [`load_peft`](Self::load_peft), and LoRA on a classifier that was never trained.
    pub fn load_peft_over(dir: impl AsRef<Path>, base: Option<&Head>) -> Result<Self, FormatError> {
        let dir = dir.as_ref();
        if dir.is_file() {
            return Err(FormatError::NotADirectory { path: dir.into() });
        }
        for _ in 1..READS {
            match Self::load_once(&publish::readable(dir), base) {
                Err(FormatError::Changed { .. } | FormatError::NotFound { .. }) => {
                    sleep(BETWEEN_READS);
                }
                done => return done,
            }
        }
        Self::load_once(&publish::readable(dir), base)
    }

    fn load_once(dir: &Path, base: Option<&Head>) -> Result<Self, FormatError> {
        let read = |name, expected| files::read(&dir.join(name), expected);
        let config = read(CONFIG, "the configuration of an adapter")?;
        refuse_pickled(dir)?;
        let weights = read(WEIGHTS, "a safetensors file")?;
        let file = |name| dir.join(name).display().to_string();
        let (config_file, weights_file) = (file(CONFIG), file(WEIGHTS));
        let ours = match dir.join(OURS).exists() || checksum::has_tensors_checksum(&weights) {
            false => None,
            true => Some(Self::read_ours(
                dir,
                [(CONFIG, &config), (WEIGHTS, &weights)],
            )?),
        };
        let config: PeftConfig =
            serde_json::from_slice(&config).map_err(files::json_error(&config_file))?;
        config.check(&config_file)?;
        let mut weights = TensorFile::from_bytes(&weights_file, &weights)?;
        let modules = adapted(weights.tensors.keys());
        weights.rename(MODEL, place)?;
        weights.require_finite()?;
        let adapter = match ours {
            Some((ours, tensors)) => Self::from_ours(ours, tensors, config, &mut weights)?,
            None => Self::from_plain(config, &config_file, &mut weights, &modules, base)?,
        };
        weights.require_empty(MODEL)?;
        adapter.check(&dir.display().to_string())?;
        Ok(adapter)
    }

    /// Our two files, after all four were found to be those of one adapter.
    fn read_ours(
        dir: &Path,
        others: [(&str, &Vec<u8>); 2],
    ) -> Result<(Ours, TensorFile), FormatError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let bytes = files::read(&dir.join(OURS), THE_OTHER_HALF)?;
        let file = dir.join(OURS).display().to_string();
        let Version { version } =
            serde_json::from_slice(&bytes).map_err(files::json_error(&file))?;
        if !VERSIONS.contains(&version) {
            return Err(FormatError::Value {
                file,
                item: "version".to_owned(),
                found: version.to_string(),
                expected: VERSIONS.map(|version| version.to_string()).join(" or "),
            });
        }
        let ours: Ours = checksum::parse_json(&file, &bytes, WAY_OUT)?;
        let tensors = files::read(&dir.join(OUR_TENSORS), "the gates of an adapter")?;
        for (name, bytes) in others.into_iter().chain([(OUR_TENSORS, &tensors)]) {
            if ours.files.get(name) != Some(&checksum::sha256(&[bytes])) {
                return Err(FormatError::Changed {
                    file: dir.join(name).display().to_string(),
                    found: "it is not the file that bayeslora.json was written with",
                    way_out: WAY_OUT,
                });
            }
        }
        let tensors =
            TensorFile::from_bytes(&dir.join(OUR_TENSORS).display().to_string(), &tensors)?;
        tensors.require_finite()?;
        Ok((ours, tensors))
    }

    fn from_ours(
        ours: Ours,
        mut extra: TensorFile,
        config: PeftConfig,
        weights: &mut TensorFile,
    ) -> Result<Self, FormatError> {
        let mut head = match ours.untrained_head {
            false => take_head(weights)?,
            true => Head {
                trained: false,
                ..take_head(&mut extra)?
            },
        };
        let mut layers = Vec::new();
        for entry in ours.layers {
            let mut layer = LayerAdapter {
                lora_a: vec![],
                lora_b: vec![],
                log_alpha: extra
                    .tensors
                    .remove(&format!("{}.log_alpha", entry.name))
                    .map(|t| t.data),
                mixing: take_mixing(&mut extra, &entry.name, entry.rank)?,
                rank_ids: extra.u32s(&format!("{}.rank_ids", entry.name))?,
                name: entry.name,
                in_channels: entry.in_channels,
                out_channels: entry.out_channels,
                kernel: entry.kernel,
            };
            let (found, expected) = (layer.rank().to_string(), entry.rank.to_string());
            require(
                &extra.source,
                &format!("the rank of `{}`", layer.name),
                &found,
                &expected,
            )?;
            if entry.rank > 0 {
                let is_head = layer.name == HEAD;
                if is_head && head.trained {
                    head = take_head(&mut extra)?;
                }
                let source = if is_head { &mut extra } else { &mut *weights };
                let stored = take_factors(source, &layer.name)?;
                for (factor, found, expected) in [
                    ("lora_A", stored.shape_a(), layer.shape_a()),
                    ("lora_B", stored.shape_b(), layer.shape_b()),
                ] {
                    if found != expected {
                        let tensor = format!("{}.{factor}.weight", layer.name);
                        return Err(source.bad_shape(&tensor, &found, format!("{expected:?}")));
                    }
                }
                (layer.lora_a, layer.lora_b) = (stored.lora_a, stored.lora_b);
            }
            layers.push(layer);
        }
        extra.require_empty(MODEL)?;
        Ok(Self {
            layers,
            head,
            classes: ours.classes,
            class_balance: ours.class_balance,
            initial_rank: ours.initial_rank,
            lora_alpha: ours.lora_alpha,
            backbone_sha256: ours.backbone_sha256,
            base_name: config.base_model_name_or_path.unwrap_or_default(),
            resolution: ours.resolution,
            seed: ours.seed,
            method: ours.method,
            gates: ours.gates,
        })
    }

    fn from_plain(
        config: PeftConfig,
        config_file: &str,
        weights: &mut TensorFile,
        modules: &BTreeMap<String, String>,
        base: Option<&Head>,
    ) -> Result<Self, FormatError> {
        let refused = |item: &str, found: &str, expected: &str| {
            Err(FormatError::Value {
                file: config_file.to_owned(),
                item: item.to_owned(),
                found: found.to_owned(),
                expected: expected.to_owned(),
            })
        };
        let has_head = weights.tensors.contains_key(&format!("{HEAD}.weight"));
        let head = match (config.saves_head() || has_head, base) {
            (true, _) if !has_head => {
                let expected = "none: adapter_model.safetensors has no tensors of a classifier";
                return refused("modules_to_save", "the classifier", expected);
            }
            (true, _) => take_head(weights)?,
            (false, base)
                if modules.contains_key(HEAD) && base.is_none_or(|base| !base.trained) =>
            {
                let expected = "layers below it: what it adds is to the classifier of the base that it was trained on, \
                                which is not there; name the file that has it as the backbone";
                return refused("target_modules", "the classifier among others", expected);
            }
            (false, Some(base)) => base.clone(),
            (false, None) => {
                let expected = "the classifier (`fc`, in transformers `classifier`): it has to be trained and saved with the \
                                adapter";
                return refused("modules_to_save", "empty", expected);
            }
        };
        let scale = config.lora_alpha / config.r as f64;
        let mut initial_rank = config.r;
        let mut layers = Vec::new();
        for (name, module) in modules {
            config.check_target(config_file, module)?;
            let mut layer = take_factors(weights, name)?;
            let (rank, layer_scale) = config.rank_and_scale(config_file, module)?;
            if layer.rank() != rank {
                let tensor = format!("{name}{FACTOR_A}");
                let expected = format!("the rank {rank} of {CONFIG} as its first dimension");
                return Err(weights.bad_shape(&tensor, &layer.shape_a(), expected));
            }
            if layer_scale as f32 != scale as f32 {
                let ratio = (layer_scale / scale) as f32;
                layer.lora_b.iter_mut().for_each(|b| *b *= ratio);
            }
            // A pattern may give a layer more ranks than `r`; ids stay below the initial rank.
            initial_rank = initial_rank.max(rank);
            layers.push(layer);
        }
        Ok(Self {
            layers,
            classes: (0..head.classes).map(|class| class.to_string()).collect(),
            class_balance: None,
            head,
            initial_rank,
            lora_alpha: (scale * initial_rank as f64) as f32,
            backbone_sha256: String::new(),
            base_name: config.base_model_name_or_path.unwrap_or_default(),
            resolution: 0,
            seed: 0,
            method: "lora".to_owned(),
            gates: GateDistribution::default(),
        })
    }

    /// `W + s B A`: with z = 1 an adapted `fc` is this plain one.
    fn merged_head(&self, layer: &LayerAdapter) -> Head {
        let mut head = self.head.clone();
        let (b, a) = (&layer.lora_b, &layer.lora_a);
        add_product(&mut head.weight, self.scale(), b, a, layer.rank());
        head
    }

    fn our_config(&self, files: BTreeMap<String, String>) -> Ours {
        let layers = self.layers.iter().map(|layer| OurLayer {
            name: layer.name.clone(),
            in_channels: layer.in_channels,
            out_channels: layer.out_channels,
            kernel: layer.kernel,
            rank: layer.rank(),
        });
        Ours {
            version: match (self.head.trained, self.is_mixed()) {
                (false, _) => UNTRAINED_VERSION,
                (true, true) => MIXED_VERSION,
                (true, false) => OUR_VERSION,
            },
            files,
            method: self.method.clone(),
            gates: self.gates,
            seed: self.seed,
            resolution: self.resolution,
            backbone_sha256: self.backbone_sha256.clone(),
            initial_rank: self.initial_rank,
            lora_alpha: self.lora_alpha,
            classes: self.classes.clone(),
            class_balance: self.class_balance.clone(),
            untrained_head: !self.head.trained,
            layers: layers.collect(),
        }
    }
}

/// Earlier versions of peft have pickled the tensors.
fn refuse_pickled(dir: &Path) -> Result<(), FormatError> {
    let pickled = dir.join("adapter_model.bin");
    if dir.join(WEIGHTS).exists() || !pickled.exists() {
        return Ok(());
    }
    Err(FormatError::Foreign {
        file: pickled.display().to_string(),
        found: "a file of PyTorch (pickled)".into(),
        way_out:
            "have peft write the adapter again with save_pretrained(DIR, safe_serialization=True)"
                .into(),
    })
}

fn put_factors(file: &mut TensorFile, prefix: &str, layer: &LayerAdapter) {
    let name = format!("{prefix}{}", layer.name);
    // To peft `fc` is a Linear, whose factors are matrices.
    let dimensions = if layer.name == HEAD { 2 } else { 4 };
    let (a, b) = (layer.shape_a(), layer.shape_b());
    let (a, b) = (&a[..dimensions], &b[..dimensions]);
    file.insert(format!("{name}.lora_A.weight"), a, layer.lora_a.clone());
    file.insert(format!("{name}.lora_B.weight"), b, layer.lora_b.clone());
}

/// Takes A and B of a layer; the rank ids count up.
fn take_factors(file: &mut TensorFile, layer: &str) -> Result<LayerAdapter, FormatError> {
    let (name_a, name_b) = (
        format!("{layer}.lora_A.weight"),
        format!("{layer}.lora_B.weight"),
    );
    let a = file.take(&name_a)?;
    let b = file.take(&name_b)?;
    // Without elements a shape may claim anything.
    if a.data.is_empty() || b.data.is_empty() {
        return Err(file.bad_shape(&name_a, &a.shape, "elements in it and in B"));
    }
    let (rank, in_channels, kernel) = match a.shape[..] {
        [rank, input] => (rank, input, 1),
        [rank, input, kernel, width] if kernel == width => (rank, input, kernel),
        _ => {
            let expected = "[r, in, k, k] or [r, in]";
            return Err(file.bad_shape(&name_a, &a.shape, expected));
        }
    };
    let out_channels = match b.shape[..] {
        [output, columns] | [output, columns, 1, 1] if columns == rank => output,
        _ => {
            let expected = format!("[out, {rank}, 1, 1] or [out, {rank}], as A has rank {rank}");
            return Err(file.bad_shape(&name_b, &b.shape, expected));
        }
    };
    Ok(LayerAdapter {
        name: layer.to_owned(),
        in_channels,
        out_channels,
        kernel,
        lora_a: a.data,
        lora_b: b.data,
        log_alpha: None,
        mixing: None,
        rank_ids: (0..rank as u32).collect(),
    })
}

/// What peft has no place for.
fn put_gates(file: &mut TensorFile, layer: &LayerAdapter) {
    let name = &layer.name;
    file.insert_u32s(format!("{name}.rank_ids"), &layer.rank_ids);
    if let Some(log_alpha) = &layer.log_alpha {
        let log_alpha = log_alpha.clone();
        file.insert(format!("{name}.log_alpha"), &[log_alpha.len()], log_alpha);
    }
    if let Some(mixing) = &layer.mixing {
        put_mixing(file, name, layer.rank(), mixing);
    }
}

fn put_mixing(file: &mut TensorFile, layer: &str, rank: usize, mixing: &Mixing) {
    let latents = mixing.latents();
    file.insert(
        format!("{layer}.gate_left"),
        &[rank, latents],
        mixing.left.clone(),
    );
    file.insert(
        format!("{layer}.gate_right"),
        &[latents, rank],
        mixing.right.clone(),
    );
    file.insert_u32s(format!("{layer}.gate_ids"), &mixing.ids);
}

/// Takes what mixes the gates of a layer, if anything does.
fn take_mixing(
    file: &mut TensorFile,
    layer: &str,
    rank: usize,
) -> Result<Option<Mixing>, FormatError> {
    let [left, right, ids] = ["left", "right", "ids"].map(|part| format!("{layer}.gate_{part}"));
    let matrices = [&left, &right].map(|name| file.tensors.contains_key(name));
    if !(matrices.contains(&true) || file.integers.contains_key(&ids)) {
        return Ok(None);
    }
    let ids = file.u32s(&ids)?;
    let mut matrix = |name: String, shape: [usize; 2]| {
        let tensor = file.take(&name)?;
        match tensor.shape == shape {
            true => Ok(tensor.data),
            false => Err(file.bad_shape(&name, &tensor.shape, format!("{shape:?}"))),
        }
    };
    Ok(Some(Mixing {
        left: matrix(left, [rank, ids.len()])?,
        right: matrix(right, [ids.len(), rank])?,
        ids,
    }))
}

fn put_head(file: &mut TensorFile, prefix: &str, head: &Head) {
    let name = format!("{prefix}{HEAD}");
    let shape = [head.classes, head.features];
    file.insert(format!("{name}.weight"), &shape, head.weight.clone());
    file.insert(format!("{name}.bias"), &shape[..1], head.bias.clone());
}

fn take_head(file: &mut TensorFile) -> Result<Head, FormatError> {
    let (weight_name, bias_name) = (format!("{HEAD}.weight"), format!("{HEAD}.bias"));
    let weight = file.take(&weight_name)?;
    let bias = file.take(&bias_name)?;
    let [classes, features] = weight.shape[..] else {
        return Err(file.bad_shape(&weight_name, &weight.shape, "[classes, features]"));
    };
    if bias.shape != [classes] {
        return Err(file.bad_shape(&bias_name, &bias.shape, format!("[{classes}]")));
    }
    Ok(Head {
        classes,
        features,
        weight: weight.data,
        bias: bias.data,
        trained: true,
    })
}

fn require(file: &str, item: &str, found: &str, expected: &str) -> Result<(), FormatError> {
    match found == expected {
        true => Ok(()),
        false => Err(FormatError::Value {
            file: file.to_owned(),
            item: item.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        }),
    }
}
