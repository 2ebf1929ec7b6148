//! From stored bytes to the network's input: crop, flip, normalise, resize.

use super::tensor::Tensor;

/// In f32, as the engine and the files hold them.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The border that the standard augmentation adds before it crops.
pub const CROP_PAD: usize = 4;

/// One image's draw of the standard augmentation: reflect-pad by 4 at the stored size, crop back to
/// the stored size at `(top, left)` in `0..=8` of the padded image, then perhaps mirror left to right.
#[derive(Clone, Copy, Debug)]
pub struct Augmentation {
    pub top: usize,
    pub left: usize,
    pub flip: bool,
}

impl Augmentation {
    pub const NONE: Self = Self {
        top: CROP_PAD,
        left: CROP_PAD,
        flip: false,
    };
}

/// Reflection that does not repeat the edge: -1 is 1, and `size` is `size - 2`.
fn reflect(coordinate: isize, size: usize) -> usize {
    let last = size as isize - 1;
    let folded = coordinate.abs();
    let folded = if folded > last {
        2 * last - folded
    } else {
        folded
    };
    usize::try_from(folded).expect("the border is narrower than the image")
}

/// `images [N,C,H,W]` bytes, one draw an image, to the bytes the network is shown.
pub fn augment(images: &[u8], shape: [usize; 4], draws: &[Augmentation]) -> Vec<u8> {
    let [n, c, h, w] = shape;
    assert_eq!((images.len(), draws.len()), (n * c * h * w, n));
    let source = |output: usize, offset: usize, size: usize| {
        reflect((output + offset) as isize - CROP_PAD as isize, size)
    };
    let mut out = Vec::with_capacity(images.len());
    for (image, draw) in draws.iter().enumerate() {
        for channel in 0..c {
            let plane = &images[(image * c + channel) * h * w..][..h * w];
            for y in 0..h {
                for x in 0..w {
                    let cropped_x = if draw.flip { w - 1 - x } else { x };
                    let from_y = source(y, draw.top, h);
                    let from_x = source(cropped_x, draw.left, w);
                    out.push(plane[from_y * w + from_x]);
                }
            }
        }
    }
    out
}

/// `(byte/255 - mean)/std` per channel.
pub fn normalise(images: &[u8], shape: [usize; 4], mean: &[f32], std: &[f32]) -> Tensor {
    let [_, c, h, w] = shape;
    assert_eq!((mean.len(), std.len()), (c, c));
    Tensor::from_fn(&shape, |i| {
        let channel = i / (h * w) % c;
        (f64::from(images[i]) / 255.0 - f64::from(mean[channel])) / f64::from(std[channel])
    })
}

/// The two neighbours of an output coordinate and the weight of the second
/// (`align_corners = false`): `s = max(0, (o + 1/2) in/out - 1/2)`, clamped at the far edge.
fn neighbours(output: usize, in_size: usize, out_size: usize) -> (usize, usize, f64) {
    let s = ((output as f64 + 0.5) * in_size as f64 / out_size as f64 - 0.5).max(0.0);
    let first = (s as usize).min(in_size - 1);
    let second = (first + 1).min(in_size - 1);
    (first, second, s - first as f64)
}

/// Bilinear, `align_corners = false`, no antialiasing, as `torch.nn.functional.interpolate`.
pub fn bilinear(x: &Tensor, [out_h, out_w]: [usize; 2]) -> Tensor {
    let [n, c, h, w] = x.dims4();
    Tensor::from_fn(&[n, c, out_h, out_w], |i| {
        let plane = &x.data[i / (out_h * out_w) * h * w..][..h * w];
        let (y0, y1, wy) = neighbours(i / out_w % out_h, h, out_h);
        let (x0, x1, wx) = neighbours(i % out_w, w, out_w);
        let row = |y: usize| (1.0 - wx) * plane[y * w + x0] + wx * plane[y * w + x1];
        (1.0 - wy) * row(y0) + wy * row(y1)
    })
}

/// The whole way for RGB with ImageNet's statistics.
pub fn prepare(
    images: &[u8],
    shape: [usize; 4],
    draws: &[Augmentation],
    size: [usize; 2],
) -> Tensor {
    let shown = augment(images, shape, draws);
    let x = normalise(&shown, shape, &IMAGENET_MEAN, &IMAGENET_STD);
    bilinear(&x, size)
}
