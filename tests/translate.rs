//! Every shader with every combination of template variables that the engine uses: valid, and
//! translated for Vulkan (SPIR-V), Metal (MSL) and DirectX 12 (HLSL; not the cooperative matrices,
//! which naga cannot write for it), whatever this system has.
//!
//! This shows that naga can write each kernel for each back end, not that the vendor's compiler
//! takes it, and not that it is right: `operations.rs` runs what this adapter can.

use std::collections::BTreeSet;

use bayeslora::low_level::gpu::shaders::SHADERS;
use naga::back::{hlsl, msl};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::prelude::*;

use kernels::{Case, Needs, cases, spirv};

#[path = "kernels/mod.rs"]
mod kernels;

/// WebGPU's default limits.
const STORAGE_BUFFERS: usize = 8;
const INVOCATIONS: u32 = 256;

/// Files that are parts of others.
const INCLUDES: &[&str] = &[
    "adapter/down_interface",
    "adapter/outer_interface",
    "common/bilinear",
    "common/divergence",
    "common/draw",
    "common/height",
    "common/map",
    "common/philox",
    "common/picture",
    "common/ranks",
    "common/reach",
    "common/step",
    "common/taps",
    "common/weights",
    "conv/epilogue",
    "conv/int8",
    "conv/interface",
    "conv/tiles",
    "conv/winograd",
    "pool/window",
];

#[test]
fn no_shader_is_forgotten() {
    let files: BTreeSet<_> = SHADERS.iter().map(|(name, _)| *name).collect();
    let translated: BTreeSet<_> = cases().iter().map(|case| case.shader).collect();
    let includes: BTreeSet<_> = INCLUDES.iter().copied().collect();
    assert!(translated.is_disjoint(&includes));
    let known: BTreeSet<_> = translated.union(&includes).copied().collect();
    assert_eq!(
        files, known,
        "SHADERS against what is translated or included"
    );
    // And SHADERS against the folder: a file that is not embedded is dead.
    let mut found = BTreeSet::new();
    for room in std::fs::read_dir("shaders").unwrap() {
        let room = room.unwrap();
        for file in std::fs::read_dir(room.path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            found.insert(format!("{}/{name}", room.file_name().to_str().unwrap()));
        }
    }
    let files: BTreeSet<String> = files.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(files, found, "SHADERS against the folder");
    // A part is included by somebody.
    for part in INCLUDES {
        let lines = ["include", "from"].map(|word| format!("//# {word} \"{part}\""));
        let used = |text: &str| lines.iter().any(|line| text.contains(line));
        assert!(
            SHADERS.iter().any(|(_, text)| used(text)),
            "nobody includes {part}"
        );
    }
}

/// Parsed, valid, within default limits if it is for every device, translated three times.
fn check(case: &Case) -> Result<[usize; 3], String> {
    let source = case.source();
    let module = naga::front::wgsl::parse_str(&source).map_err(|e| e.emit_to_string(&source))?;
    // unpack2x16float is plain WGSL. naga has a flag for it because OpenGL may lack it, which is not
    // among the back ends; wgpu has it as a downlevel flag and no feature.
    let everywhere = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let validator = |capabilities| Validator::new(ValidationFlags::all(), capabilities);
    let mut needed = validator(everywhere | case.needs.capabilities());
    for capability in case.needs.capabilities() {
        // What says that it needs the feature had better be right.
        let rest = everywhere | (case.needs.capabilities() - capability);
        if validator(rest).validate(&module).is_ok() {
            return Err(format!("it needs no {capability:?}"));
        }
    }
    let info = needed
        .validate(&module)
        .map_err(|error| error.emit_to_string(&source))?;

    let storage = |space: naga::AddressSpace| matches!(space, naga::AddressSpace::Storage { .. });
    let globals = || module.global_variables.iter();
    let buffers = globals()
        .filter(|(_, global)| storage(global.space))
        .count();
    if buffers > STORAGE_BUFFERS {
        return Err(format!("{buffers} storage buffers"));
    }
    let mut places = BTreeSet::new();
    for binding in globals().filter_map(|(_, global)| global.binding.as_ref()) {
        if !places.insert((binding.group, binding.binding)) {
            return Err(format!("binding {} twice", binding.binding));
        }
    }
    let [entry] = &module.entry_points[..] else {
        return Err("one entry point, please".into());
    };
    let staged = globals()
        .filter(|(_, global)| global.space == naga::AddressSpace::WorkGroup)
        .map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx()))
        .sum::<u32>();
    if staged > case.needs.workgroup_bytes() {
        return Err(format!("{staged} bytes of workgroup memory"));
    }
    let invocations: u32 = entry.workgroup_size.iter().product();
    if invocations > INVOCATIONS {
        return Err(format!("{invocations} invocations"));
    }

    let spirv = spirv(&module, &info).map_err(|error| format!("SPIR-V: {error}"))?;
    let options = msl::Options {
        lang_version: case.needs.metal(),
        force_loop_bounding: false,
        ..Default::default()
    };
    let (metal, _) = msl::write_string(&module, &info, &options, &Default::default())
        .map_err(|error| format!("MSL: {error}"))?;
    let mut direct = String::new();
    if let Some(shader_model) = case.needs.direct() {
        let options = hlsl::Options {
            shader_model,
            restrict_indexing: false,
            force_loop_bounding: false,
            ..Default::default()
        };
        hlsl::Writer::new(&mut direct, &options, &Default::default())
            .write(&module, &info, None)
            .map_err(|error| format!("HLSL: {error}"))?;
    }
    Ok([spirv.len() * 4, metal.len(), direct.len()])
}

#[test]
fn every_shader_translates() {
    let cases = cases();
    let results: Vec<_> = cases.par_iter().map(|case| (case, check(case))).collect();
    let mut failures = Vec::new();
    let mut sizes = [0; 3];
    for (case, result) in results {
        match result {
            Err(error) => failures.push(format!("{case:?}: {error}")),
            Ok(written) => {
                let back_ends = 2 + usize::from(case.needs.direct().is_some());
                assert!(written[..back_ends].iter().all(|written| *written > 0));
                for (size, written) in sizes.iter_mut().zip(written) {
                    *size += written;
                }
            }
        }
    }
    let plain = |case: &&Case| case.needs == Needs::Nothing;
    let plain = cases.iter().filter(plain).count();
    println!(
        "{} kernels, {plain} of them plain; SPIR-V, MSL and HLSL: {sizes:?} bytes",
        cases.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
