//! Answers for people.

use bayeslora::low_level::formats::printable;

use super::Report;
use super::answers::{Answer, ClassAnswer};
use crate::cli::{promised, tables};

/// All of them.
pub fn describe(report: &Report, classes: usize) -> String {
    let images = report.images.iter();
    let names = images.clone().flat_map(|answer| &answer.classes);
    let width = names
        .map(|answer| printable(&answer.class).chars().count())
        .max()
        .unwrap_or(0);
    let blocks: Vec<_> = images
        .map(|answer| block(answer, width, classes, (report.samples, report.drawn)))
        .collect();
    let temperature = report.temperature;
    let temperature = temperature.map_or(String::new(), |t| format!("\n\ntemperature {t:.3}"));
    let prior = report.class_prior.as_ref();
    let prior = prior.map_or(String::new(), |prior| {
        format!("\n\n{}", prior.in_words(None))
    });
    let promises = report
        .calibration
        .as_ref()
        .map_or(String::new(), promised::in_words);
    blocks.join("\n\n") + &temperature + &prior + &promises
}

fn block(answer: &Answer, width: usize, classes: usize, (samples, drawn): (usize, &str)) -> String {
    const BAR: usize = 30;
    let mut text = printable(&answer.image);
    for ClassAnswer {
        class,
        probability,
        std,
    } in &answer.classes
    {
        let bar = tables::bar(f64::from(*probability), BAR);
        let spread = match samples {
            0 | 1 => String::new(),
            _ => format!(" ± {:4.1}", 100.0 * std),
        };
        let percent = 100.0 * probability;
        let class = printable(class);
        text += &format!("\n  {class:width$}  {percent:5.1} %{spread}  {bar}");
    }
    text += &format!("\n  {}", in_words(answer, classes, (samples, drawn)));
    text += &answer.promised.set_line();
    text += &format!(
        "\n  entropy {:.3} of {:.3} nats, mutual information {:.4}",
        answer.entropy,
        (classes as f64).ln(),
        answer.mutual_information,
    );
    text
}

/// How sure the answer is, and, where anything is drawn, whether the samples agree on that.
fn in_words(answer: &Answer, classes: usize, (samples, drawn): (usize, &str)) -> String {
    let best = &answer.classes[0];
    let class = printable(&best.class);
    if let Some(found) = answer.familiarity.filter(|found| found.unfamiliar) {
        return format!(
            "unlike anything it was trained on ({class} at best): at most {:.1} % of familiar images look as strange",
            100.0 * found.familiarity
        );
    }
    if let Some(refusal) = answer.promised.refusal(&class) {
        return refusal;
    }
    let sure = match best.probability {
        p if p >= 0.95 => format!("almost certainly {class}"),
        p if p >= 0.8 => format!("probably {class}"),
        p if p >= 0.5 => format!("more likely {class} than not"),
        p if f64::from(p) >= 2.0 / classes as f64 => format!("unsure, {class} at best"),
        _ => "no idea".into(),
    };
    // The share of the doubt that comes from the gates.
    let share = answer.mutual_information / answer.entropy.max(f32::MIN_POSITIVE);
    match (samples, best.probability) {
        (0 | 1, _) => sure,
        (_, p) if p >= 0.95 => sure,
        _ if share >= 0.25 => format!("{sure}; the {drawn} disagree"),
        _ => format!("{sure}; the {drawn} agree on that"),
    }
}
