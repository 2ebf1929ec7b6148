//! A report as it is stored: the JSON document of `bayeslora bench`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Row, Settings};

/// The version of the document's layout.
pub const SCHEMA: u32 = 1;

/// What was measured, where and when. Each field is stored under its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub schema: u32,
    /// RFC 3339, UTC.
    pub date: String,
    /// As in a run's `environment.json`: adapter, type, backend, driver, threads, versions, kernels.
    pub environment: BTreeMap<String, Value>,
    pub settings: Settings,
    pub results: Vec<Row>,
}

impl Report {
    /// A field of the environment as text, empty where there is none.
    pub fn environment(&self, field: &str) -> String {
        match self.environment.get(field) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Whether it was measured on llvmpipe, which the targets are for.
    pub fn is_llvmpipe(&self) -> bool {
        self.environment("adapter").contains("llvmpipe")
    }
}
