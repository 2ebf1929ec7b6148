//! Which variant of each operation runs on a device.

use std::fmt;
use std::str::FromStr;

use super::textures::Textures;
use super::winograd::WinogradTile;
use super::{ConvShape, Map, ProductKernel, Tile, tuning};
use crate::gpu::{
    Gpu, Memory, Precision, Ranking, STORAGE_TEXTURES, TEXTURE_WIDTH, largest_texture, texture_rows,
};

/// How a convolution runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConvKernel {
    /// As one product over its taps.
    Direct(ProductKernel),
    /// 3x3 of stride 1 in the Winograd domain.
    Winograd(WinogradTile, ProductKernel),
}

impl FromStr for ConvKernel {
    type Err = ();

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let Some(text) = text.strip_prefix("winograd ") else {
            return text.parse().map(Self::Direct);
        };
        let (tile, product) = text.split_once(", ").ok_or(())?;
        let named = |one: &WinogradTile| one.to_string() == tile;
        let tile = WinogradTile::ALL.into_iter().find(named).ok_or(())?;
        product.parse().map(|product| Self::Winograd(tile, product))
    }
}

impl fmt::Display for ConvKernel {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Direct(product) => product.fmt(f),
            Self::Winograd(tile, product) => write!(f, "winograd {tile}, {product}"),
        }
    }
}

/// How the adapters' products run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LowRankKernel {
    /// Within WebGPU's default limits.
    Plain,
    /// Operands shared by subgroup broadcasts: for software adapters.
    Broadcast,
    /// Sums shared by the invocations of a workgroup: for GPUs.
    Tiled,
}

/// The variants in use; part of a run, since another choice may round differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelChoice {
    /// Of every convolution that it can compute; `None` leaves it to each one's shape.
    pub conv: Option<ConvKernel>,
    pub low_rank: LowRankKernel,
    /// Where feature maps and frozen weights live in textures and kernels share operands by subgroup
    /// broadcasts; `None` where they live in buffers.
    pub textures: Option<Textures>,
    /// Whether convolutions may round what they multiply to f16.
    pub halves: bool,
}

impl KernelChoice {
    /// The plain variants, which run everywhere.
    pub const PLAIN: Self = Self {
        conv: Some(ConvKernel::Direct(ProductKernel::Plain)),
        low_rank: LowRankKernel::Plain,
        textures: None,
        halves: false,
    };

    /// What suits GPUs: tiles in workgroup memory, and plain loops where a shape would not fill them.
    pub const TILED: Self = Self {
        conv: None,
        low_rank: LowRankKernel::Tiled,
        textures: None,
        halves: false,
    };

    /// The variants of the convolutions that a device can run beside [`KernelChoice::PLAIN`] and
    /// [`KernelChoice::for_gpu`]'s, each for all shapes that it can compute.
    pub fn variants(gpu: &Gpu) -> Vec<Self> {
        let winograd = |kernel| ConvKernel::Winograd(WinogradTile::Two, kernel);
        let whole = ConvKernel::Winograd(WinogradTile::Whole, ProductKernel::Plain);
        let mut all = vec![Self::PLAIN.with(winograd(ProductKernel::Plain))];
        all.push(Self::PLAIN.with(whole));
        let [.., wide, _, small] = Tile::ALL;
        all.push(Self::PLAIN.with(ConvKernel::Direct(ProductKernel::Tiled(wide))));
        all.push(Self::PLAIN.with(winograd(ProductKernel::Tiled(small))));
        if gpu.has(wgpu::Features::SHADER_F16) {
            all.push(Self::PLAIN.with(ConvKernel::Direct(ProductKernel::Half(small))));
        }
        let matrices = ProductKernel::matrices_of(gpu).into_iter();
        let matrices = matrices.map(ConvKernel::Direct);
        all.extend(matrices.map(|kernel| Self::PLAIN.with(kernel)));
        if let Some(textures) = Self::textures(gpu) {
            let product = |rows, vecs| ProductKernel::Texture { rows, vecs };
            all.push(textures.with(ConvKernel::Direct(product(64, 1))));
            // By default the Winograd domain is in textures, but for the newest drivers.
            let buffers = textures.textures.map(|textures| Textures {
                winograd_in_buffers: true,
                ..textures
            });
            let textures = Self {
                textures: buffers,
                ..textures
            };
            all.push(textures.with(winograd(product(32, 2))));
        }
        all
    }

