//! The table: which rows there are, what they score, how they differ.

use super::scores::{over_seeds, scores};
use super::{Answers, Entry, Material, ensemble, training};
use crate::metrics::{Bootstrap, DEFAULT_BINS, RiskCoverage, reliability_bins, risk_coverage};
use crate::predict::laplace::{LaplaceConfig, LaplaceStructure, PriorPrecision};
use crate::report::Row;
use crate::report::number::counted;
use crate::study::runs::SAMPLES;
use crate::study::{Cost, CutTo, Fit, Place, RunSpec, Stored, StudyError};

/// Points of a risk-coverage curve that are kept.
const CURVE_POINTS: usize = 100;

/// The rows that there are answers for, and in words what there is none for.
pub fn entries<'a>(material: &Material<'a>) -> Result<(Vec<Entry<'a>>, Vec<String>), StudyError> {
    let (mut entries, mut missing) = (Vec::new(), Vec::new());
    for spec in material.complete() {
        let gated = spec.config.method.gates().is_some();
        let cuts = spec.cut_to.iter().copied().map(Some);
        for cut in std::iter::once(None).chain(cuts) {
            for samples in if gated { &[0, SAMPLES][..] } else { &[0] } {
                let entry = entry(material, spec, cut, *samples)?;
                missing.extend(lacking(&entry.title, entry.seeds.len(), spec.seeds));
                if entry.seeds.is_empty() {
                    continue;
                }
                let tempered = match *samples == if gated { SAMPLES } else { 0 } {
                    true => tempered(material, &entry)?,
                    false => None,
                };
                entries.push(entry);
                entries.extend(tempered);
            }
        }
    }
    for spec in material.complete().filter(|spec| spec.ensemble) {
        entries.extend(together(material, spec)?);
    }
    for spec in material.runs.iter().filter(|spec| spec.without_classes) {
        let stored = Stored::samples("held-out-classes", 0);
        let is_there = |seed: &u64| Place::new(material.out, &spec.name, *seed).has(&stored);
        let found = (1..=spec.seeds).filter(is_there).count();
        missing.extend(lacking(&spec.title, found, spec.seeds));
    }
    for (entry, expected) in laplace(material)? {
        missing.extend(lacking(&entry.title, entry.seeds.len(), expected));
        if !entry.seeds.is_empty() {
            entries.push(entry);
        }
    }
    Ok((entries, missing))
}

/// The rows on the whole test set with the images and seeds of the others, to be read beside them.
pub fn excerpts<'a>(material: &Material, entries: &[Entry<'a>]) -> Vec<Entry<'a>> {
    let images = material.settings.test_images;
    let is_larger = |entry: &&Entry| entry.headline && entry.answers[0].images() > images;
    let larger = entries.iter().filter(is_larger);
    larger
        .map(|entry| {
            let seeds = entry.seeds.len().min(material.settings.seeds as usize);
            let mut excerpt = Entry {
                name: format!("{}/{images}", entry.name),
                title: format!("{}, {}", entry.title, counted(images, "image")),
                headline: false,
                ..entry.clone()
            };
            excerpt.seeds.truncate(seeds);
            excerpt.temperatures.truncate(seeds);
            excerpt.answers = entry.answers[..seeds]
                .iter()
                .map(|answers| answers.first(images))
                .collect();
            excerpt
        })
        .collect()
}

/// In words, where there are fewer seeds than there should be.
fn lacking(title: &str, found: usize, expected: u64) -> Option<String> {
    let lacks = (found as u64) < expected;
    lacks.then(|| format!("{title}: {found} of {expected} seeds"))
}

fn entry<'a>(
    material: &Material,
    spec: &'a RunSpec,
    cut: Option<CutTo>,
    samples: usize,
) -> Result<Entry<'a>, StudyError> {
    let way = match (spec.config.method.gates(), samples) {
        (None, _) => String::new(),
        (_, 0) => ", mean weights".into(),
        (_, count) => format!(", {count} samples"),
    };
    let less = cut.map_or(String::new(), |cut| format!(" {}", cut.in_words()));
    let mut entry = Entry {
        name: String::new(),
        title: format!("{}{less}{way}", spec.title),
        family: spec.config.method.name(),
        headline: spec.is_headline && cut.is_none(),
        spec: Some(spec),
        cut,
        around: None,
        samples,
        seeds: Vec::new(),
        answers: Vec::new(),
        temperatures: Vec::new(),
        precisions: Vec::new(),
    };
    let stored = entry.stored("test");
    entry.name = format!("{}/{}", spec.name, stored.way);
    (entry.seeds, entry.answers) = material.by_seed(spec, &stored, &material.test.labels)?;
    Ok(entry)
}

