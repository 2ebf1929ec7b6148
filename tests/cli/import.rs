//! `import` and `train --from`: what another program or another run has trained.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bayeslora::low_level::formats::npy::read_probabilities;
use bayeslora::low_level::formats::{Adapter, RunDir, TensorFile};
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{adapter, bayeslora};

const PREFIX: &str = "base_model.model.";
pub const CIFAR: &str = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";

/// What becomes of the classifier.
#[derive(PartialEq)]
pub enum Fc {
    /// Trained and saved in full, with ten classes.
    Saved,
    /// LoRA on that of a base with ten classes.
    Adapted,
    /// That of the base as it is.
    Base,
}

/// A PEFT directory as another program saves it, with LoRA on one convolution.
pub fn peft(dir: &Path, fc: Fc, extra: Value) {
    fs::create_dir_all(dir).unwrap();
    let mut targets = vec!["layer4.1.conv2"];
    targets.extend((fc == Fc::Adapted).then_some("fc"));
    let mut config = json!({
        "peft_type": "LORA", "r": 2, "lora_alpha": 6.0, "target_modules": targets,
        "modules_to_save": (fc == Fc::Saved).then_some(["fc"]),
    });
    let options = config.as_object_mut().unwrap();
    options.extend(extra.as_object().unwrap().clone());
    fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let mut file = TensorFile::default();
    let mut put = |name: &str, shape: &[usize], scale: f32| {
        let count = shape.iter().product();
        let value = |i: usize| scale * ((i * 7919 % 101) as f32 / 50.0 - 1.0);
        file.insert(
            format!("{PREFIX}{name}"),
            shape,
            (0..count).map(value).collect(),
        );
    };
    put("layer4.1.conv2.lora_A.weight", &[2, 512, 3, 3], 0.05);
    put("layer4.1.conv2.lora_B.weight", &[512, 2, 1, 1], 0.05);
    match fc {
        Fc::Saved => {
            put("fc.weight", &[10, 512], 0.1);
            put("fc.bias", &[10], 0.1);
        }
        Fc::Adapted => {
            put("fc.lora_A.weight", &[2, 512], 0.05);
            put("fc.lora_B.weight", &[10, 2], 0.5);
        }
        Fc::Base => {}
    }
    file.write_atomic(dir.join("adapter_model.safetensors"))
        .unwrap();
}

pub fn import(peft: &Path, out: &Path, options: &str) -> assert_cmd::Command {
    let mut command = bayeslora("import");
    command.arg("--peft").arg(peft).arg("--out").arg(out);
    command.args(options.split_whitespace());
    command
}

pub fn picture(dir: &Path) -> PathBuf {
    let path = dir.join("picture.png");
    let shade = |x: u32, y: u32| image::Rgb([(6 * x) as u8, (5 * y) as u8, 90]);
    image::RgbImage::from_fn(40, 40, shade).save(&path).unwrap();
    path
}

#[track_caller]
pub fn refuses(command: &mut assert_cmd::Command, parts: &[&str]) {
    let mut assert = command.assert().code(2).stdout("");
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
    assert.stderr(contains("panicked").not());
}

