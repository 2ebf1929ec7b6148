//! Recording a corruption: a batch of images and the dispatches over it.

use crate::gpu::{Builder, Dispatch, Gpu, GpuError, Slot, Value, Variables};

use super::Corruption;

/// Added to levels that are rounded down: whole ones stay, whatever the arithmetic's last bits.
pub(super) const DOWN: f32 = 1.0 / 512.0;

/// Added to levels that go to the nearest, by rounding down.
pub(super) const NEAREST_LEVEL: f32 = 0.5 + DOWN;

/// What stands beyond an edge; `shaders/common/picture.wgsl` knows it too.
#[derive(Clone, Copy)]
pub(super) enum Border {
    Nearest,
    Mirror,
    Symmetric,
}

/// A batch of images on the GPU, `[image][row][column]` of vec4, 0 to 1, and what is to be done with it.
pub(super) struct Canvas {
    builder: Builder,
    pub side: usize,
    pub images: usize,
    /// What `shaders/common/draw.wgsl` is told.
    draws: [(&'static str, Value); 4],
}

/// What a shader is called with. All shaders are told `images` and a side.
pub(super) struct Call<'a> {
    pub shader: &'static str,
    pub variables: &'a [(&'static str, u32)],
    pub bind: &'a [(&'a str, Slot)],
    pub params: &'a [(&'static str, Value)],
    pub workgroups: usize,
}

impl Canvas {
    /// `numbers` are the images' in their set, ascending without gaps.
    pub fn new(
        gpu: &Gpu,
        side: usize,
        numbers: &[usize],
        corruption: Corruption,
        seed: u64,
    ) -> Self {
        Self {
            builder: Builder::new(gpu),
            side,
            images: numbers.len(),
            draws: [
                ("first_image", u(numbers[0])),
                ("corruption", Value::U(corruption as u32)),
                ("seed_low", Value::U(seed as u32)),
                ("seed_high", Value::U((seed >> 32) as u32)),
            ],
        }
    }

    /// A length that is `at_32` pixels in an image of 32.
    pub fn scaled(&self, at_32: f64) -> f64 {
        at_32 * self.side as f64 / 32.0
    }

    /// A length in whole pixels, at least one.
    pub fn scaled_pixels(&self, at_32: f64) -> usize {
        (self.scaled(at_32).round() as usize).max(1)
    }

    /// Parameters of a shader that draws.
    pub fn drawing(&self, params: &[(&'static str, Value)]) -> Vec<(&'static str, Value)> {
        [&self.draws, params].concat()
    }

    pub fn vectors(&mut self, label: &str, count: usize) -> Slot {
        self.builder.transient(label, 4 * count)
    }

    pub fn table<T: bytemuck::Pod>(&mut self, label: &str, values: &[T]) -> Slot {
        let buffer = self.builder.gpu().storage_with(label, values);
        self.builder.buffer(label, &buffer)
    }

    pub fn call(&mut self, call: Call) {
        let params = [&[("images", u(self.images))], call.params].concat();
        self.builder.dispatch(Dispatch {
            label: call.shader.into(),
            kernel: self
                .builder
                .gpu()
                .kernel(call.shader, Variables::new(call.variables)),
            bind: call.bind,
            params: &params,
            workgroups: call.workgroups as u64,
            flops: 0,
        });
    }

    /// A shader that writes every pixel of new images, `out`.
    pub fn pixels(
        &mut self,
        shader: &'static str,
        bind: &[(&str, Slot)],
        params: &[(&'static str, Value)],
    ) -> Slot {
        self.pixels_with(shader, &[], bind, params)
    }

    pub fn pixels_with(
        &mut self,
        shader: &'static str,
        variables: &[(&'static str, u32)],
        bind: &[(&str, Slot)],
        params: &[(&'static str, Value)],
    ) -> Slot {
        let count = self.images * self.side * self.side;
        let out = self.vectors(shader, count);
        self.call(Call {
            shader,
            variables,
            bind: &[bind, &[("out", out)]].concat(),
            params: &[&[("side", u(self.side))], params].concat(),
            workgroups: count.div_ceil(64),
        });
        out
    }

    /// `bytes` is `[image, side, side, 3]`, filled up to whole words.
    pub fn unpack(&mut self, bytes: &[u8]) -> Slot {
        let bytes = self.table("bytes", bytes);
        self.pixels("corruptions/unpack", &[("bytes", bytes)], &[])
    }

    /// Runs all that has been recorded; `x` as `[image, side, side, 3]`, filled up to whole words.
    pub fn pack(mut self, x: Slot, bias: f32, length: usize) -> Result<Vec<u8>, GpuError> {
        let words = length.div_ceil(4);
        let gpu = self.builder.gpu().clone();
        let buffer = gpu.storage("bytes", 4 * words as u64);
        let bytes = self.builder.buffer("bytes", &buffer);
        self.call(Call {
            shader: "corruptions/pack",
            variables: &[],
            bind: &[("x", x), ("bytes", bytes)],
            params: &[("side", u(self.side)), ("bias", bias.into())],
            workgroups: words.div_ceil(64),
        });
        self.builder.build()?.run();
        gpu.read(&buffer, 0, 4 * words as u64)
    }

    /// Mean, smallest and largest value of each image of `side` pixels.
    pub fn statistics(&mut self, x: Slot, side: usize) -> Slot {
        let out = self.vectors("statistics", 3 * self.images);
        self.call(Call {
            shader: "corruptions/statistics",
            variables: &[],
            bind: &[("x", x), ("out", out)],
            params: &[("side", u(side))],
            workgroups: self.images,
        });
        out
    }

    /// `floor(255 v + bias)/255`, and 0 where v is below the threshold.
    pub fn quantise(&mut self, x: Slot, threshold: f32, bias: f32) -> Slot {
        self.pixels(
            "corruptions/quantise",
            &[("x", x)],
            &[("threshold", threshold.into()), ("bias", bias.into())],
        )
    }

    /// `x` at displaced places, bilinear.
    pub fn warp(&mut self, x: Slot, displacements: Slot, scale: f64, border: Border) -> Slot {
        self.pixels(
            "corruptions/warp",
            &[("x", x), ("displacements", displacements)],
            &[
                ("scale", (scale as f32).into()),
                ("border", Value::U(border as u32)),
            ],
        )
    }

    /// `shift + scale n` for a standard normal n (`normal`) or a uniform one in (-1, 1) in each lane, added
    /// to `x` where it is given.
    pub fn random(&mut self, x: Option<Slot>, normal: bool, shift: f64, scale: f64) -> Slot {
        let bind: Vec<_> = x.map(|x| ("x", x)).into_iter().collect();
        let params = self.drawing(&[
            ("shift", (shift as f32).into()),
            ("scale", (scale as f32).into()),
        ]);
        let variables = [
            ("normal", u32::from(normal)),
            ("based", u32::from(x.is_some())),
        ];
        self.pixels_with("corruptions/random", &variables, &bind, &params)
    }
}

pub(super) fn u(value: usize) -> Value {
    Value::U(u32::try_from(value).expect("shapes fit 32 bits"))
}