/// The same at a temperature, where the validation answers are there for every seed.
fn tempered<'a>(material: &Material, of: &Entry<'a>) -> Result<Option<Entry<'a>>, StudyError> {
    let spec = of.spec.expect("of one run");
    let found = temperatures(material, spec, of, &of.stored("validation"))?;
    Ok(found.map(|found| at_temperatures(of, found)))
}

/// Fitted to these answers on the validation images, where they are there for every seed; nothing for no seed.
fn temperatures(
    material: &Material,
    spec: &RunSpec,
    of: &Entry,
    stored: &Stored,
) -> Result<Option<Vec<f64>>, StudyError> {
    let mut temperatures = Vec::new();
    for seed in &of.seeds {
        let found = material.answers(spec, *seed, stored, material.validation_labels)?;
        let Some(validation) = found else {
            return Ok(None);
        };
        temperatures.push(validation.temperature()?);
    }
    Ok((!temperatures.is_empty()).then_some(temperatures))
}

/// One for each seed.
fn at_temperatures<'a>(of: &Entry<'a>, temperatures: Vec<f64>) -> Entry<'a> {
    let answers = of.answers.iter().zip(&temperatures);
    Entry {
        name: format!("{}+temperature", of.name),
        title: format!("{} + temperature", of.title),
        answers: answers.map(|(answers, t)| answers.tempered(*t)).collect(),
        temperatures,
        ..of.clone()
    }
}

/// All seeds of a run as one model, without and with a temperature, which is that of their common answers.
fn together<'a>(material: &Material, spec: &'a RunSpec) -> Result<Vec<Entry<'a>>, StudyError> {
    let of = |set: &str, labels: &[u32]| -> Result<Option<(usize, Answers)>, StudyError> {
        let (_, members) = material.by_seed(spec, &Stored::samples(set, 0), labels)?;
        if members.len() < 2 {
            return Ok(None);
        }
        let answers = Answers::new(&ensemble(&members), labels)?;
        Ok(Some((members.len(), answers)))
    };
    let Some((members, answers)) = of("test", &material.test.labels)? else {
        return Ok(Vec::new());
    };
    let (name, title) = match spec.is_headline {
        true => (String::new(), "LoRAs".into()),
        false => {
            let rank = spec.config.rank;
            (
                format!("-of-{}", spec.name),
                format!("LoRAs of rank {rank}"),
            )
        }
    };
    let plain = Entry {
        name: format!("ensemble-{members}{name}"),
        title: format!("Ensemble of {members} {title}"),
        family: "ensemble",
        headline: spec.is_headline,
        spec: None,
        cut: None,
        around: Some((spec, members)),
        samples: 0,
        seeds: vec![1],
        answers: vec![answers],
        temperatures: Vec::new(),
        precisions: Vec::new(),
    };
    let tempered = match of("validation", material.validation_labels)? {
        Some((count, validation)) if count == members => {
            Some(at_temperatures(&plain, vec![validation.temperature()?]))
        }
        _ => None,
    };
    Ok(std::iter::once(plain).chain(tempered).collect())
}

/// Post-hoc Laplace on finished adapters, as far as it is there, and how many seeds there should be.
fn laplace<'a>(material: &Material<'a>) -> Result<Vec<(Entry<'a>, u64)>, StudyError> {
    let mut entries = Vec::new();
    for spec in material.runs.iter().filter(|spec| spec.laplace > 0) {
        for fit in spec.posteriors(material.settings) {
            let entry = posterior(material, spec, fit)?;
            let tempered =
                temperatures(material, spec, &entry, &Stored::laplace("validation", fit))?;
            let tempered = tempered.map(|found| at_temperatures(&entry, found));
            entries.push((entry, spec.laplace));
            entries.extend(tempered.map(|entry| (entry, 0)));
        }
    }
    Ok(entries)
}