#[test]
fn an_imported_adapter_is_a_run_that_predicts_is_scored_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let (source, run) = (dir.path().join("peft"), dir.path().join("run"));
    peft(&source, Fc::Saved, json!({}));
    let classes = dir.path().join("classes.txt");
    fs::write(&classes, CIFAR).unwrap();
    let mut command = import(
        &source,
        &run,
        "--backbone embedded --resolution 32 --classes",
    );
    command.arg(&classes);
    command
        .assert()
        .success()
        .stdout(contains("2 ranks in 1 layers, 10 classes at 32 x 32"));
    let imported = adapter(&run);
    let mut expected = Adapter::load_peft(&source).unwrap();
    expected.classes = CIFAR.lines().map(str::to_owned).collect();
    expected.resolution = 32;
    expected.backbone_sha256 = imported.backbone_sha256.clone();
    assert_eq!(imported, expected);
    assert_eq!(
        (imported.scale(), imported.backbone_sha256.len()),
        (3.0, 64)
    );

    let predict = bayeslora("predict --samples 4 --run")
        .arg(&run)
        .arg(picture(dir.path()))
        .assert();
    predict.success().stdout(contains("nats"));
    let eval = bayeslora("eval --data sample --limit-test 20 --json --run")
        .arg(&run)
        .assert();
    eval.success()
        .stderr(contains("nothing says which images it was trained on"));
    let out = dir.path().join("pruned");
    let mut prune = bayeslora("prune --keep-ranks 1 --data sample --json --run");
    let prune = prune.arg(&run).arg("--out").arg(&out).assert();
    prune
        .success()
        .stderr(contains("nothing says which images it was trained on"));
    assert_eq!(adapter(&out).layers[0].rank(), 1);
    // Where the images are has to be said: nobody has recorded it.
    refuses(
        bayeslora("prune --keep-ranks 1 --run").arg(&run),
        &["--data is missing"],
    );
}

static MERGED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let (source, run) = (dir.path().join("peft"), dir.path().join("run"));
    peft(&source, Fc::Saved, json!({}));
    import(&source, &run, "--backbone embedded --resolution 32")
        .assert()
        .success();
    let mut export = bayeslora("export --format merged --run");
    export
        .arg(&run)
        .arg("--to")
        .arg(dir.path().join("merged"))
        .assert()
        .success();
    dir
});

#[test]
fn a_classifier_that_was_not_saved_is_that_of_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let (source, run) = (dir.path().join("peft"), dir.path().join("run"));
    peft(&source, Fc::Adapted, json!({}));
    let base = MERGED.path().join("merged/model.safetensors");
    let mut command = import(&source, &run, "--resolution 32 --backbone");
    command
        .arg(&base)
        .assert()
        .success()
        .stdout(contains("4 ranks in 2 layers, 10 classes"));
    let imported = adapter(&run);
    assert_eq!(imported.head, adapter(&MERGED.path().join("run")).head);
    let head = imported
        .layers
        .iter()
        .find(|layer| layer.name == "fc")
        .unwrap();
    assert_eq!((head.rank(), head.out_channels), (2, 10));
    // What PEFT computes: fc + s B A. The same, merged by export and predicted over the merged backbone.
    let picture = picture(dir.path());
    let probabilities = |run: &Path| {
        let out = dir.path().join("p.npy");
        let mut command = bayeslora("predict --samples 0 --run");
        command.arg(run).arg("--probs-out").arg(&out).arg(&picture);
        command.assert().success();
        read_probabilities(&out).unwrap().values
    };
    let found = probabilities(&run);
    assert!(found.iter().all(|p| p.is_finite()));
    let plain = probabilities(&MERGED.path().join("run"));
    assert!(
        found.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-3),
        "{found:?}"
    );

    // The embedded one has 300 classes.
    let other = dir.path().join("other");
    let mut command = import(&source, &other, "--resolution 32 --backbone embedded");
    refuses(
        &mut command,
        &[
            "--peft",
            "fc with 512 to 10 channels",
            "512 to 300 channels",
        ],
    );
}

