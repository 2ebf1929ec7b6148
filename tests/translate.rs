//! Every shader with every combination of template variables that the engine uses: valid, and
//! translated for Vulkan (SPIR-V), Metal (MSL) and DirectX 12 (HLSL; not the cooperative matrices,
//! which naga cannot write for it), whatever this system has.
//!
//! This shows that naga can write each kernel for each back end, not that the vendor's compiler
//! takes it, and not that it is right: `operations.rs` runs what this adapter can.

use std::collections::BTreeSet;

use bayeslora::low_level::gpu::Variables;
use bayeslora::low_level::gpu::shaders::{SHADERS, render};
use bayeslora::low_level::model::{MatrixTile, Tile};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use rayon::prelude::*;

/// WebGPU's default limits.
const STORAGE_BUFFERS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 * 1024;

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
    "pool/window",
];

/// Where feature maps live.
const BUFFERS: (&str, u32) = ("textured", 0);
const TEXTURES: (&str, u32) = ("textured", 1);

/// Subgroup sizes that `KernelChoice::for_gpu` takes.
const LANES: [u32; 5] = [4, 8, 16, 32, 64];

#[derive(Clone, Debug)]
struct Case {
    shader: &'static str,
    variables: Vec<(&'static str, u32)>,
    needs: Needs,
}

/// What a device must have beyond WebGPU's default limits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    Nothing,
    Subgroups,
    Halves,
    /// No DirectX: naga writes cooperative matrices for Vulkan and Metal only.
    Matrices,
}

impl Needs {
    fn capabilities(self) -> Capabilities {
        match self {
            Self::Nothing => Capabilities::empty(),
            Self::Subgroups => Capabilities::SUBGROUP,
            Self::Halves => Capabilities::SHADER_FLOAT16,
            Self::Matrices => {
                Capabilities::SHADER_FLOAT16
                    | Capabilities::SUBGROUP
                    | Capabilities::COOPERATIVE_MATRIX
            }
        }
    }

    /// WebGPU's default limit. Devices with matrix units have twice as much (Apple) or more; a tile is a
    /// candidate where it fits what the adapter says.
    fn workgroup_bytes(self) -> u32 {
        match self {
            Self::Matrices => 2 * WORKGROUP_BYTES,
            _ => WORKGROUP_BYTES,
        }
    }

    /// The oldest Metal language: 2.0 is the oldest that wgpu takes.
    fn metal(self) -> (u8, u8) {
        match self {
            Self::Nothing | Self::Halves => (2, 0),
            Self::Subgroups => (2, 1),
            Self::Matrices => (2, 3),
        }
    }

    /// The oldest shader model: 5.1 is for the old compiler (FXC), the others for DXC.
    fn direct(self) -> Option<hlsl::ShaderModel> {
        match self {
            Self::Nothing => Some(hlsl::ShaderModel::V5_1),
            Self::Subgroups => Some(hlsl::ShaderModel::V6_0),
            Self::Halves => Some(hlsl::ShaderModel::V6_2),
            Self::Matrices => None,
        }
    }
}

