//! The WGSL files of `shaders/`, embedded, and the templates they are written in.
//!
//! A shader is WGSL with two additions: `{{ name }}` is replaced by a value, and lines that
//! begin with `//#` are statements (`//# for`, `//# if`, `//# include`). Register tiles are
//! unrolled this way, since WGSL compilers do not promise to unroll loops.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior};

/// Values of a shader's template variables; part of a kernel's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Variables(BTreeMap<&'static str, u32>);

impl Variables {
    pub fn new(values: &[(&'static str, u32)]) -> Self {
        Self(values.iter().copied().collect())
    }

    pub fn as_map(&self) -> &BTreeMap<&'static str, u32> {
        &self.0
    }
}

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// Every shader file: its path below `shaders/` without the ending, and its text.
        pub const SHADERS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../shaders/", $name, ".wgsl")))),*];
    };
}

embedded![
    "adapter/down_broadcast",
    "adapter/down_interface",
    "adapter/down_plain",
    "adapter/down_tiled",
    "adapter/gate_gradient",
    "adapter/gates",
    "adapter/log_alpha",
    "adapter/outer_broadcast",
    "adapter/outer_interface",
    "adapter/outer_plain",
    "adapter/outer_tiled",
    "adapter/reduce",
    "adapter/trace",
    "adapter/up",
    "adapter/weight_noise",
    "adapter/weights",
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
    "conv/gain",
    "conv/int8",
    "conv/interface",
    "conv/matrix",
    "conv/plain",
    "conv/texture",
    "conv/tiled",
    "conv/tiles",
    "conv/winograd",
    "conv/winograd_input",
    "conv/winograd_output",
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
    "corruptions/random",
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
    "input/place",
    "input/prepare",
    "input/unpack",
    "optimizer/adamw",
    "pool/average",
    "pool/average_backward",
    "pool/max",
    "pool/max_backward",
    "pool/window",
];

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .line_statement_prefix("//#")
        .build()
        .expect("the prefix collides with no other delimiter");
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    for (name, text) in SHADERS {
        environment
            .add_template(name, text)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    environment
});

/// The WGSL text of a shader for the given values of its variables.
///
/// # Panics
/// When the shader does not exist or uses a variable that is not given.
pub fn render(shader: &str, variables: &Variables) -> String {
    let template = TEMPLATES
        .get_template(shader)
        .unwrap_or_else(|error| panic!("{error:#}"));
    template
        .render(variables.as_map())
        .unwrap_or_else(|error| panic!("shader {shader} with {variables:?}: {error:#}"))
}
