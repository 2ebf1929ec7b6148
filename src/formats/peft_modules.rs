//! Which modules the options of peft's `LoraConfig` mean: names, ends of names, or regular expressions of Python.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::FormatError;
use super::backbone::WRAPPERS;
use super::hugging_face::torchvision_name;
use super::tensors::without_prefixes;

/// The classifier, by torchvision's name.
pub(super) const HEAD: &str = "fc";

/// What peft puts before the names of the base.
pub(super) const PEFT_PREFIX: &str = "base_model.model.";

/// What stands between the name of a module and the end of that of its A.
pub(super) const FACTOR_A: &str = ".lora_A.weight";

/// torchvision's name of a tensor in peft's file.
pub(super) fn place(name: &str) -> String {
    let prefixes = [&[PEFT_PREFIX], &WRAPPERS[..]].concat();
    torchvision_name(without_prefixes(name, &prefixes))
}

/// The modules with an A, by torchvision's names, under the names that the base has for them and peft's options mean.
pub(super) fn adapted<'a>(tensors: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let modules = tensors.filter_map(|name| {
        let place = place(name);
        let own = name.rsplit(PEFT_PREFIX).next()?;
        let [place, own] = [&place, own].map(|name| name.strip_suffix(FACTOR_A));
        Some((place?.to_owned(), own?.to_owned()))
    });
    modules.collect()
}

/// Whether a name in `modules_to_save` is that of the classifier, which transformers has in a sequence.
pub(super) fn is_head(module: &str) -> bool {
    let is = |part: &str| place(&format!("{module}{part}.weight")) == format!("{HEAD}.weight");
    is("") || is(".1")
}

/// `target_modules` or `exclude_modules`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Selection {
    Pattern(String),
    Names(Vec<String>),
}

impl Selection {
    /// Whether peft takes a module as one of these: a pattern for all of its name, or a name for the end of it. `None`
    /// where the pattern has something that only Python reads.
    pub fn has(&self, module: &str) -> Option<bool> {
        match self {
            Self::Pattern(pattern) => {
                let pattern = expression(&format!("^(?:{pattern})$"))?;
                Some(pattern.is_match(module.as_bytes()))
            }
            Self::Names(names) => {
                let ends = |name: &String| {
                    let rest = module.strip_suffix(&**name);
                    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                };
                Some(names.iter().any(ends))
            }
        }
    }
}

impl Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        /// A list of every layer is longer than a line of an error.
        const NAMED: usize = 4;
        match self {
            Self::Pattern(pattern) => write!(f, "`{pattern}`"),
            Self::Names(names) => {
                let first: Vec<_> = names.iter().take(NAMED).map(|n| format!("`{n}`")).collect();
                write!(f, "[{}", first.join(", "))?;
                match names.len().saturating_sub(NAMED) {
                    0 => write!(f, "]"),
                    more => write!(f, " and {more} more]"),
                }
            }
        }
    }
}

/// `rank_pattern` or `alpha_pattern`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Patterns<T>(BTreeMap<String, T>);

impl<T: Copy + PartialEq + Display> Patterns<T> {
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }

    /// The value of the key that is a module's name or matches its end, as peft looks them up; `file` and `option` are
    /// what errors name.
    ///
    /// Keys that disagree are refused: which of them counts is a matter of their order, and peft sorts them when it saves.
    pub fn find(&self, file: &str, option: &str, module: &str) -> Result<Option<T>, FormatError> {
        let mut found: Option<(&str, T)> = None;
        for (key, &value) in &self.0 {
            let Some(pattern) = expression(&format!(r"^(?:(?:.*\.)?(?:{key})$)")) else {
                return Err(FormatError::Value {
                    file: file.to_owned(),
                    item: format!("a key of {option}"),
                    found: format!("`{key}`"),
                    expected: "the name of a layer, or a regular expression without what Python alone reads"
                        .to_owned(),
                });
            };
            if !pattern.is_match(module.as_bytes()) {
                continue;
            }
            if let Some((first, other)) = found
                && other != value
            {
                return Err(FormatError::Value {
                    file: file.to_owned(),
                    item: format!("what {option} gives `{module}`"),
                    found: format!("{other} by `{first}` and {value} by `{key}`"),
                    expected: "one value, by one key or equal ones".to_owned(),
                });
            }
            found = Some((key, value));
        }
        Ok(found.map(|(_, value)| value))
    }
}

/// What means something else in Python: possessive repetitions, and sets within sets.
const OTHERWISE: [&str; 8] = ["*+", "++", "?+", "}+", "[[", "&&", "--", "~~"];

/// A regular expression of Python, where it means the same here. Names of modules are ASCII.
fn expression(text: &str) -> Option<Regex> {
    if OTHERWISE.iter().any(|part| text.contains(part)) {
        return None;
    }
    RegexBuilder::new(text).unicode(false).build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classifier_has_three_names() {
        for name in [
            "fc",
            "classifier",
            "classifier.1",
            "model.fc",
            "module.classifier",
        ] {
            assert!(is_head(name), "{name}");
        }
        for name in [
            "1",
            "classifier.0",
            "score",
            "bn1",
            "layer4.1.conv1",
            "fc.1",
            "",
        ] {
            assert!(!is_head(name), "{name}");
        }
    }

    #[test]
    fn modules_are_selected_as_peft_does() {
        let names =
            |names: &[&str]| Selection::Names(names.iter().map(|n| (*n).to_owned()).collect());
        let pattern = |text: &str| Selection::Pattern(text.to_owned());
        let module = "resnet.encoder.stages.2.layers.0.layer.0.convolution";
        for (selection, expected) in [
            (names(&["convolution"]), Some(true)),
            (names(&["layer.0.convolution"]), Some(true)),
            (names(&["0.convolution", "fc"]), Some(true)),
            (names(&[module]), Some(true)),
            (names(&["volution", "layer.1.convolution"]), Some(false)),
            (names(&[]), Some(false)),
            (pattern(r".*stages\.[23].*convolution"), Some(true)),
            // All of the name has to match, whichever alternative does.
            (pattern(r"stages\.2.*|.*convolution"), Some(true)),
            (pattern(r"stages\.2.*"), Some(false)),
            (pattern(r".*(?<!shortcut\.)convolution"), None),
            (pattern(r".*+convolution"), None),
            (pattern("("), None),
        ] {
            assert_eq!(selection.has(module), expected, "{selection}");
        }
    }
}
