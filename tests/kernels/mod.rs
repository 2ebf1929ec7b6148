//! The kernels that the engine can make.
#![allow(dead_code, reason = "no test binary uses all of it")]

use bayeslora::low_level::gpu::Variables;
use bayeslora::low_level::gpu::shaders::render;
use bayeslora::low_level::model::{MatrixTile, Tile, WinogradTile};
use naga::back::{hlsl, spv};
use naga::valid::{Capabilities, ModuleInfo};

/// WebGPU's default limit.
const WORKGROUP_BYTES: u32 = 16 * 1024;

/// Where feature maps live.
const BUFFERS: (&str, u32) = ("textured", 0);
const TEXTURES: (&str, u32) = ("textured", 1);

/// Subgroup sizes that `KernelChoice::for_gpu` takes.
const LANES: [u32; 5] = [4, 8, 16, 32, 64];

/// A shader with values for its variables.
#[derive(Clone, Debug)]
pub struct Case {
    pub shader: &'static str,
    pub variables: Vec<(&'static str, u32)>,
    pub needs: Needs,
}

/// What a device must have beyond WebGPU's default limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Needs {
    Nothing,
    Subgroups,
    Halves,
    /// No DirectX: naga writes cooperative matrices for Vulkan and Metal only.
    Matrices,
}

impl Needs {
    pub fn capabilities(self) -> Capabilities {
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

    /// WebGPU's default limit. Devices with matrix units have more, the H200 three times as much (48 KiB); a tile is a
    /// candidate only where it fits what the adapter reports.
    pub fn workgroup_bytes(self) -> u32 {
        match self {
            Self::Matrices => 3 * WORKGROUP_BYTES,
            _ => WORKGROUP_BYTES,
        }
    }

    /// The oldest Metal language: 2.0 is the oldest that wgpu takes.
    pub fn metal(self) -> (u8, u8) {
        match self {
            Self::Nothing | Self::Halves => (2, 0),
            Self::Subgroups => (2, 1),
            Self::Matrices => (2, 3),
        }
    }

    /// The oldest shader model: 5.1 is for the old compiler (FXC), the others for DXC.
    pub fn direct(self) -> Option<hlsl::ShaderModel> {
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
    let forward = [(0, 0, 1), (0, 0, 0), (1, 0, 1), (1, 1, 1)]
        .map(|(residual, shared, relu)| [1, 0, residual, shared, relu, 0]);
    // Back through a second convolution, downsampling, and a first convolution.
    let backward = [(1, 0, 1), (0, 0, 0), (0, 1, 1)]
        .map(|(gain, residual, mask)| [0, gain, residual, 0, 0, mask]);
    // W * x alone.
    let nothing = [0; 6];
    let names = [
        "affine",
        "gain",
        "residual",
        "residual_shared",
        "relu",
        "mask",
    ];
    let named = |values: &[u32; 6]| names.into_iter().zip(*values).collect();
    let named = |all: &[[u32; 6]]| all.iter().chain([&nothing]).map(named).collect();
    [named(&forward), named(&backward)]
}

/// All that a convolution's product can be asked for.
fn products() -> Vec<Vec<(&'static str, u32)>> {
    let mut all = Vec::new();
    for (backward, epilogues) in (0..).zip(epilogues()) {
        for epilogue in epilogues {
            for (adapter, weighted, per_position, int8, shared) in [
                (0, 1, 0, 0, 0),
                (1, 1, 0, 0, 0),
                (0, 1, 1, 0, 0),
                (0, 0, 0, 0, 0),
                (1, 0, 0, 0, 0),
                (0, 0, 0, 0, 1),
                (1, 0, 0, 0, 1),
                (0, 1, 0, 1, 0),
                (1, 1, 0, 1, 0),
            ] {
                // Samples share rows in the forward pass alone.
                if backward * shared == 1 {
                    continue;
                }
                let own = [
                    ("backward", backward),
                    ("adapter", adapter),
                    ("weighted", weighted),
                    ("per_position", per_position),
                    ("int8", int8),
                    ("shared", shared),
                ];
                all.push([&epilogue[..], &own].concat());
            }
        }
    }
    all
}

/// Every shader with every combination of template variables that the engine uses.
pub fn cases() -> Vec<Case> {
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
                let tile = [("lanes", lanes), ("rows", rows), ("vecs", vecs)];
                for narrow in 0..if (rows, vecs) == (32, 1) { 4 } else { 1 } {
                    let narrow = [("narrow", narrow)];
                    let all = [&product[..], &tile, &narrow].concat();
                    let with = |memory| [&all[..], &[memory]].concat();
                    push("conv/texture", &with(TEXTURES), Needs::Subgroups);
                    // In the Winograd domain tensors may live in buffers.
                    if product.contains(&("per_position", 1)) {
                        push("conv/texture", &with(BUFFERS), Needs::Subgroups);
                    }
                }
            }
        }
    }
    for (memory, domain) in [(BUFFERS, 0), (TEXTURES, 0), (TEXTURES, 1)] {
        // Tiles of 4x4 outputs are for maps in textures alone.
        let tiles = WinogradTile::ALL.into_iter();
        for tile in tiles.filter(|tile| memory == TEXTURES || *tile != WinogradTile::Four) {
            let memories = [memory, ("domain_textured", domain)];
            let tile = [&memories[..], &tile.variables()].concat();
            for epilogue in epilogues().concat() {
                let output = [&epilogue[..], &tile].concat();
                push("conv/winograd_output", &output, Needs::Nothing);
            }
            push("conv/winograd_input", &tile, Needs::Nothing);
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
                for rows in [1, 2, 3, 4] {
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

impl Case {
    /// The WGSL text.
    pub fn source(&self) -> String {
        render(self.shader, &Variables::new(&self.variables))
    }

    /// The value of a variable, zero where the shader has none of that name.
    pub fn value(&self, name: &str) -> u32 {
        let found = self.variables.iter().find(|(own, _)| *own == name);
        found.map_or(0, |(_, value)| *value)
    }
}

/// SPIR-V as `Kernel::compile` asks wgpu for it: nothing is checked, nothing is bounded, and workgroup memory begins as it
/// was.
pub fn spirv(module: &naga::Module, info: &ModuleInfo) -> Result<Vec<u32>, spv::Error> {
    let options = spv::Options {
        lang_version: (1, 3),
        force_loop_bounding: false,
        emit_int_div_checks: false,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        fake_missing_bindings: true,
        ..Default::default()
    };
    spv::write_vec(module, info, &options, None)
}
