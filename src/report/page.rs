//! The HTML page.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;

use super::block::{Block, Section};
use super::figure::Figure;
use super::{Results, figures, provenance, tables, theme, words};

static TEMPLATES: LazyLock<Environment> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_trim_blocks(true);
    templates.set_lstrip_blocks(true);
    // The ending in the name turns on the escaping of HTML.
    templates
        .add_template("page.html", include_str!("page.html"))
        .expect("the embedded template parses");
    templates
});

/// What a page shows of one study, or of a run.
pub struct Part {
    pub title: String,
    pub facts: String,
    pub sections: Vec<Section>,
}

impl Part {
    /// `title` heads the part where there are several.
    pub fn new(title: &str, results: &Results) -> Self {
        let mut sections = vec![
            summary(results),
            tables::targets(results),
            tables::methods(results),
        ];
        sections.extend(figures::sections(results));
        sections.push(provenance::made(&results.study));
        let nothing = "Nothing: the study ran to its end.";
        sections.push(provenance::missing(&results.missing, nothing, &sections));
        Self {
            title: title.into(),
            facts: provenance::facts(&results.study),
            sections,
        }
    }

    /// In the order of the page.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        let blocks = self.sections.iter().flat_map(|section| &section.blocks);
        blocks
            .flat_map(Block::leaves)
            .filter_map(|block| match block {
                Block::Figure(figure) => Some(figure),
                _ => None,
            })
    }
}

/// The outcome in a sentence, the main figure, and the comparisons.
fn summary(results: &Results) -> Section {
    let mut blocks = vec![match words::lead(results) {
        Some(lead) => Block::Text(lead),
        None => Block::missing(
            "No paired comparisons of BayesLoRA with another method: nothing is decided here.",
        ),
    }];
    blocks.extend(figures::scores(results));
    blocks.extend(words::comparisons(results));
    Section {
        id: "summary",
        title: "Summary",
        blocks,
    }
}

/// The whole page, with all that it needs; `anchor` begins the names of all places in it.
pub fn render<'a>(heading: &str, anchor: &str, parts: impl Iterator<Item = &'a Part>) -> String {
    let parts: Vec<_> = parts
        .enumerate()
        .map(|(index, part)| {
            let id = format!("{anchor}-{}", index + 1);
            let mut figure_number = 0;
            let mut section = |section: &Section| {
                let id = format!("{id}-{}", section.id);
                let blocks = section.blocks.iter();
                let blocks: Vec<_> = blocks
                    .flat_map(|block| views(block, &id, &mut figure_number))
                    .collect();
                context! { id, title => section.title, blocks }
            };
            let sections: Vec<_> = part.sections.iter().map(&mut section).collect();
            context! { id, title => part.title, facts => part.facts, sections }
        })
        .collect();
    TEMPLATES
        .get_template("page.html")
        .and_then(|page| {
            page.render(context! {
                heading,
                parts,
                css => format!("{}{}", theme::page_css(), include_str!("page.css")),
            })
        })
        .expect("the template fits what it is given")
}

/// What the template needs of a block.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum View<'a> {
    Text {
        text: &'a str,
    },
    List {
        title: &'a str,
        items: &'a [String],
    },
    /// What follows, up to the `Shut`, is to be opened.
    Open {
        title: &'a str,
    },
    Shut,
    Missing {
        text: &'a str,
    },
    Table {
        table: &'a super::block::Table,
    },
    Code {
        text: &'a str,
    },
    Figure(FigureView<'a>),
}

#[derive(Serialize)]
struct FigureView<'a> {
    number: usize,
    id: String,
    title: &'a str,
    caption: &'a str,
    columns: usize,
    /// Pixels below which a panel takes a row of its own.
    least: f64,
    /// Pixels above which it does not grow.
    most: f64,
    panels: Vec<String>,
    legend: Vec<(String, &'a str)>,
}

fn views<'a>(block: &'a Block, section: &str, number: &mut usize) -> Vec<View<'a>> {
    let view = match block {
        Block::Folded { title, blocks } => {
            let mut all = vec![View::Open { title }];
            let blocks = blocks.iter();
            all.extend(blocks.flat_map(|block| views(block, section, number)));
            all.push(View::Shut);
            return all;
        }
        Block::Text(text) => View::Text { text },
        Block::List { title, items } => View::List { title, items },
        Block::Missing(text) => View::Missing { text },
        Block::Table(table) => View::Table { table },
        Block::Code(text) => View::Code { text },
        Block::Figure(figure) => {
            *number += 1;
            let id = format!("{section}-{}", figure.name);
            let widths = figure.panels.iter().map(|panel| panel.width);
            let widest = widths.fold(0.0, f64::max);
            View::Figure(FigureView {
                number: *number,
                title: &figure.title,
                caption: &figure.caption,
                columns: figure.columns,
                least: widest * 0.72,
                most: widest * 1.3,
                panels: figure.inline(&id),
                legend: figure.legend_entries(),
                id,
            })
        }
    };
    vec![view]
}
