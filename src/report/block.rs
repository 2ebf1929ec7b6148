//! What a page is made of.

use serde::Serialize;

use super::figure::Figure;

/// A heading and what stands under it.
#[derive(Debug)]
pub struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug)]
pub enum Block {
    Text(String),
    List {
        title: String,
        items: Vec<String>,
    },
    /// To be opened by the reader.
    Folded {
        title: String,
        blocks: Vec<Block>,
    },
    /// What is not there and why.
    Missing(String),
    Table(Table),
    Figure(Figure),
    Code(String),
}

impl Block {
    pub fn folded(title: impl Into<String>, blocks: Vec<Self>) -> Self {
        Self::Folded {
            title: title.into(),
            blocks,
        }
    }

    /// Itself, or what is folded into it.
    pub fn leaves(&self) -> Vec<&Self> {
        match self {
            Self::Folded { blocks, .. } => blocks.iter().flat_map(Self::leaves).collect(),
            leaf => vec![leaf],
        }
    }

    pub fn missing(what: &str) -> Self {
        Self::Missing(what.into())
    }
}

/// A table whose first column names the rows.
#[derive(Debug, Default, Serialize)]
pub struct Table {
    pub caption: String,
    pub header: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
    /// Of words rather than of numbers.
    pub words: bool,
}

/// Text, and smaller text below it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cell {
    pub text: String,
    pub small: String,
    /// Decided to be the best of its column.
    pub best: bool,
    /// `better` or `worse` where that is decided.
    pub verdict: &'static str,
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    pub fn with(text: impl Into<String>, small: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            small: small.into(),
            ..Self::default()
        }
    }
}