#[test]
fn what_cannot_be_imported_is_refused_by_its_option() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("peft"), dir.path().join("run"));
    let all = "--backbone embedded --resolution 32";
    for (extra, says) in [
        (json!({ "use_dora": true }), "use_dora"),
        (json!({ "bias": "all" }), "bias"),
        (json!({ "peft_type": "LOHA" }), "peft_type"),
        (json!({ "layers_to_transform": [1] }), "layers_to_transform"),
    ] {
        peft(&source, Fc::Saved, extra);
        refuses(&mut import(&source, &out, all), &["--peft", says]);
    }
    peft(&source, Fc::Saved, json!({}));
    refuses(
        &mut import(&source, &out, "--backbone embedded"),
        &["--resolution is missing", "224"],
    );
    let names = dir.path().join("classes.txt");
    for (text, says) in [
        (
            "a\nb\n",
            "2 names, and the adapter's classifier has 10 outputs",
        ),
        ("a\nb\nc\nd\ne\nf\ng\nh\ni\na\n", "\"a\" is there twice"),
        (
            "a\n\nc\nd\ne\nf\ng\nh\ni\nj\n",
            "the name of class 1 is empty",
        ),
        ("[1, 2]", "not a JSON list of names"),
        ("", "0 names"),
    ] {
        fs::write(&names, text).unwrap();
        let options = format!("{all} --classes");
        refuses(
            import(&source, &out, &options).arg(&names),
            &["--classes", says],
        );
    }
    // Cut short, empty, of another network.
    let weights = source.join("adapter_model.safetensors");
    let whole = fs::read(&weights).unwrap();
    for (bytes, says) in [
        (&whole[..whole.len() - 9], "cut short"),
        (&[][..], "is empty"),
    ] {
        fs::write(&weights, bytes).unwrap();
        refuses(&mut import(&source, &out, all), &["--peft", says]);
    }
    let mut other = TensorFile::default();
    for (name, shape) in [
        ("layer4.1.conv2.lora_A.weight", &[2, 512, 1, 1][..]),
        ("layer4.1.conv2.lora_B.weight", &[512, 2, 1, 1]),
        ("fc.weight", &[10, 512]),
        ("fc.bias", &[10]),
    ] {
        let count = shape.iter().product();
        other.insert(format!("{PREFIX}{name}"), shape, vec![0.5; count]);
    }
    other.write_atomic(&weights).unwrap();
    refuses(
        &mut import(&source, &out, all),
        &["--peft", "layer4.1.conv2", "3x3 kernel"],
    );
    assert!(!out.exists());
    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "").unwrap();
    refuses(&mut import(&source, &out, all), &["--out", "`mine`"]);
}

const TINY: &str =
    "--data sample --limit-train 60 --limit-test 10 --epochs 1 --resolution 32 --validation 0.2";

/// The last option may take its value from the caller.
pub fn train(out: &Path, options: &str) -> assert_cmd::Command {
    let mut command = bayeslora("train --out");
    command.arg(out).args(TINY.split_whitespace());
    command.args(options.split_whitespace());
    command
}

pub fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn training_goes_on_from_a_run_and_from_a_peft_directory() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = ["1", "2", "3"].map(|name| dir.path().join(name));
    train(
        &first,
        "--rank 3 --targets layer4.1.conv2,fc --threshold 100 --lr 0.01",
    )
    .assert()
    .success();
    // So slowly that nothing moves.
    let still = "--lr 1e-12 --lr-log-alpha 1e-12 --threshold 100 --weight-decay 0 --from";
    train(&second, still).arg(&first).assert().success();
    let (before, after) = (adapter(&first), adapter(&second));
    assert_eq!(
        (before.scale(), &before.method),
        (after.scale(), &after.method)
    );
    for (a, b) in before.layers.iter().zip(&after.layers) {
        assert_eq!((&a.name, &a.rank_ids), (&b.name, &b.rank_ids));
        assert!(close(&a.lora_a, &b.lora_a) && close(&a.lora_b, &b.lora_b));
        assert!(b.lora_b.iter().any(|b| *b != 0.0));
        assert!(close(
            a.log_alpha.as_ref().unwrap(),
            b.log_alpha.as_ref().unwrap()
        ));
    }
    assert!(close(&before.head.weight, &after.head.weight));
    // The images set aside are the same ones.
    let validation = |run: &Path| {
        RunDir::open(run)
            .unwrap()
            .read_data()
            .unwrap()
            .unwrap()
            .validation
    };
    assert_eq!(validation(&first), validation(&second));
    // Resuming needs nothing of the first run.
    fs::remove_dir_all(&first).unwrap();
    let mut resume = bayeslora("train --resume --out");
    resume.arg(&second).assert().success();

    // Another program's, without gates and head: it gets both.
    let source = dir.path().join("peft");
    peft(&source, Fc::Base, json!({}));
    let mut command = train(&third, still);
    let assert = command.arg(&source).assert().success();
    assert.stderr(contains("its head tells other classes apart"));
    let begun = adapter(&third);
    assert_eq!(
        (begun.method.as_str(), begun.classes.len(), begun.scale()),
        ("bayeslora", 10, 3.0)
    );
    let names: Vec<_> = begun
        .layers
        .iter()
        .map(|layer| layer.name.as_str())
        .collect();
    assert_eq!(names, ["layer4.1.conv2"]);
    assert!(begun.layers[0].lora_b.iter().any(|b| *b != 0.0));
    assert_eq!(begun.layers[0].log_alpha, Some(vec![-5.0; 2]));
}