/// What a convolution's epilogue does, forward and back, as `Epilogue::record` names it.
fn epilogues() -> [Vec<Vec<(&'static str, u32)>>; 2] {
    // The frozen stem and first convolutions, downsampling, and the end of a block.
    let forward = [(0, 1), (0, 0), (1, 1)].map(|(residual, relu)| [1, 0, residual, relu, 0]);
    // Back through a second convolution, downsampling, and a first convolution.
    let backward = [(1, 0, 1), (0, 0, 0), (0, 1, 1)]
        .map(|(gain, residual, mask)| [0, gain, residual, 0, mask]);
    // W * x alone.
    let nothing = [0; 5];
    let names = ["affine", "gain", "residual", "relu", "mask"];
    let named = |values: &[u32; 5]| names.into_iter().zip(*values).collect();
    [forward, backward].map(|all| all.iter().chain([&nothing]).map(named).collect())
}

/// All that a convolution's product can be asked for.
fn products() -> Vec<Vec<(&'static str, u32)>> {
    let mut all = Vec::new();
    for (backward, epilogues) in (0..).zip(epilogues()) {
        for epilogue in epilogues {
            for (adapter, weighted, per_position, int8) in [
                (0, 1, 0, 0),
                (1, 1, 0, 0),
                (0, 1, 1, 0),
                (0, 0, 0, 0),
                (1, 0, 0, 0),
                (0, 1, 0, 1),
                (1, 1, 0, 1),
            ] {
                let own = [
                    ("backward", backward),
                    ("adapter", adapter),
                    ("weighted", weighted),
                    ("per_position", per_position),
                    ("int8", int8),
                ];
                all.push([&epilogue[..], &own].concat());
            }
        }
    }
    all
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut push = |shader, variables: &[(&'static str, u32)], needs| {
        cases.push(Case {
            shader,
            variables: variables.to_vec(),
            needs,
        });
    };
    for product in products() {
        let plain = [BUFFERS, ("rows", 4)];
        push(
            "conv/plain",
            &[&product[..], &plain].concat(),
            Needs::Nothing,
        );
        let direct = product.contains(&("weighted", 1)) && product.contains(&("per_position", 0));
        let forward = product.contains(&("backward", 0));
        for flat in 0..if direct && forward { 2 } else { 1 } {
            let product = [&product[..], &[("flat", flat)]].concat();
            for tile in Tile::ALL {
                let tiled = [&product[..], &tile.variables()].concat();
                let with = |half| [&tiled[..], &[("half", half)]].concat();
                push("conv/tiled", &with(0), Needs::Nothing);
                if direct {
                    push("conv/tiled", &with(1), Needs::Halves);
                }
            }
            for (size, scalars) in [(8, 1), (8, 0), (16, 0)] {
                for tile in MatrixTile::ALL {
                    let matrices = [("size", size), ("scalars", scalars)];
                    let matrix = [&product[..], &tile.variables(), &matrices].concat();
                    if direct {
                        push("conv/matrix", &matrix, Needs::Matrices);
                    }
                }
            }
        }
        for lanes in LANES {
            for (rows, vecs) in [(8, 1), (16, 1), (32, 1), (32, 2), (64, 1)] {
                let tile = [TEXTURES, ("lanes", lanes), ("rows", rows), ("vecs", vecs)];
                for narrow in 0..if (rows, vecs) == (32, 1) { 4 } else { 1 } {
                    let narrow = [("narrow", narrow)];
                    push(
                        "conv/texture",
                        &[&product[..], &tile, &narrow].concat(),
                        Needs::Subgroups,
                    );
                }
            }
        }
    }
    for memory in [BUFFERS, TEXTURES] {
        for epilogue in epilogues().concat() {
            push(
                "conv/winograd_output",
                &[&epilogue[..], &[memory]].concat(),
                Needs::Nothing,
            );
        }
    }
    for flag in [0, 1] {
        let (biased, gated) = (("biased", flag), ("gated", flag));
        for shader in ["adapter/down_plain", "adapter/down_tiled"] {
            push(shader, &[biased, BUFFERS], Needs::Nothing);
        }
        for shader in ["adapter/outer_plain", "adapter/outer_tiled"] {
            push(shader, &[gated, BUFFERS], Needs::Nothing);
        }
        for lanes in LANES {
            for memory in [BUFFERS, TEXTURES] {
                for rows in [1, 2] {
                    let tile = [biased, memory, ("lanes", lanes), ("rows", rows)];
                    push("adapter/down_broadcast", &tile, Needs::Subgroups);
                }
                push(
                    "adapter/outer_broadcast",
                    &[gated, memory, ("lanes", lanes)],
                    Needs::Subgroups,
                );
            }
        }
        for based in [0, 1] {
            push(
                "adapter/up",
                &[("gated", flag), ("based", based)],
                Needs::Nothing,
            );
        }
    }
    for prior in 0..3 {
        push("adapter/log_alpha", &[("prior", prior)], Needs::Nothing);
    }
    for (normal, based) in [(1, 1), (1, 0), (0, 0)] {
        let variables = [("normal", normal), ("based", based)];
        push("corruptions/random", &variables, Needs::Nothing);
    }
    for bernoulli in [0, 1] {
        push("adapter/gates", &[("bernoulli", bernoulli)], Needs::Nothing);
    }
    for shader in [
        "adapter/gate_gradient",
        "adapter/reduce",
        "adapter/trace",
        "adapter/weight_noise",
        "adapter/weights",
        "corruptions/affine",
        "corruptions/blur",
        "corruptions/brightness",
        "corruptions/contrast",
        "corruptions/fog",
        "corruptions/frost",
        "corruptions/impulse",
        "corruptions/jpeg_dct",
        "corruptions/jpeg_pixels",
        "corruptions/jpeg_planes",
        "corruptions/motion",
        "corruptions/pack",
        "corruptions/pixelate",
        "corruptions/plasma",
        "corruptions/quantise",
        "corruptions/shot",
        "corruptions/shuffle",
        "corruptions/snow",
        "corruptions/statistics",
        "corruptions/unpack",
        "corruptions/warp",
        "corruptions/zoom",
        "head/cross_entropy",
        "head/log_softmax",
        "head/statistics",
        "optimizer/adamw",
    ] {
        push(shader, &[], Needs::Nothing);
    }
    for shader in [
        "conv/gain",
        "conv/winograd_input",
        "input/place",
        "input/prepare",
        "input/unpack",
        "pool/average",
        "pool/average_backward",
        "pool/max",
        "pool/max_backward",
    ] {
        push(shader, &[BUFFERS], Needs::Nothing);
        push(shader, &[TEXTURES], Needs::Nothing);
    }
    cases
}

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
    let source = render(case.shader, &Variables::new(&case.variables));
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

    // As `Kernel::compile` asks for it: without bounds checks and loop bounds.
    let options = spv::Options {
        lang_version: (1, 3),
        force_loop_bounding: false,
        fake_missing_bindings: true,
        ..Default::default()
    };
    let spirv = spv::write_vec(&module, &info, &options, None)
        .map_err(|error| format!("SPIR-V: {error}"))?;
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
