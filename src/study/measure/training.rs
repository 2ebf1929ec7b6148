//! What the runs' own records say: epochs, prunes, kappa, times.

use serde_json::Value;

use super::Material;
use super::scores::{over_seeds, short_scores};
use crate::formats::{Adapter, RunDir};
use crate::report::{DecayPoint, EpochPoint, KappaPoint, PruneRecord, Row, Study};
use crate::study::runs::SAMPLES;
use crate::study::{Cost, CutTo, Place, RunSpec, Stored, StudyError, final_epoch, is_trained};
use crate::train::Method;

/// Adds what training a row took and left.
pub fn describe(
    material: &Material,
    spec: &RunSpec,
    seeds: &[u64],
    row: &mut Row,
) -> Result<(), StudyError> {
    let runs = seeds
        .iter()
        .map(|seed| epochs(material, spec, *seed))
        .collect::<Result<Vec<_>, _>>()?;
    let last = |name: &str| {
        over_seeds(
            runs.iter()
                .filter_map(|run| final_epoch(run))
                .map(|e| number(e, name))
                .collect(),
        )
    };
    row.rank = last("rank");
    row.soft_rank = last("soft_rank");
    // Means over all seeds, of which any may have stopped early.
    let shortest = runs.iter().map(Vec::len).min().unwrap_or(0);
    row.training = (0..shortest)
        .map(|epoch| {
            let there: Vec<&Value> = runs.iter().map(|run| &run[epoch]).collect();
            epoch_point(epoch + 1, &there)
        })
        .collect();
    let cost = Cost::read(material.out)?;
    row.step_milliseconds = cost.and_then(|cost| cost.step_milliseconds(&spec.name));
    row.adapter_parameters = adapter_parameters(material, spec, seeds)?;
    Ok(())
}

/// Adds what a cut has left of the adapters; nothing was trained for it.
pub fn describe_cut(
    material: &Material,
    spec: &RunSpec,
    cut: CutTo,
    seeds: &[u64],
    row: &mut Row,
) -> Result<(), StudyError> {
    let (mut ranks, mut scalars) = (Vec::new(), Vec::new());
    for seed in seeds {
        let place = Place::new(material.out, &spec.name, *seed);
        let note = place.read_note(&Stored::cut_to("test", cut, 0))?;
        ranks.push(number(&note, "ranks"));
        scalars.push(number(&note, "scalars"));
    }
    row.rank = over_seeds(ranks);
    row.adapter_parameters = over_seeds(scalars).mean;
    Ok(())
}

/// Ranks of finished adapters, by seed.
pub fn ranks_left(
    material: &Material,
    spec: &RunSpec,
    seeds: &[u64],
) -> Result<Vec<f64>, StudyError> {
    let left = seeds.iter().map(|seed| {
        let epochs = epochs(material, spec, *seed)?;
        Ok(final_epoch(&epochs).map_or(f64::NAN, |last| number(last, "rank")))
    });
    left.collect()
}

/// Trained scalars of an adapter, the head apart; mean over seeds.
pub fn adapter_parameters(
    material: &Material,
    spec: &RunSpec,
    seeds: &[u64],
) -> Result<f64, StudyError> {
    let mut parameters = Vec::new();
    for seed in seeds {
        let place = Place::new(material.out, &spec.name, *seed);
        let adapter = Adapter::load_peft(RunDir::open(&place.run)?.adapter_dir())?;
        parameters.push(adapter.scalars() as f64);
    }
    Ok(over_seeds(parameters).mean)
}

/// An epoch's records in one or several runs, a seed each.
pub fn epoch_point(epoch: usize, there: &[&Value]) -> EpochPoint {
    let score = |name: &str| over_seeds(there.iter().map(|e| number(e, name)).collect());
    let layers = there.first().and_then(|first| first["ranks"].as_object());
    let ranks = layers.into_iter().flatten().map(|(layer, _)| {
        let by_seed = there.iter().map(|e| number(&e["ranks"], layer)).collect();
        (layer.clone(), over_seeds(by_seed).mean)
    });
    EpochPoint {
        epoch,
        accuracy: score("accuracy"),
        nll: score("nll"),
        ece: score("ece"),
        train_accuracy: score("train_accuracy"),
        rank: score("rank"),
        soft_rank: score("soft_rank"),
        ranks: ranks.collect(),
    }
}

fn number(record: &Value, name: &str) -> f64 {
    record[name].as_f64().unwrap_or(f64::NAN)
}

/// The records of a run's epochs.
fn epochs(material: &Material, spec: &RunSpec, seed: u64) -> Result<Vec<Value>, StudyError> {
    let place = Place::new(material.out, &spec.name, seed);
    let epochs = RunDir::open(&place.run)?.read_metrics()?;
    if !is_trained(&spec.config, &epochs) {
        return Err(StudyError::Fault {
            path: place.run,
            what: format!(
                "has the records of {} epochs of {}, though it was predicted with",
                epochs.len(),
                spec.config.epochs
            ),
        });
    }
    Ok(epochs)
}

