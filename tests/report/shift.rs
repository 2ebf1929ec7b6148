//! Images of other kinds, corrupted images, examples.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bayeslora::low_level::report::*;
use rand::RngExt;

use super::{Draw, METHODS, study};

pub fn unfamiliar(draw: &mut Draw) -> Vec<UnfamiliarSet> {
    let sets = [
        ("fashion-mnist", "Fashion-MNIST", 0.94, false),
        ("held-out", "Two classes held out", 0.78, false),
        ("cifar-100", "CIFAR-100", 0.83, true),
        ("noise", "Generated noise", 0.97, false),
    ];
    let methods = [
        ("lora-r8", "LoRA", "lora", false),
        (
            "bayeslora-r8/samples-8",
            "BayesLoRA, 8 samples",
            "bayeslora",
            true,
        ),
        (
            "mc-dropout-r8/samples-8",
            "MC dropout, 8 samples",
            "mc-dropout",
            true,
        ),
    ];
    let scores = [
        "max_probability",
        "entropy",
        "mutual_information",
        "covariance_trace",
    ];
    let of_features = ["energy", "mahalanobis", "neighbours"];
    sets.map(|(name, title, auroc, like_pretraining)| {
        let mut detections = Vec::new();
        for (row, title, family, sampled) in methods {
            let of_answers = scores.iter().take(if sampled { 4 } else { 2 });
            for score in of_answers.chain(&of_features) {
                let lead = match *score {
                    "max_probability" => None,
                    "mahalanobis" => Some(0.2 - 0.3 * f64::from(u8::from(name == "noise"))),
                    _ => Some(0.01),
                };
                detections.push(Detection {
                    row: row.into(),
                    title: title.into(),
                    family: family.into(),
                    score: score.to_string(),
                    auroc: draw.score(auroc, 0.01, 5, None),
                    fpr95: draw.score(1.3 * (1.0 - auroc) + 0.1, 0.02, 5, None),
                    difference: lead.map(|lead| draw.score(lead, 0.01, 5, Some(0.02))),
                });
            }
        }
        let edges: Vec<f64> = (0..=30).map(|edge| f64::from(edge) * 0.08).collect();
        let bump = |at: f64, images: f64| -> Vec<usize> {
            let height = |middle: f64| (-(middle - at).powi(2) / 0.25).exp() * images;
            edges
                .windows(2)
                .map(|ends| height((ends[0] + ends[1]) / 2.0) as usize)
                .collect()
        };
        let histograms = methods
            .iter()
            .map(|(row, title, _, _)| Histogram {
                row: row.to_string(),
                title: title.to_string(),
                score: "entropy".into(),
                familiar: bump(0.2, 900.0),
                unfamiliar: bump(auroc * 1.3, 700.0),
                edges: edges.clone(),
            })
            .collect();
        UnfamiliarSet {
            name: name.into(),
            title: title.into(),
            images: 10_000,
            like_pretraining,
            detections,
            histograms,
        }
    })
    .to_vec()
}

pub fn corruptions(draw: &mut Draw) -> Vec<CorruptionCurve> {
    let kinds = [
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
    ];
    let mut all = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        for &(name, title, family, _, nll, accuracy, ece, ..) in &METHODS[..8] {
            let hard = 0.02 + 0.01 * index as f64 + draw.noise(0.004);
            let by_severity = |start: f64, slope: f64| {
                (1..=5)
                    .map(|severity| start + slope * severity as f64)
                    .collect()
            };
            all.push(CorruptionCurve {
                row: name.into(),
                title: title.into(),
                family: family.into(),
                corruption: kind.to_string(),
                test_images: 2_000,
                accuracy: by_severity(accuracy, -hard * 0.6),
                nll: by_severity(nll, hard * 2.0),
                ece: by_severity(ece, hard * 0.4 * (1.0 + ece * 10.0)),
            });
        }
    }
    all
}

pub fn examples(draw: &mut Draw) -> Vec<Example> {
    let classes = study().classes;
    let mut all = Vec::new();
    for (group, confidence) in [
        ("most-sure", 0.999),
        ("least-sure", 0.24),
        ("sure-and-wrong", 0.981),
    ] {
        for index in 0..6 {
            let colour: [u8; 3] = [draw.0.random(), draw.0.random(), draw.0.random()];
            let pixel = |at: usize| {
                let (x, y) = (at % 32, at / 32);
                let inside = (x as f64 - 16.0).hypot(y as f64 - 14.0) < 9.0 + index as f64 / 2.0;
                let shade = if inside { 1.0 } else { 0.3 + y as f64 / 64.0 };
                colour.map(|channel| (f64::from(channel) * shade) as u8)
            };
            let pixels: Vec<u8> = (0..32 * 32).flat_map(pixel).collect();
            let label = classes[index].clone();
            all.push(Example {
                group: group.into(),
                answer: if group == "most-sure" {
                    label.clone()
                } else {
                    classes[(index + 1) % 10].clone()
                },
                label,
                confidence: confidence - 0.002 * index as f64,
                mutual_information: 0.002 + draw.0.random_range(0.0..0.05),
                side: 32,
                pixels: STANDARD.encode(pixels),
            });
        }
    }
    all
}
