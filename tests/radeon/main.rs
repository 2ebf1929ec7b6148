//! What a real GPU's compiler makes of the kernels, without the GPU: registers, spills, waves and the instructions of
//! the loop that does the work, from Mesa's RADV posing as a Radeon. These are a compiler's figures, not measured times.
//!
//! Which Radeons there are depends on the driver's version: up to RDNA2 with Mesa 22, RDNA4 too from 25 on.
//! `benches/static.sh` makes the table of docs/performance.md with the `statistics` below.

mod assembly;
mod compiler;
#[path = "../kernels/mod.rs"]
mod kernels;

use std::path::Path;
use std::process::Command;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use serde_json::{Value, json};

use compiler::Compiler;
use kernels::{Case, Needs, cases};

/// Where Debian, Fedora and Arch keep the driver's manifest.
const MANIFESTS: [&str; 2] = [
    "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json",
    "/usr/share/vulkan/icd.d/radeon_icd.json",
];

/// Subgroups that a SIMD holds at once, which hide each other's waiting. The fullest tile has six.
const FEWEST_SUBGROUPS: u64 = 6;

/// Kernels that a GPU gets, one for each tile and direction: what else there is differs in the epilogue.
fn representative(case: &Case) -> bool {
    let value = |name| case.value(name);
    match case.shader {
        "conv/tiled" | "conv/matrix" => {
            let whole = [("affine", 1), ("gain", 1)].map(|(name, on)| value(name) == on);
            let ends = match value("backward") {
                0 => whole[0] && value("residual") == 1,
                _ => whole[1] && value("residual") == 1,
            };
            // Apple's matrices are of 8x8, and RDNA's of 16x16.
            ends && value("adapter") == 0
                && value("weighted") == 1
                && value("per_position") == 0
                && (case.shader == "conv/tiled" || value("size") == 16)
        }
        "conv/plain" => false,
        _ => case.needs == Needs::Nothing && value("textured") == 0,
    }
}

fn described(case: &Case) -> String {
    let value = |name| case.value(name);
    let mut text = case.shader.to_owned();
    if ["conv/tiled", "conv/matrix"].contains(&case.shader) {
        text += &format!(" {}x{}", value("rows"), value("cols"));
        if case.shader == "conv/matrix" {
            text += &format!("/{}x{}", value("tall"), value("wide"));
        }
        let parts = [
            ("half", "f16"),
            ("int8", "int8 weights"),
            ("flat", "flat"),
            ("backward", "input gradient"),
        ];
        for (_, part) in parts.iter().filter(|(name, _)| value(name) == 1) {
            text += &format!(", {part}");
        }
    } else {
        let set = case.variables.iter().filter(|(_, value)| *value != 0);
        for (name, value) in set {
            text += &format!(", {name} {value}");
        }
    }
    text
}

/// What the driver says of a kernel, and what its working loop is made of.
fn statistics(compiler: &Compiler, case: &Case) -> Result<Value, String> {
    let source = case.source();
    let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
    let capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32 | case.needs.capabilities();
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| error.emit_to_string(&source))?;
    let spirv = kernels::spirv(&module, &info).map_err(|error| error.to_string())?;
    let compiled = compiler
        .compile(&module, &spirv)
        .map_err(|error| error.to_string())?;
    let mix = assembly::working_loop(&compiled.assembly);
    Ok(json!({
        "device": compiler.name,
        "kernel": described(case),
        "subgroup": compiled.subgroup,
        "statistics": compiled.statistics,
        "loop": {
            "multiply_adds": mix.multiply_adds,
            "matrices": mix.matrices,
            "vector": mix.vector,
            "workgroup": mix.workgroup,
            "memory": mix.memory,
            "scalar": mix.scalar,
            "arithmetic": mix.arithmetic(compiled.subgroup),
        },
    }))
}

/// Not a test: a line of JSON for each kernel on the Radeon that `RADV_FORCE_FAMILY` names.
#[test]
#[ignore = "benches/static.sh and the test below run it in a process of its own, with the driver's variables"]
fn table() {
    let compiler = Compiler::open().expect("RADV posing as a Radeon");
    for case in cases().iter().filter(|case| representative(case)) {
        if case.needs == Needs::Matrices && !compiler.matrices {
            continue;
        }
        let found = statistics(&compiler, case).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        println!("{found}");
    }
}

#[test]
fn no_kernel_spills_on_a_radeon() {
    let Some(manifest) = MANIFESTS.iter().find(|path| Path::new(path).is_file()) else {
        println!("not tested: RADV is not installed (Debian: mesa-vulkan-drivers)");
        return;
    };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "table", "--nocapture"])
        .env("VK_ICD_FILENAMES", manifest)
        .env_remove("VK_DRIVER_FILES")
        .env("RADV_FORCE_FAMILY", "NAVI21")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(found.len() > 50, "{} kernels", found.len());
    for kernel in found {
        let count = |name: &str| {
            let value = &kernel["statistics"][name];
            value
                .as_u64()
                .unwrap_or_else(|| panic!("no {name}: {kernel}"))
        };
        for spilled in ["Spilled SGPRs", "Spilled VGPRs", "Scratch size"] {
            assert_eq!(count(spilled), 0, "{spilled}: {kernel}");
        }
        assert!(count("Subgroups per SIMD") >= FEWEST_SUBGROUPS, "{kernel}");
    }
}