/// Without a temperature.
fn posterior<'a>(
    material: &Material,
    spec: &'a RunSpec,
    fit: Fit,
) -> Result<Entry<'a>, StudyError> {
    let stored = Stored::laplace("test", fit);
    let (seeds, answers) = material.by_seed(spec, &stored, &material.test.labels)?;
    let mut precisions = Vec::new();
    for seed in &seeds {
        let note = Place::new(material.out, &spec.name, *seed).read_note(&stored)?;
        precisions.extend(note["delta"].as_f64());
    }
    let posterior = format!("Laplace, {}", in_words(&fit.config));
    Ok(Entry {
        name: format!("{}/{}", spec.name, stored.way),
        title: match fit.samples {
            0 => posterior,
            count => format!("{posterior}, on BayesLoRA, {count} samples"),
        },
        family: "laplace",
        headline: false,
        spec: None,
        cut: None,
        around: Some((spec, 1)),
        samples: fit.samples,
        seeds,
        answers,
        temperatures: Vec::new(),
        precisions,
    })
}

fn in_words(config: &LaplaceConfig) -> String {
    let structure = match config.structure {
        LaplaceStructure::LastLayerFull => "last layer, full",
        LaplaceStructure::LastLayerKron => "last layer, Kronecker",
        LaplaceStructure::AdapterDiag => "adapters, diagonal",
        LaplaceStructure::AdapterKron => "adapters, Kronecker",
        LaplaceStructure::Gates => "gates",
    };
    match config.precision {
        PriorPrecision::Validation => format!("{structure}, prior by validation"),
        _ => structure.to_owned(),
    }
}

/// One line of the table.
pub fn row(material: &Material, entry: &Entry, bootstrap: &Bootstrap) -> Result<Row, StudyError> {
    let mut all = scores(&entry.answers, bootstrap)?;
    if !entry.temperatures.is_empty() {
        let temperature = over_seeds(entry.temperatures.clone());
        all.insert("temperature".into(), temperature);
    }
    if !entry.precisions.is_empty() {
        let precision = over_seeds(entry.precisions.clone());
        all.insert("prior_precision".into(), precision);
    }
    let mut row = Row {
        name: entry.name.clone(),
        title: entry.title.clone(),
        family: entry.family.into(),
        headline: entry.headline,
        seeds: entry.seeds.clone(),
        test_images: entry.answers[0].images(),
        scores: all,
        ..Row::default()
    };
    let (mut confidence, mut correct, mut curves) = (Vec::new(), Vec::new(), Vec::new());
    for answers in &entry.answers {
        let predictions = answers.predictions()?;
        let (sure, right) = (predictions.confidence(), predictions.correct());
        curves.push(thinned(&risk_coverage(&sure, &right)));
        confidence.extend(sure);
        correct.extend(right);
    }
    row.reliability = reliability_bins(&confidence, &correct, DEFAULT_BINS);
    row.risk_coverage = mean_curve(&curves);
    let gated = &material.headline()[1].name;
    if entry.cut.is_none() && entry.spec.is_some_and(|spec| spec.name == *gated) {
        let cost = Cost::read(material.out)?;
        row.image_milliseconds = cost.and_then(|cost| cost.image_milliseconds(entry.samples));
    }
    if let Some((spec, members)) = entry.around {
        let one = training::adapter_parameters(material, spec, &entry.seeds)?;
        row.adapter_parameters = one * members as f64;
        let left = training::ranks_left(material, spec, &entry.seeds)?;
        row.rank = over_seeds(left.iter().map(|ranks| ranks * members as f64).collect());
    }
    if let (Some(spec), Some(cut)) = (entry.spec, entry.cut) {
        training::describe_cut(material, spec, cut, &entry.seeds, &mut row)?;
    } else if let Some(spec) = entry.spec {
        training::describe(material, spec, &entry.seeds, &mut row)?;
        // Once a run, however many ways there are to predict with it.
        if entry.samples > 0 || !entry.temperatures.is_empty() || entry.is_excerpt() {
            row.training.clear();
        }
    }
    Ok(row)
}

fn thinned(curve: &[RiskCoverage]) -> Vec<RiskCoverage> {
    let points = CURVE_POINTS.min(curve.len());
    let place = |point: usize| (point + 1) * curve.len() / points - 1;
    (0..points).map(|point| curve[place(point)]).collect()
}

fn mean_curve(curves: &[Vec<RiskCoverage>]) -> Vec<RiskCoverage> {
    let seeds = curves.len() as f64;
    (0..curves[0].len())
        .map(|point| RiskCoverage {
            coverage: curves[0][point].coverage,
            risk: curves.iter().map(|curve| curve[point].risk).sum::<f64>() / seeds,
        })
        .collect()
}
