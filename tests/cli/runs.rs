//! Runs that are shared, interrupted and damaged: every command leaves something whole, and says what is not.

use std::fs::{self, File};
#[cfg(unix)]
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use assert_cmd::Command;
#[cfg(unix)]
use nix::sys::signal::{SigHandler, Signal as HandledSignal, signal as set_handler};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::program::copy;

const TINY: &str = "--data sample --limit-train 100 --limit-test 10 --rank 2 --targets layer4.1 \
                    --resolution 32 --validation 0.2 --batch-size 8 --epochs 3";

/// Three epochs, finished.
static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    bayeslora("train --out", &dir.path().join("run"), TINY)
        .assert()
        .success();
    dir
});

fn bayeslora(command: &str, run: &Path, options: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
    program
        .env_remove("BAYESLORA_ADAPTER")
        .args(command.split_whitespace())
        .arg(run)
        .args(options.split_whitespace());
    program
}

fn resume(run: &Path) -> Command {
    bayeslora("train --resume --out", run, "")
}

/// A copy of the finished run.
fn run() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    copy(&TRAINED.path().join("run"), &run);
    (dir, run)
}

/// The same without its last checkpoint: it goes on from the second epoch.
fn unfinished() -> (TempDir, PathBuf) {
    let (dir, run) = run();
    fs::remove_file(run.join("checkpoint/state.safetensors")).unwrap();
    (dir, run)
}

/// What training has made, byte for byte.
fn weights(run: &Path) -> Vec<Vec<u8>> {
    let names = [
        "adapter/adapter_model.safetensors",
        "adapter/bayeslora.safetensors",
        "adapter/bayeslora.json",
        "checkpoint/state.safetensors",
    ];
    names.map(|name| fs::read(run.join(name)).unwrap()).into()
}

#[track_caller]
fn is_as_trained(run: &Path) {
    is_as(run, &TRAINED.path().join("run"));
}

