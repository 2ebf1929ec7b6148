//! Numbers that options may not have: refused before any work, with the range.

use std::time::{Duration, Instant};

use assert_cmd::Command;
use bayeslora::low_level::ranges;
use bayeslora::low_level::train::{Method, TrainConfig, check_fit};
use predicates::prelude::*;
use predicates::str::contains;

use crate::properties::{GPU, tiny_backbone};

const HUGE: &str = "18446744073709551615";

fn refuses(line: &str, parts: &[&str]) {
    let start = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    let mut assert = command.args(line.split_whitespace()).assert().code(2);
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
    assert.stderr(contains("panicked").not());
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{line}: {took:?}");
}

/// Every number of every command: too small, too large, none at all.
#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    let train = "train --data sample --out /nonexistent/run";
    let cases = [
        ("resolution", "0 31 4097 -5 1e3", "32 to 4096"),
        ("batch-size", "0 65537", "1 to 65536"),
        ("epochs", "0 1000001", "1 to 1000000"),
        ("patience", "0 1000001", "1 to 1000000"),
        ("rank", "-1 513", "0 to 512"),
        ("lr", "0 -1 NaN inf 1e4", "above 0, at most 1000"),
        ("lr-log-alpha", "0 -1 NaN", "above 0, at most 1000"),
        ("weight-decay", "-0.1 NaN inf", "0 to 1000"),
        ("dropout", "0 1 NaN", "0.001 to 0.99"),
        ("validation", "0.9 -0.1 NaN 1", "0 to below 0.9"),
        ("limit-train", "0 4294967296", "at least 1"),
        ("members", "0 101", "1 to 100"),
        ("kl-scale", "-1 NaN inf", "0 to 1000000"),
        ("seed", "-1 9223372036854775808", "0 to 9223372036854775807"),
        ("threshold", "NaN 101", "-100 to 100"),
    ];
    for (option, values, range) in cases {
        for value in values.split(' ').chain([HUGE, "x"]) {
            refuses(
                &format!("{train} --{option} {value}"),
                &[&format!("--{option}"), range],
            );
        }
    }
    refuses(
        &format!("{train} --resident-images many"),
        &["--resident-images", "500MB or 2GiB"],
    );
    for line in [
        "bench --batch 0",
        "bench --size 16",
        "bench --samples 0",
        "bench --rank 1000",
        "bench --fail-below -1",
        "plan --mode train --rank 513",
        "plan --mode predict --samples 10001",
        "plan --mode train --resolution 8",
        "predict --run r --samples 10001 i.png",
        "predict --run r --top 0 i.png",
        "eval --run r --samples 10001",
        "eval --run r --seed -1",
        "laplace --run r --structure gates --images 0",
        "laplace --run r --structure last-layer-kron --gate-samples 10001",
        "tune --run r --samples 0",
        "prune --run r --threshold NaN",
        "devices --tune --batch-size 0",
    ] {
        refuses(line, &["invalid value", "expected "]);
    }
}

#[test]
fn help_states_every_range() {
    for command in [
        "train", "bench", "plan", "predict", "eval", "laplace", "tune", "prune", "devices",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bayeslora"))
            .args([command, "--help"])
            .output()
            .unwrap();
        // Help is wrapped; an option's begins with its name and what it takes.
        let help = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = help.split_whitespace().collect();
        let begins = |place: &usize| {
            let takes = words
                .get(place + 1)
                .is_some_and(|word| word.starts_with('<'));
            words[*place].starts_with("--") && takes
        };
        let mut starts: Vec<usize> = (0..words.len()).filter(begins).collect();
        starts.push(words.len());
        for part in starts.windows(2) {
            let (option, text) = (words[part[0]], words[part[0]..part[1]].join(" "));
            if let Some(range) = ranges::of_command(command, &option[2..]) {
                assert!(text.contains(&format!("[{range}]")), "{command}: {text}");
            }
        }
    }
}

#[test]
fn the_library_checks_what_the_command_line_does() {
    let refused = |change: &dyn Fn(&mut TrainConfig), option: &str| {
        let mut config = TrainConfig::default();
        change(&mut config);
        let error = config.resolve(1_000).expect_err(option);
        assert_eq!(error.option, option, "{error}");
    };
    refused(&|config| config.resolution = 0, "resolution");
    refused(&|config| config.resolution = usize::MAX, "resolution");
    refused(&|config| config.epochs = usize::MAX, "epochs");
    refused(&|config| config.batch_size = Some(usize::MAX), "batch-size");
    refused(&|config| config.lr = f64::NAN, "lr");
    refused(&|config| config.lr = -1.0, "lr");
    refused(&|config| config.kl_scale = f64::INFINITY, "kl-scale");
    refused(&|config| config.seed = u64::MAX, "seed");
    refused(
        &|config| {
            config.method = Method::Ensemble;
            config.seed = i64::MAX as u64;
            config.members = Some(2);
        },
        "seed",
    );
    // Steps are counted in 32 bits.
    let config = TrainConfig {
        epochs: 1_000_000,
        batch_size: Some(1),
        ..TrainConfig::default()
    };
    let error = config.resolve(10_000).expect_err("too many steps");
    assert_eq!(error.expected, "at most 429496 of 10000 steps");
}

#[test]
fn what_cannot_fit_the_device_is_refused_before_images_are_read() {
    let limit = GPU.limits().max_storage_buffer_binding_size;
    let config = |resolution: usize, batch: usize| TrainConfig {
        resolution,
        batch_size: Some(batch),
        targets: vec!["conv1".into()],
        ..TrainConfig::default()
    };
    let backbone = tiny_backbone();
    check_fit(&GPU, &backbone, &config(64, 32)).unwrap();
    let error = check_fit(&GPU, &backbone, &config(4_096, 65_536)).expect_err("terabytes");
    let text = error.to_string();
    assert!(
        text.starts_with("`batch-size 65536` does not fit"),
        "{text}, {limit}"
    );
    assert!(text.ends_with("would"), "{text}");
}
