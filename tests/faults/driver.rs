//! A driver that fails at its n-th call: typed errors, exit codes that mean something, never a panic and
//! never another answer with status 0.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

const LOST: i32 = -4;
const OUT_OF_MEMORY: i32 = -2;

const RUN: &str = "train --data sample --limit-train 16 --limit-test 4 --epochs 2 --resolution 32 --rank 2 \
                   --targets layer4.1 --validation 0 --augment none --batch-size 8";

/// The driver of `driver.c` in front of the software one.
struct Driver {
    folder: tempfile::TempDir,
    behind: PathBuf,
}

impl Driver {
    /// `None`, telling why, where it cannot be made.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let Some(behind) = software_driver() else {
            eprintln!("skipped: no llvmpipe for Vulkan here");
            return None;
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/driver.c");
        let library = folder.path().join("libfault.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler here");
            return None;
        }
        let manifest = json!({
            "file_format_version": "1.0.0",
            "ICD": { "library_path": library, "api_version": "1.3.0" },
        });
        fs::write(folder.path().join("icd.json"), manifest.to_string()).unwrap();
        Some(Self { folder, behind })
    }

    /// Trains with this driver into `out`.
    fn train(&self, out: &Path, fault: &[(&str, String)]) -> Output {
        let manifest = self.folder.path().join("icd.json");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bayeslora"));
        command
            .env_remove("BAYESLORA_ADAPTER")
            .env("VK_ICD_FILENAMES", &manifest)
            .env("VK_DRIVER_FILES", &manifest)
            .env("FAULT_DRIVER", &self.behind)
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        // The driver behind finds its compiled shaders where it always does.
        if let (Some(home), None) = (std::env::home_dir(), std::env::var_os("XDG_CACHE_HOME")) {
            command.env("MESA_SHADER_CACHE_DIR", home.join(".cache"));
        }
        command.envs(fault.iter().map(|(name, value)| (name, value)));
        command.args(RUN.split_whitespace()).arg("--out").arg(out);
        command.output().unwrap()
    }

    /// How often each call comes in a run without a fault, and the adapter that the run leaves.
    fn sound(&self) -> (BTreeMap<String, usize>, Vec<u8>) {
        let (out, total) = (
            self.folder.path().join("sound"),
            self.folder.path().join("total"),
        );
        let output = self.train(&out, &[("FAULT_TOTAL", total.display().to_string())]);
        assert!(output.status.success(), "{}", text(&output));
        let text = fs::read_to_string(total).unwrap();
        let lines = text.lines().map(|line| line.split_once(' ').unwrap());
        let calls = lines.map(|(name, count)| (name.to_owned(), count.parse().unwrap()));
        (calls.collect(), weights(&out))
    }

    /// Trains with a fault at the n-th call; the status.
    fn fails(&self, call: &str, at: usize, code: i32, sound: &[u8]) -> i32 {
        let out = self.folder.path().join("faulty");
        let _ = fs::remove_dir_all(&out);
        let output = self.train(
            &out,
            &[
                ("FAULT_CALL", call.into()),
                ("FAULT_AT", at.to_string()),
                ("FAULT_CODE", code.to_string()),
            ],
        );
        let said = text(&output);
        let case = format!("{call} {at} returns {code}: {:?}\n{said}", output.status);
        let status = output.status.code().unwrap_or_else(|| panic!("{case}"));
        assert!(!said.contains("panicked"), "{case}");
        match status {
            // What can be done without.
            0 => assert!(weights(&out) == sound, "another answer: {case}"),
            2 | 3 => assert!(said.contains("error: "), "{case}"),
            _ => panic!("{case}"),
        }
        if status == 3 {
            assert!(said.contains("device was lost"), "{case}");
        }
        status
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The adapter that a run has left.
fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("adapter/adapter_model.safetensors")).unwrap()
}

/// The library that Mesa's manifest for llvmpipe names.
fn software_driver() -> Option<PathBuf> {
    let manifests = fs::read_dir("/usr/share/vulkan/icd.d").ok()?;
    let mut paths = manifests.filter_map(|entry| Some(entry.ok()?.path()));
    let manifest = paths.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("lvp_icd")
    })?;
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(manifest).ok()?).ok()?;
    Some(manifest["ICD"]["library_path"].as_str()?.into())
}

#[test]
fn a_failing_driver_is_told_of() {
    let Some(driver) = Driver::new() else { return };
    let (calls, sound) = driver.sound();
    for (call, code, expected) in [
        ("vkCreateDevice", LOST, &[2, 3][..]),
        ("vkQueueSubmit", LOST, &[3]),
        ("vkWaitSemaphores", LOST, &[3]),
        // The allocator may find another way, or training without resident images.
        ("vkAllocateMemory", OUT_OF_MEMORY, &[0, 2, 3]),
        ("vkCreateComputePipelines", OUT_OF_MEMORY, &[3]),
    ] {
        let count = calls[call];
        assert!(count > 0, "{call} is never called");
        // In the midst of training, and near its end.
        for at in [count.div_ceil(2), count - count / 8] {
            let status = driver.fails(call, at, code, &sound);
            assert!(expected.contains(&status), "{call} {at}: {status}");
        }
    }
}

/// Every call, at a few places.
#[test]
#[ignore = "takes minutes: for a change of wgpu"]
fn every_call_of_the_driver_may_fail() {
    let Some(driver) = Driver::new() else { return };
    let (calls, sound) = driver.sound();
    for (call, count) in calls {
        for code in [LOST, OUT_OF_MEMORY] {
            let mut found = BTreeMap::<i32, usize>::new();
            for at in (1..=count).step_by((count / 3).max(1)) {
                *found
                    .entry(driver.fails(&call, at, code, &sound))
                    .or_default() += 1;
            }
            println!("{call}: {count} calls, {code}: {found:?}");
        }
    }
}