#[test]
fn options_that_the_adapter_decides_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("peft"), dir.path().join("run"));
    peft(&source, Fc::Saved, json!({}));
    for (options, says) in [
        ("--rank 4", "--rank cannot be used with --from"),
        ("--rank auto", "--rank cannot be used with --from"),
        ("--lora-alpha 3", "--lora-alpha cannot be used with --from"),
        ("--targets layer4", "--targets cannot be used with --from"),
        (
            "--method ensemble",
            "--method ensemble cannot be used with --from",
        ),
        ("--resume", "--resume"),
    ] {
        let options = format!("{options} --from");
        refuses(train(&out, &options).arg(&source), &[says]);
    }
    refuses(
        train(&out, "--from").arg(dir.path().join("none")),
        &["--from", "none"],
    );
    assert!(!out.exists());
}

#[test]
fn a_head_goes_on_for_the_classes_that_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, third] = ["1", "2", "3"].map(|name| dir.path().join(name));
    let options = "--rank 2 --targets layer4.1.conv2,fc --lr 0.01";
    // Six images of each class, whatever their number: the split is the same.
    let train = |out: &Path, count: usize, options: &str| {
        let count = format!("--limit-train {count}");
        let tiny = TINY.replace("--limit-train 60", &count);
        let mut command = bayeslora("train --out");
        command.arg(out).args(tiny.split_whitespace());
        command.args(options.split_whitespace());
        command
    };
    train(&first, 54, &format!("{options} --hold-out-classes cat"))
        .assert()
        .success();
    let still = "--lr 1e-12 --lr-log-alpha 1e-12 --threshold 100 --weight-decay 0 --from";
    let assert = train(&second, 60, still).arg(&first).assert().success();
    assert.stderr(contains("its head goes on for 9 classes; cat is new"));
    let (before, after) = (adapter(&first), adapter(&second));
    assert_eq!((before.classes.len(), after.classes.len()), (9, 10));
    let width = before.head.features;
    let fc = |adapter: &Adapter| {
        let layer = adapter.layers.iter().find(|layer| layer.name == "fc");
        layer.unwrap().lora_b.clone()
    };
    let rank = fc(&before).len() / 9;
    for (row, class) in after.classes.iter().enumerate() {
        let now = &after.head.weight[row * width..][..width];
        let adapted = &fc(&after)[row * rank..][..rank];
        let Some(old) = before.classes.iter().position(|known| known == class) else {
            assert_eq!(class, "cat");
            assert!(adapted.iter().all(|b| b.abs() < 1e-6));
            continue;
        };
        assert!(
            close(now, &before.head.weight[old * width..][..width]),
            "{class}"
        );
        assert!(
            close(adapted, &fc(&before)[old * rank..][..rank]),
            "{class}"
        );
    }
    // And back.
    let assert = train(&third, 48, &format!("--hold-out-classes dog,frog {still}"))
        .arg(&second)
        .assert()
        .success();
    assert.stderr(contains("its head goes on for 8 classes; dog, frog go"));
}