    /// With this kernel for all convolutions that it can compute.
    pub(super) fn with(self, kernel: ConvKernel) -> Self {
        Self {
            conv: Some(kernel),
            ..self
        }
    }

    /// Maps in textures, where a device has all that their kernels need.
    fn textures(gpu: &Gpu) -> Option<Self> {
        let lanes = gpu
            .subgroup_size()
            .filter(|lanes| (4..=64).contains(lanes))?;
        can_texture(gpu).then_some(Self {
            conv: None,
            low_rank: LowRankKernel::Broadcast,
            textures: Some(Textures::new(gpu, lanes)),
            halves: false,
        })
    }

    /// What suits a device: textures and broadcasts where loads are dear (software), else tiles in
    /// workgroup memory, which software adapters run slower than plain loops.
    pub fn for_gpu(gpu: &Gpu) -> Self {
        match (gpu.options().precision, gpu.is_software()) {
            (Precision::F16, _) => Self {
                halves: true,
                ..Self::TILED
            },
            (Precision::F32, true) => Self::textures(gpu).unwrap_or(Self::PLAIN),
            (Precision::F32, false) => Self::TILED,
        }
    }

    /// The subgroup size that kernels over textures are made for.
    pub fn lanes(&self) -> Option<u32> {
        self.textures.map(|textures| textures.lanes)
    }

    /// Whether feature maps and frozen weights live in textures.
    pub fn textured(&self) -> bool {
        self.textures.is_some()
    }

    /// A feature map's content, in the memory that kernels want it in.
    pub fn upload(&self, gpu: &Gpu, label: &str, data: &[f32]) -> Memory {
        if !self.textured() {
            return Memory::Buffer(gpu.storage_with(label, data));
        }
        // Whatever a kernel reads behind the end shows.
        let height = texture_rows(gpu, 4 * data.len().next_multiple_of(4) as u64);
        let mut padded = data.to_vec();
        padded.resize((4 * TEXTURE_WIDTH * height) as usize, f32::NAN);
        Memory::Texture(gpu.texture_with(label, TEXTURE_WIDTH, height, &padded))
    }

    /// How a convolution of this shape runs.
    pub fn conv(&self, gpu: &Gpu, shape: &ConvShape) -> ConvKernel {
        let largest = self.largest_tensor(gpu);
        match self.conv {
            Some(kernel) if kernel.can_run(gpu, shape, largest) => kernel,
            Some(_) => self.unmeasured(gpu, shape),
            None => {
                let precision = if self.halves { "f16 " } else { "" };
                let subject = format!("{precision}convolution {shape}");
                let kernel = self.measured(gpu, &subject, shape);
                gpu.in_use().note(&subject, &kernel.to_string());
                kernel
            }
        }
    }

    /// What has been found fastest, or is found now where the device tunes. Kernels over textures, which software
    /// adapters compile slowly, are measured once for all shapes that are [alike](ConvShape::alike).
    fn measured(&self, gpu: &Gpu, subject: &str, shape: &ConvShape) -> ConvKernel {
        let alike = match self.textured() {
            true => shape.alike(),
            false => Some(subject.to_owned()),
        };
        let known = gpu.in_use().given(subject);
        let known = known.or_else(|| gpu.choices().get(subject));
        let known = known.or_else(|| gpu.choices().get(alike.as_deref()?));
        // Another device may have made the choice.
        if let Some(kernel) = known.and_then(|name| name.parse().ok())
            && self.candidates(gpu, shape).contains(&kernel)
        {
            return kernel;
        }
        let default = self.unmeasured(gpu, shape);
        let Some(subject) = alike.filter(|alike| gpu.choices().wants(alike)) else {
            return default;
        };
        // A device that fails here will say so when the plan runs.
        let ranking = tuning::rank_kernels(gpu, *self, shape).ok();
        let best = ranking.and_then(|Ranking { sound, rejected }| {
            for (kernel, error) in rejected {
                gpu.choices().reject(&subject, &kernel.to_string(), error);
            }
            sound.first().map(|(kernel, _)| *kernel)
        });
        let name = best.map(|kernel| kernel.to_string());
        gpu.choices().settle(&subject, name.as_deref());
        best.unwrap_or(default)
    }