#[track_caller]
fn is_as(run: &Path, whole: &Path) {
    assert!(weights(run) == weights(whole), "other bits");
    let lines = |run: &Path| {
        fs::read_to_string(run.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .count()
    };
    assert_eq!(lines(run), lines(whole));
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A command that a test interferes with.
fn prepare(line: &str, run: &Path, options: &str) -> Process {
    let mut command = Process::new(env!("CARGO_BIN_EXE_bayeslora"));
    command
        .env_remove("BAYESLORA_ADAPTER")
        .args(line.split_whitespace())
        .arg(run)
        .args(options.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(line: &str, run: &Path, options: &str) -> Child {
    prepare(line, run, options).spawn().unwrap()
}

/// The same, finding SIGHUP handled in this way: that of the tests' own process may be `nohup`'s.
#[cfg(unix)]
fn start_with_hangup(hangup: SigHandler, line: &str, run: &Path, options: &str) -> Child {
    let mut command = prepare(line, run, options);
    // SAFETY: between fork and exec it only says what is done about one signal.
    unsafe {
        command.pre_exec(move || {
            set_handler(HandledSignal::SIGHUP, hangup)?;
            Ok(())
        })
    };
    command.spawn().unwrap()
}

#[track_caller]
fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !what() {
        assert!(Instant::now() < deadline, "it did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn ends(child: Child, code: i32, parts: &[&str]) -> Output {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
    output
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    use rustix::process::{Pid, Signal, kill_process};
    let signal = match name {
        "INT" => Signal::INT,
        "TERM" => Signal::TERM,
        "HUP" => Signal::HUP,
        "KILL" => Signal::KILL,
        _ => panic!("{name} is not sent"),
    };
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn epochs(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

#[cfg(unix)]
#[test]
fn every_signal_leaves_a_run_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // Long enough for a signal to come on the way, on a busy machine too.
    let long = TINY.replace("--epochs 3", "--epochs 12");
    let whole = dir.path().join("whole");
    bayeslora("train --out", &whole, &long).assert().success();
    for name in ["INT", "TERM", "HUP"] {
        let run = dir.path().join(name);
        let child = start_with_hangup(SigHandler::SigDfl, "train --out", &run, &long);
        wait_for(|| epochs(&run) > 0);
        signal(&child, name);
        ends(child, 130, &["stopping", "--resume"]);
        resume(&run).assert().success();
        is_as(&run, &whole);
    }
}

#[cfg(unix)]
#[test]
fn what_nohup_starts_does_not_stop_when_it_is_hung_up() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let child = start_with_hangup(SigHandler::SigIgn, "train --out", &run, TINY);
    wait_for(|| epochs(&run) > 0);
    signal(&child, "HUP");
    ends(child, 0, &[]);
    is_as_trained(&run);
}

#[cfg(unix)]
#[test]
fn signals_before_training_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let child = start("train --out", &run, TINY);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "TERM");
    ends(child, 130, &["stopped"]);
    assert!(!run.exists());
    bayeslora("train --out", &run, TINY).assert().success();
    is_as_trained(&run);
}

#[cfg(unix)]
#[test]
fn a_hangup_that_is_ignored_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let child = Process::new("sh")
        .args([
            "-c",
            "trap '' HUP; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_bayeslora"),
        ])
        .args(["train", "--out"])
        .arg(&run)
        .args(TINY.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(|| epochs(&run) > 0);
    signal(&child, "HUP");
    ends(child, 0, &[]);
    is_as_trained(&run);
}

#[cfg(unix)]
#[test]
fn a_second_writer_is_refused_and_a_killed_one_is_not_waited_for() {
    let (_dir, run) = unfinished();
    let child = start("train --resume --out", &run, "");
    let lock = run.join("lock");
    wait_for(|| fs::read_to_string(&lock).is_ok_and(|text| text.contains("process")));
    let holder = format!("being written by process {}", child.id());
    for line in [
        "train --resume --out",
        "laplace --data sample --structure last-layer-full --run",
        "eval --data sample --temperature --run",
    ] {
        bayeslora(line, &run, "")
            .assert()
            .code(2)
            .stderr(contains(holder.clone()).and(contains("train --resume")));
    }
    // Who only reads does not ask.
    bayeslora("plan --mode forward --batch-size 2 --run", &run, "")
        .assert()
        .success();
    signal(&child, "KILL");
    drop(child.wait_with_output().unwrap());
    resume(&run).assert().success();
    is_as_trained(&run);
}

#[test]
fn a_checkpoint_that_is_damaged_gives_way_and_one_that_is_gone_is_told() {
    let (_dir, run) = run();
    let [newest, previous] = ["state", "previous"].map(|name| {
        run.join("checkpoint")
            .join(name)
            .with_extension("safetensors")
    });
    let length = fs::metadata(&newest).unwrap().len();
    let cut = |path: &Path| {
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(length / 2)
            .unwrap()
    };
    flip(&newest, length as usize - 3);
    resume(&run).assert().success().stderr(
        contains("warning: ")
            .and(contains("state.safetensors` was damaged"))
            .and(contains("goes on from the checkpoint before, of epoch 2")),
    );
    is_as_trained(&run);
    cut(&newest);
    resume(&run)
        .assert()
        .success()
        .stderr(contains("state.safetensors"));
    is_as_trained(&run);
    cut(&newest);
    cut(&previous);
    resume(&run)
        .assert()
        .code(2)
        .stderr(contains("state.safetensors"));
    fs::remove_dir_all(run.join("checkpoint")).unwrap();
    resume(&run)
        .assert()
        .code(2)
        .stderr(contains("checkpoint` does not exist").and(contains("--config")));
}

#[test]
fn a_run_that_is_removed_while_it_trains_ends_with_an_error() {
    for name in ["config.toml", ""] {
        let (_dir, run) = unfinished();
        let child = start("train --resume --out", &run, "");
        let lock = run.join("lock");
        wait_for(|| fs::read_to_string(&lock).is_ok_and(|text| text.contains("process")));
        match name {
            "" => fs::remove_dir_all(&run).unwrap(),
            file => fs::remove_file(run.join(file)).unwrap(),
        }
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{text}");
        assert!(
            text.contains("run/") && !text.contains("panicked"),
            "{text}"
        );
        assert!(
            !name.is_empty() || !run.exists(),
            "the removed run was made again"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_does_not_stop_training() {
    for options in ["", "--json"] {
        let (_dir, run) = unfinished();
        let mut child = start("train --resume --out", &run, options);
        drop(child.stdout.take());
        drop(child.stderr.take());
        ends(child, 0, &[]);
        is_as_trained(&run);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_on_standard_output_is_told() {
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let (_dir, run) = unfinished();
    for line in [
        "train --resume --out",
        "plan --mode forward --batch-size 2 --run",
        "devices",
    ] {
        let mut child = Process::new(env!("CARGO_BIN_EXE_bayeslora"));
        child
            .env_remove("BAYESLORA_ADAPTER")
            .args(line.split_whitespace());
        if line.ends_with("--out") || line.ends_with("--run") {
            child.arg(&run);
        }
        let child = child.stdout(full()).stderr(Stdio::piped()).spawn().unwrap();
        ends(
            child,
            1,
            &["cannot write to standard output", "No space left"],
        );
    }
    resume(&run).assert().success();
    is_as_trained(&run);
}

/// A limit on the size of files stands for the full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_epoch() {
    let (_dir, run) = unfinished();
    let limited = |arguments: &[&str]| {
        // In blocks of 512 or 1024 bytes: above the adapter's size, below the checkpoint's.
        let size = fs::metadata(run.join("checkpoint/previous.safetensors"))
            .unwrap()
            .len();
        let script = format!(
            "trap '' XFSZ; ulimit -f {}; exec \"$@\"",
            size / 1024 * 9 / 10
        );
        Process::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_bayeslora")])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let out = run.to_str().unwrap();
    let says = [
        "epoch 3 could not be kept",
        "state.safetensors.partial",
        "--resume",
    ];
    ends(limited(&["train", "--resume", "--out", out]), 1, &says);
    resume(&run).assert().success();
    is_as_trained(&run);

    // At the very start: nothing was trained, and the start can be made again.
    let other = run.join("other");
    let mut arguments = vec!["train", "--out", other.to_str().unwrap()];
    arguments.extend(TINY.split_whitespace());
    ends(limited(&arguments), 1, &["state.safetensors.partial"]);
    resume(&other)
        .assert()
        .code(2)
        .stderr(contains("start it again"));
    bayeslora("train --out", &other, TINY).assert().success();
    is_as_trained(&other);
}

#[test]
fn scores_that_cannot_be_kept_are_printed_first() {
    let (_dir, run) = run();
    let test = "--data sample --limit-test 10";
    // Something in the way stands for a read-only directory.
    fs::write(run.join("laplace"), "in the way").unwrap();
    bayeslora("laplace --structure last-layer-full --run", &run, test)
        .assert()
        .code(1)
        .stdout(contains("accuracy"))
        .stderr(contains("the scores could not be kept").and(contains("laplace")));
    fs::create_dir(run.join("adapter/temperature.json.partial")).unwrap();
    bayeslora("eval --temperature --force --run", &run, test)
        .assert()
        .code(1)
        .stdout(contains("accuracy").and(contains("not kept")))
        .stderr(contains("the temperature could not be kept"));
    bayeslora("eval --temperature --force --json --run", &run, test)
        .assert()
        .code(1)
        .stdout(contains("\"kept\":false").or(contains("\"kept\": false")));
    fs::create_dir(run.join("results.json.partial")).unwrap();
    resume(&run)
        .assert()
        .code(1)
        .stdout(contains("mean weights"))
        .stderr(contains("the scores could not be kept"));
}

#[test]
fn a_flipped_bit_in_a_run_is_never_used() {
    let (dir, run) = run();
    let image = dir.path().join("image.png");
    image::RgbImage::new(32, 32).save(&image).unwrap();
    let image = image.display().to_string();
    for name in [
        "config.toml",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/bayeslora.json",
        "adapter/bayeslora.safetensors",
    ] {
        let path = run.join(name);
        let before = fs::read(&path).unwrap();
        flip(&path, before.len() - 7);
        let file = name.rsplit('/').next().unwrap();
        for (line, options) in [
            ("predict --run", &*image),
            ("eval --data sample --run", ""),
            ("prune --threshold 0 --run", ""),
            (
                "laplace --data sample --structure last-layer-full --run",
                "",
            ),
        ] {
            bayeslora(line, &run, options)
                .assert()
                .code(2)
                .stdout("")
                .stderr(contains(file));
        }
        fs::write(&path, before).unwrap();
    }
}

#[test]
fn a_temperature_speaks_for_its_own_weights_alone() {
    let (dir, run) = run();
    let image = dir.path().join("image.png");
    image::RgbImage::new(32, 32).save(&image).unwrap();
    let temperature = run.join("adapter/temperature.json");
    bayeslora(
        "eval --samples 2 --temperature --force --run",
        &run,
        "--data sample --limit-test 10",
    )
    .assert()
    .success();
    let other = dir.path().join("other");
    let options = TINY.replace("--epochs 3", "--epochs 1");
    bayeslora("train --out", &other, &options)
        .assert()
        .success();
    fs::copy(&temperature, other.join("adapter/temperature.json")).unwrap();
    bayeslora("predict --samples 2 --temperature --run", &other, "")
        .arg(&image)
        .assert()
        .code(2)
        .stderr(contains("temperature.json").and(contains("another adapter")));
}

/// Both begin before either has made its run.
#[test]
fn two_that_start_at_once_take_a_directory_each() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("train {TINY} --seed");
    let begin = |seed: &str| {
        let mut command = prepare(&line, Path::new(seed), "");
        command.current_dir(dir.path()).spawn().unwrap()
    };
    for child in ["1", "2"].map(begin) {
        ends(child, 0, &[]);
    }
    for run in ["runs/sample", "runs/sample-2"] {
        assert_eq!(epochs(&dir.path().join(run)), 3, "{run}");
    }
}

/// Images that are not there: of the directory that was meant for the run nothing is left.
#[test]
fn a_start_that_fails_leaves_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("runs/deep/run");
    bayeslora("train --data nowhere --out", &place, "")
        .assert()
        .code(2)
        .stderr(contains("nowhere: no such directory"));
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn a_page_says_what_is_missing_of_its_training_curves() {
    let (_dir, run) = run();
    let metrics = run.join("metrics.jsonl");
    let whole = fs::read_to_string(&metrics).unwrap();
    let report = || bayeslora("report --samples 0 --run", &run, "");
    report()
        .assert()
        .success()
        .stderr(contains("metrics.jsonl").not());
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let without_second = [lines[0], lines[2]].concat();
    let changed = whole.replacen("\"epoch\":2", "\"epoch\":9", 1);
    for (text, said) in [
        (
            &whole[..lines[0].len() / 2],
            "has 0 of the 3 epochs that were trained",
        ),
        (
            &whole[..whole.len() - 9],
            "has 2 of the 3 epochs that were trained",
        ),
        (&without_second, "the lines of some epochs are not there"),
        (&changed, "metrics.jsonl:2` was damaged"),
    ] {
        fs::write(&metrics, text).unwrap();
        report()
            .assert()
            .success()
            .stderr(contains("warning: ").and(contains(said)));
        let page = fs::read_to_string(run.join("report.html")).unwrap();
        assert!(page.contains("metrics.jsonl"), "{said}");
    }
    fs::remove_file(&metrics).unwrap();
    report()
        .assert()
        .success()
        .stderr(contains("has 0 of the 3 epochs"));
}
