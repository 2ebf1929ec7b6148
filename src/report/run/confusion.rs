//! The confusion matrix.

use super::material::Material;
use crate::metrics::{Confusion, confusion_order};
use crate::report::chart::{Shaded, matrix};
use crate::report::figure::{Figure, Numbers};
use crate::report::number::{counted, decimal};
use crate::report::provenance::classes as counted_classes;

/// Classes that a matrix shows.
const SHOWN: usize = 60;

/// Widest matrix of which two stand side by side, in classes.
const NARROW: usize = 12;

const RIGHT: &str = "bayeslora";
const WRONG: &str = "lora";

pub fn figure(material: &Material) -> Figure {
    let confusion = &material.confusion;
    let order = shown(confusion);
    let names: Vec<String> = order.iter().map(|&c| material.names[c].clone()).collect();
    let off_diagonal = order.iter().flat_map(|&label| {
        let others = order.iter().filter(move |&&answer| answer != label);
        others.map(move |&answer| confusion.rate(label, answer))
    });
    let worst = off_diagonal.fold(0.0, f64::max);
    let cells = |text: &dyn Fn(usize, usize) -> String| -> Vec<Vec<Shaded>> {
        let cell = |label: usize, answer: usize| {
            let count = confusion.count(label, answer);
            if count == 0 {
                return Shaded::default();
            }
            let rate = confusion.rate(label, answer);
            let (shade, colour) = match label == answer {
                true => (rate, RIGHT),
                false => (rate / worst, WRONG),
            };
            Shaded {
                shade,
                colour,
                text: text(label, answer),
                hint: format!(
                    "{} answered as {}: {count} of {}",
                    material.names[label],
                    material.names[answer],
                    counted(confusion.images(label), "image")
                ),
            }
        };
        let row = |&label: &usize| order.iter().map(|&answer| cell(label, answer)).collect();
        order.iter().map(row).collect()
    };
    let axes = "rows: labels; columns: answers";
    let counts = cells(&|label, answer| confusion.count(label, answer).to_string());
    let rates = cells(&|label, answer| percent(confusion.rate(label, answer)));
    Figure {
        name: "confusion".into(),
        title: "What is taken for what".into(),
        caption: caption(confusion, &order, worst),
        panels: vec![
            matrix("Images", axes, &names, &counts),
            matrix("Per cent of the row", axes, &names, &rates),
        ],
        columns: if order.len() <= NARROW { 2 } else { 1 },
        legend: Vec::new(),
        numbers: numbers(material),
    }
}

/// Whole, or with a decimal where it would be 0.
fn percent(rate: f64) -> String {
    let percent = 100.0 * rate;
    decimal(percent, usize::from(percent < 0.95))
}

/// Classes that have images or answers, in the order of the matrix; where they are many those of the most confused
/// pairs.
fn shown(confusion: &Confusion) -> Vec<usize> {
    let is_there = |class: &usize| confusion.images(*class) + confusion.precision(*class).of > 0;
    let mut classes: Vec<usize> = (0..confusion.classes()).filter(is_there).collect();
    if classes.len() > SHOWN {
        let pairs = confusion.pairs().into_iter();
        let mut chosen = Vec::new();
        for class in pairs.flat_map(|pair| pair.classes).chain(classes) {
            if chosen.len() < SHOWN && !chosen.contains(&class) {
                chosen.push(class);
            }
        }
        classes = chosen;
    }
    confusion_order(confusion, &classes)
}

fn caption(confusion: &Confusion, order: &[usize], worst: f64) -> String {
    let mut caption = String::from(
        "Each row has the images of a class by their labels, each column those that were answered with a class. Blue: \
         right",
    );
    caption += &match worst > 0.0 {
        true => format!(
            "; orange: mistakes, in full colour where {}\u{a0}% of a row are. Classes that are taken for each other stand \
             together: average linkage of the rates (Sokal and Michener 1958), ends that are alike turned to each other \
             (Gruvaeus and Wainer 1972).",
            percent(worst)
        ),
        false => ". There are no mistakes.".into(),
    };
    let all = confusion.classes();
    let empty = (0..all).filter(|class| confusion.images(*class) == 0);
    let empty = empty.count();
    if empty > 0 {
        caption += &format!(" {} of {all} without images here.", counted_classes(empty));
    }
    if order.len() == SHOWN && all > SHOWN {
        caption += &format!(
            " Of {all} classes the {SHOWN} in the most confused pairs; confusion.csv among the figures' files has all."
        );
    }
    caption
}

/// What happened, in the order of the classes.
fn numbers(material: &Material) -> Numbers {
    let confusion = &material.confusion;
    let mut numbers = Numbers::new(&["label", "answer", "images", "of"]);
    let classes = &material.results.about.classes;
    for ((label, answer), count) in confusion.counts() {
        numbers.rows.push(vec![
            classes[label].clone(),
            classes[answer].clone(),
            count.to_string(),
            confusion.images(label).to_string(),
        ]);
    }
    numbers
}