    /// All kernels that compute a shape; those that round their operands only where that is asked for.
    pub(super) fn candidates(&self, gpu: &Gpu, shape: &ConvShape) -> Vec<ConvKernel> {
        let largest = self.largest_tensor(gpu);
        let products =
            |lines| ProductKernel::candidates(gpu, self.textured(), lines, shape.out_map().quads());
        let direct = products(shape.rows * shape.out_map().positions());
        let direct = direct.into_iter().map(ConvKernel::Direct);
        // Where maps are in buffers llvmpipe takes half a minute to compile the transforms of 4x4 tiles, and no GPU has tried them.
        let tiles: &[WinogradTile] = match self.textured() {
            true => &WinogradTile::ALL,
            false => &[WinogradTile::Two, WinogradTile::Whole],
        };
        let winograd = tiles.iter().flat_map(|&tile| {
            let [tall, wide] = shape.winograd_tiles(tile);
            let products = products(shape.rows * tall * wide).into_iter();
            products.map(move |product| ConvKernel::Winograd(tile, product))
        });
        direct
            .chain(winograd)
            .filter(|kernel| kernel.can_run(gpu, shape, largest))
            .filter(|kernel| self.halves || kernel.product().roundoff().is_none())
            .collect()
    }

    /// Those of the candidates that are worth measuring: all on GPUs; on software adapters, which compile slowly, the default tile,
    /// one half as tall, and the direct sum.
    pub(super) fn contenders(&self, gpu: &Gpu, shape: &ConvShape) -> Vec<ConvKernel> {
        let candidates = self.candidates(gpu, shape);
        let Some(textures) = self.textures else {
            return candidates;
        };
        let direct = ConvKernel::Direct(textures.tile(shape.rows, shape.out_map().quads()).into());
        let default = self.unmeasured(gpu, shape);
        let contends = |kernel: &ConvKernel| {
            *kernel == direct
                || kernel.is_like(default) && kernel.product().contends(default.product())
        };
        candidates.into_iter().filter(contends).collect()
    }

    /// What is likely to be fast.
    fn unmeasured(&self, gpu: &Gpu, shape: &ConvShape) -> ConvKernel {
        if let Some(textures) = self.textures {
            let quads = shape.out_map().quads();
            let largest = self.largest_tensor(gpu);
            let winograd = |tile| {
                let [tall, wide] = shape.winograd_tiles(tile);
                let product = textures.tile(shape.rows * tall * wide, quads).into();
                ConvKernel::Winograd(tile, product)
            };
            let direct = ConvKernel::Direct(textures.tile(shape.rows, quads).into());
            return [WinogradTile::Whole, WinogradTile::Four]
                .map(winograd)
                .into_iter()
                .find(|kernel| kernel.can_run(gpu, shape, largest))
                .unwrap_or(direct);
        }
        let (out, depth) = (shape.out_map(), shape.input[2].div_ceil(4));
        let exact = self.product(out, shape.rows, depth);
        let halves =
            || ProductKernel::unmeasured_half(gpu, out.positions() * shape.rows, out.quads());
        let product = match exact {
            ProductKernel::Tiled(_) if self.halves => halves().unwrap_or(exact),
            _ => exact,
        };
        ConvKernel::Direct(product)
    }