/// Every cut of every gated run on all classes.
pub fn prunes(material: &Material) -> Result<Vec<PruneRecord>, StudyError> {
    let mut records = Vec::new();
    let gated = |spec: &&RunSpec| spec.config.method == Method::BayesLora;
    for spec in material.complete().filter(gated) {
        for seed in 1..=spec.seeds {
            if !Place::new(material.out, &spec.name, seed).run.exists() {
                continue;
            }
            for record in epochs(material, spec, seed)? {
                let event = &record["prune"];
                if event.is_null() {
                    continue;
                }
                let count = |name: &str| event[name].as_u64().unwrap_or(0) as usize;
                records.push(PruneRecord {
                    run: spec.title.clone(),
                    seed,
                    epoch: record["epoch"].as_u64().unwrap_or(0) as usize,
                    ranks_before: count("ranks_before"),
                    ranks_after: count("ranks_after"),
                    accuracy_before: number(&event["before"], "accuracy"),
                    accuracy_after: number(&event["after"], "accuracy"),
                    nll_before: number(&event["before"], "nll"),
                    nll_after: number(&event["after"], "nll"),
                });
            }
        }
    }
    Ok(records)
}

/// The values that were tried, on validation images.
pub fn kappa(material: &Material) -> Result<Vec<KappaPoint>, StudyError> {
    let mut points = Vec::new();
    for spec in material.candidates {
        let labels = material.validation_labels;
        let answers = |samples| {
            let stored = Stored::samples("validation", samples);
            material.answers(spec, 1, &stored, labels)
        };
        let (Some(mean), Some(sampled)) = (answers(0)?, answers(SAMPLES)?) else {
            continue;
        };
        let [_, nll_mean, _] = short_scores(&[mean])?;
        let [accuracy, nll, ece] = short_scores(&[sampled])?;
        let records = epochs(material, spec, 1)?;
        let last = records.last().cloned().unwrap_or_default();
        let value = spec.config.kl_multiplicity;
        points.push(KappaPoint {
            kl_multiplicity: value.map_or_else(String::new, |value| value.to_string()),
            rank: number(&last, "rank"),
            soft_rank: number(&last, "soft_rank"),
            accuracy: accuracy.mean,
            nll_mean: nll_mean.mean,
            nll: nll.mean,
            ece: ece.mean,
            chosen: value == Some(material.chosen.kl_multiplicity),
        });
    }
    Ok(points)
}

/// The weight decays that were tried, on validation images.
pub fn weight_decays(material: &Material) -> Result<Vec<DecayPoint>, StudyError> {
    let mut points = Vec::new();
    for spec in material.decays {
        let stored = Stored::samples("validation", 0);
        let found = material.answers(spec, 1, &stored, material.validation_labels)?;
        let Some(answers) = found else {
            continue;
        };
        let temperature = answers.temperature()?;
        let tempered = answers.tempered(temperature);
        let [accuracy, nll, _] = short_scores(&[answers])?;
        let [_, tempered_nll, _] = short_scores(&[tempered])?;
        points.push(DecayPoint {
            weight_decay: spec.config.weight_decay,
            accuracy: accuracy.mean,
            nll: nll.mean,
            temperature,
            tempered_nll: tempered_nll.mean,
            chosen: material.chosen.weight_decay == Some(spec.config.weight_decay),
        });
    }
    Ok(points)
}

/// The head of the report with the environments and the time of the runs.
pub fn study(material: &Material) -> Result<Study, StudyError> {
    let mut study = Study {
        intervals: super::INTERVALS.into(),
        kappa_by: material.settings.kappa_by.in_words().into(),
        ..material.study.clone()
    };
    let asked = |spec: &&RunSpec| !spec.asks.is_empty();
    // The study's own LoRA is a candidate too, and counts once.
    let tried = material.decays.iter();
    let tried = tried.filter(|tried| material.runs.iter().all(|spec| spec.name != tried.name));
    let runs = material.candidates.iter().chain(tried);
    let runs = runs.chain(material.runs);
    for spec in runs.filter(asked) {
        for seed in 1..=spec.seeds {
            let place = Place::new(material.out, &spec.name, seed);
            let Ok(run) = RunDir::open(&place.run) else {
                continue;
            };
            let epochs = run.read_metrics()?;
            study.seconds += epochs.iter().map(|e| number(e, "seconds")).sum::<f64>();
            let environment = run.read_environment()?;
            let text = |name: &str| environment[name].as_str().unwrap_or_default().to_owned();
            let line = format!("{}, {}", text("adapter"), text("driver"));
            if !study.environments.contains(&line) {
                study.environments.push(line);
            }
        }
    }
    Ok(study)
}
