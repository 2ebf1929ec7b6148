//! What was run, on what, and what is missing.

use super::Study;
use super::block::{Block, Section};
use super::number::{count, counted};

/// One line under the study's heading.
pub fn facts(study: &Study) -> String {
    let mut facts: Vec<String> = Vec::new();
    let mut add = |known: bool, fact: String| {
        if known {
            facts.push(fact);
        }
    };
    add(!study.scale.is_empty(), format!("scale “{}”", study.scale));
    add(!study.date.is_empty(), study.date.clone());
    add(!study.data.is_empty(), study.data.clone());
    add(!study.classes.is_empty(), classes(study.classes.len()));
    add(
        study.train_images > 0,
        format!(
            "{} training, {} validation, {} test images",
            count(study.train_images),
            count(study.validation_images),
            count(study.test_images)
        ),
    );
    add(!study.backbone.is_empty(), study.backbone.clone());
    add(
        study.resolution > 0,
        format!("{0}×{0} pixels", study.resolution),
    );
    add(study.epochs > 0, counted(study.epochs, "epoch"));
    add(
        study.seconds > 0.0,
        format!("{} of computing", duration(study.seconds)),
    );
    facts.join(" · ")
}

/// `2 classes`
pub fn classes(count: usize) -> String {
    counted(count, "class").replace("classs", "classes")
}

/// To the minute; to the second below ten minutes.
fn duration(seconds: f64) -> String {
    let unit = if seconds < 600.0 { 1 } else { 60 };
    let whole = (seconds / unit as f64).round() as u64 * unit;
    humantime::format_duration(std::time::Duration::from_secs(whole)).to_string()
}

/// Commands and machines.
pub fn made(study: &Study) -> Section {
    let mut blocks = match study.commands.is_empty() {
        true => vec![Block::missing(
            "The file does not say by which commands it was made.",
        )],
        false => vec![
            Block::Text("The same again:".into()),
            Block::Code(study.commands.join("\n")),
        ],
    };
    if !study.program.is_empty() {
        blocks.push(Block::Text(format!("Program: {}.", study.program)));
    }
    match study.environments.is_empty() {
        true => blocks.push(Block::missing("The file does not say on which machines.")),
        false => blocks.push(Block::List {
            title: "Machines".into(),
            items: study.environments.clone(),
        }),
    }
    Section {
        id: "made",
        title: "How it was made",
        blocks,
    }
}

/// What is said to be missing, and what the sections above had to leave out; or that there is nothing.
pub fn missing(own: &[String], nothing: &str, sections: &[Section]) -> Section {
    let mut items = own.to_vec();
    for section in sections {
        for block in section.blocks.iter().flat_map(Block::leaves) {
            if let Block::Missing(what) = block {
                items.push(format!("{}: {what}", section.title));
            }
        }
    }
    let block = match items.is_empty() {
        true => Block::Text(nothing.into()),
        false => Block::List {
            title: String::new(),
            items,
        },
    };
    Section {
        id: "missing",
        title: "What is missing",
        blocks: vec![block],
    }
}