    /// How a product of these outputs, sums of `depth` quads a tap, runs in f32, unmeasured.
    pub(super) fn product(&self, out: Map, rows: usize, depth: usize) -> ProductKernel {
        let cols = out.quads();
        let Some(textures) = self.textures else {
            let chosen = self.conv.map(ConvKernel::product);
            return chosen
                .filter(|product| product.roundoff().is_none())
                .unwrap_or_else(|| ProductKernel::unmeasured(out.positions() * rows, cols, depth));
        };
        textures.tile(rows, cols).into()
    }

    /// The unit roundoff of what a convolution kernel chosen for all multiplies, where it rounds it.
    pub fn roundoff(&self) -> Option<f64> {
        self.conv.and_then(|kernel| kernel.product().roundoff())
    }

    /// Bytes of the largest tensor of a plan.
    pub fn largest_tensor(&self, gpu: &Gpu) -> u64 {
        match self.textured() {
            true => largest_texture(&gpu.limits()),
            false => gpu.limits().max_storage_buffer_binding_size,
        }
    }

    /// Whether tensors in the Winograd domain, the largest of so many bytes, live in textures. They do so too where buffers are faster
    /// but too small, so that the size of a batch changes no arithmetic.
    pub(super) fn winograd_textured(&self, gpu: &Gpu, bytes: u64) -> bool {
        let fits = bytes <= gpu.limits().max_storage_buffer_binding_size;
        self.textures
            .is_some_and(|textures| !(textures.winograd_in_buffers && fits))
    }

    /// As stored with a run and shown by `devices`.
    pub fn describe(&self) -> [(&'static str, String); 2] {
        let lanes = self
            .lanes()
            .map_or(String::new(), |lanes| format!(", {lanes} lanes"));
        let conv = match (self.conv, self.textured()) {
            (Some(kernel), _) => kernel.to_string(),
            (None, true) => "textures".into(),
            (None, false) if self.halves => "f16 tiles".into(),
            (None, false) => "tiles".into(),
        };
        let low_rank = match self.low_rank {
            LowRankKernel::Plain => "plain",
            LowRankKernel::Broadcast => "broadcast",
            LowRankKernel::Tiled => "tiled",
        };
        [
            ("convolution", conv + &lanes),
            ("low-rank", format!("{low_rank}{lanes}")),
        ]
    }
}

impl ConvKernel {
    fn product(self) -> ProductKernel {
        match self {
            Self::Direct(product) | Self::Winograd(_, product) => product,
        }
    }

    /// Whether both are direct, or both in the same Winograd domain.
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Direct(_), Self::Direct(_)) => true,
            (Self::Winograd(tile, _), Self::Winograd(other, _)) => tile == other,
            _ => false,
        }
    }

    /// Largest difference from the plain kernel's result that rounding explains, relative to the
    /// largest element: sums of up to 4608 products in another order, and the cancellation in
    /// Winograd's transforms.
    pub(super) fn tolerance(self) -> f64 {
        1e-5 + 4.0 * self.product().roundoff().unwrap_or(0.0)
    }

    /// Whether a texture is tall enough for its filters: each input channel has a row for each tap or product.
    fn filters_fit(self, gpu: &Gpu, shape: &ConvShape) -> bool {
        match self {
            Self::Winograd(tile, ProductKernel::Texture { .. }) => {
                let rows = tile.products() * shape.input[2].next_multiple_of(4);
                rows <= gpu.limits().max_texture_dimension_2d as usize
            }
            _ => true,
        }
    }

    /// Whether it computes this shape, no tensor of its own being larger than `largest` bytes.
    fn can_run(self, gpu: &Gpu, shape: &ConvShape, largest: u64) -> bool {
        match self {
            Self::Direct(_) => true,
            // Its transforms lose the digits that f16 has not to spare, and transformed filters are no 8-bit integers.
            Self::Winograd(tile, product) => {
                product.roundoff().is_none()
                    && !shape.int8
                    && shape.suits_winograd(tile)
                    && shape.winograd_bytes(tile) <= largest
                    && self.filters_fit(gpu, shape)
            }
        }
    }
}

fn can_texture(gpu: &Gpu) -> bool {
    gpu.limits().max_storage_textures_per_shader_stage >= STORAGE_TEXTURES
}
