//! Ranks that are left, and what they score, against those that a run started with.

use super::Material;
use crate::report::{FinalRanks, Row};
use crate::study::RunSpec;
use crate::study::runs::SAMPLES;
use crate::train::{Method, TrainConfig};

/// Of LoRA and of BayesLoRA with the chosen kappa, each as trained and with `--rank auto`, the runs that differ in their
/// initial rank alone.
pub fn final_ranks(material: &Material, rows: &[Row]) -> Vec<FinalRanks> {
    let [plain, gated] = material.headline();
    let series = [
        (plain, false, "LoRA"),
        (gated, false, "BayesLoRA"),
        (plain, true, "LoRA, rank auto"),
        (gated, true, "BayesLoRA, rank auto"),
    ];
    let mut found = Vec::new();
    for (like, auto_rank, title) in series {
        let mut runs: Vec<&RunSpec> = material
            .complete()
            .filter(|spec| spec.config.rank > 0 && spec.config.auto_rank == auto_rank)
            .filter(|spec| differ_in_rank(spec, like))
            .collect();
        runs.sort_by_key(|spec| spec.config.rank);
        found.extend(
            runs.iter()
                .filter_map(|spec| one(material, rows, spec, title)),
        );
    }
    found
}

/// Whether all else is as in `like`.
fn differ_in_rank(spec: &RunSpec, like: &RunSpec) -> bool {
    let same = TrainConfig {
        rank: like.config.rank,
        auto_rank: like.config.auto_rank,
        ..spec.config.clone()
    };
    same == like.config
}

fn one(material: &Material, rows: &[Row], spec: &RunSpec, series: &str) -> Option<FinalRanks> {
    let way = match spec.config.method {
        Method::BayesLora => format!("samples-{SAMPLES}"),
        _ => "mean".into(),
    };
    let whole = format!("{}/{way}", spec.name);
    // On the images that all of them have.
    let excerpt = |name: &str| format!("{name}/{}", material.settings.test_images);
    let find = |name: &str| rows.iter().find(|row| row.name == name);
    let either = |name: &str| find(&excerpt(name)).or_else(|| find(name));
    let row = either(&whole)?;
    let tempered = either(&format!("{whole}+temperature"));
    let score = |row: &Row, name: &str| row.scores.get(name).cloned().unwrap_or_default();
    Some(FinalRanks {
        series: series.into(),
        family: spec.config.method.name().into(),
        run: spec.name.clone(),
        initial_rank: spec.config.rank,
        ranks: row.rank.clone(),
        adapter_parameters: row.adapter_parameters,
        test_images: row.test_images,
        nll: score(row, "nll"),
        tempered_nll: tempered.map(|row| score(row, "nll")),
        accuracy: score(row, "accuracy"),
    })
}
