//! What decides how fast a convolution's kernels are.

use serde::Serialize;

use crate::model::graph::Map;
use crate::model::{ConvSpec, WinogradTile};

/// What tells weights of 8 bits from others where choices of kernels are kept.
const INT8: &str = ", int8 weights";

/// A convolution as kernels see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ConvShape {
    /// The gradient with respect to the input, not the output.
    pub backward: bool,
    pub kernel: usize,
    pub stride: usize,
    pub pad: usize,
    /// What is read: height, width, channels.
    pub input: [usize; 3],
    /// What is written.
    pub output: [usize; 3],
    /// Rows written.
    pub rows: usize,
    /// Whether an adapter's term is added.
    pub adapted: bool,
    /// Whether the weights are 8-bit integers.
    pub int8: bool,
}

impl ConvShape {
    pub(in crate::low_level::model) fn out_map(&self) -> Map {
        let [height, width, channels] = self.output;
        Map {
            height,
            width,
            channels,
        }
    }

    /// The shapes for which the same kernel is fastest on a software adapter: products of few or of many columns that fill register
    /// tiles of the same height, in the Winograd domain or not. `None` for what takes little of a step: the stem and convolutions of
    /// one tap.
    pub fn alike(&self) -> Option<String> {
        let ([.., inputs], [.., outputs]) = (self.input, self.output);
        let channels = if outputs > 64 { "many" } else { "few" };
        let rows = match self.rows {
            0..=8 => "8",
            9..=16 => "16",
            _ => "more",
        };
        let counts = self.kernel > 1 && inputs > 4;
        let suits = |tile| !self.int8 && self.suits_winograd(tile);
        let tiles = if suits(WinogradTile::Whole) {
            " of 2x2 maps"
        } else if suits(WinogradTile::Four) {
            " for 4x4 tiles"
        } else {
            ""
        };
        let weights = if self.int8 { INT8 } else { "" };
        counts.then(|| format!("convolutions{tiles} to {channels} channels, {rows} rows{weights}"))
    }

    /// One of each kind of shapes that are [alike](Self::alike), of layer1, layer3 and layer4, for pictures of `size` pixels.
    pub fn representatives(size: usize, rows: usize) -> [Self; 4] {
        // For input and output: how many times smaller than the picture, and the channels.
        let shapes = [
            [(4, 64); 2],
            [(16, 256); 2],
            [(32, 512); 2],
            [(8, 128), (16, 256)],
        ];
        shapes.map(|sides| {
            let [input, output] = sides.map(|(shrunk, channels)| {
                let side = size.div_ceil(shrunk);
                [side, side, channels]
            });
            Self {
                backward: false,
                kernel: 3,
                stride: if input == output { 1 } else { 2 },
                pad: 1,
                input,
                output,
                rows,
                adapted: false,
                int8: false,
            }
        })
    }

    /// 3x3, stride 1, padding 1, and fewer products than with smaller tiles, which overhang the output less; or a map of 2x2.
    pub(in crate::low_level::model) fn suits_winograd(&self, tile: WinogradTile) -> bool {
        let suits = match tile {
            WinogradTile::Two => true,
            WinogradTile::Four => {
                self.winograd_products(tile) < self.winograd_products(WinogradTile::Two)
            }
            WinogradTile::Whole => self.output[..2] == [2, 2],
        };
        (self.kernel, self.stride, self.pad) == (3, 1, 1) && suits
    }

    /// Bytes of the larger of the tensors in the Winograd domain.
    pub(in crate::low_level::model) fn winograd_bytes(&self, tile: WinogradTile) -> u64 {
        let channels = self.input[2].max(self.output[2]).next_multiple_of(4);
        4 * (self.winograd_products(tile) * self.rows * channels) as u64
    }

    /// Tiles that cover the output, height and width.
    pub(in crate::low_level::model) fn winograd_tiles(&self, tile: WinogradTile) -> [usize; 2] {
        [0, 1].map(|side| self.output[side].div_ceil(tile.outputs()))
    }

    /// Products of a channel of a row.
    fn winograd_products(&self, tile: WinogradTile) -> usize {
        let [tall, wide] = self.winograd_tiles(tile);
        tile.products() * tall * wide
    }
}

impl std::fmt::Display for ConvShape {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self {
            kernel,
            stride,
            input: [in_height, in_width, in_channels],
            output: [out_height, out_width, out_channels],
            rows,
            ..
        } = self;
        write!(
            f,
            "{} {kernel}x{kernel}/{stride} {in_channels}@{in_height}x{in_width} > \
             {out_channels}@{out_height}x{out_width}, {rows} rows",
            if self.backward { "gradient" } else { "forward" },
        )?;
        if self.adapted {
            f.write_str(", adapted")?;
        }
        if self.int8 {
            f.write_str(INT8)?;
        }
        Ok(())
    }
}

impl ConvSpec {
    /// Pairs of an output and an input position that a tap connects, padding left out.
    pub(crate) fn taps(&self, input: Map, out: Map) -> usize {
        let along = |input: usize, out: usize| {
            let hits = |o: usize| {
                let reads = |k: &usize| {
                    let at = o * self.stride + k;
                    at >= self.pad && at - self.pad < input
                };
                (0..self.kernel).filter(reads).count()
            };
            (0..out).map(hits).sum::<usize>()
        };
        along(input.height, out.height) * along(input.width, out.width)
    }
}
