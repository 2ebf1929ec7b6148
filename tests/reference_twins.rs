//! Proof of the f64 twins: every gradient by finite differences in the middle of a graph, every linear
//! operation by its action on unit weights, every generator by published vectors.

mod reference;

use reference::adamw::{self, Group, Moments};
use reference::adapter::Adapter;
use reference::affine::Affine;
use reference::conv::{Geometry, conv2d, conv2d_input_gradient, conv2d_weight_gradient};
use reference::gates::{Purpose, SHARED_EXAMPLE, Stream};
use reference::head::{cross_entropy, linear, linear_backward, log_softmax};
use reference::philox::{normals, philox4x32_10};
use reference::pool::{average_pool, average_pool_backward, max_pool, max_pool_backward};
use reference::resize::{self, Augmentation};
use reference::resnet::{Named, ResNet, Stem};
use reference::tensor::Tensor;
use reference::toy::{self, Toy};

/// The step of central differences in f64: their error is about `h^2`, rounding about `1e-16/h`.
const H: f64 = 1e-5;
const TOLERANCE: f64 = 1e-7;

/// Compares `backward(x, dL/df)` with central differences of `L(u) = sum_i c_i sin f(u + .3 sin u)_i`,
/// so that the operation sits between two nonlinear ones and its incoming gradient is not trivial.
fn assert_gradient(
    what: &str,
    u: &Tensor,
    f: impl Fn(&Tensor) -> Tensor,
    backward: impl Fn(&Tensor, &Tensor) -> Tensor,
) {
    let lift = |u: &Tensor| u.map(|v| v + 0.3 * v.sin());
    let x = lift(u);
    let y = f(&x);
    let c = Tensor::random(&y.shape, 77);
    let loss = |u: &Tensor| -> f64 { c.zip(&f(&lift(u)), |c, y| c * y.sin()).data.iter().sum() };

    let dx = backward(&x, &c.zip(&y, |c, y| c * y.cos()));
    assert_eq!(dx.shape, u.shape, "{what}");
    let du = dx.zip(u, |dx, u| dx * (1.0 + 0.3 * u.cos()));
    assert_matches_differences(what, u, &du, loss);
}

fn assert_matches_differences(
    what: &str,
    at: &Tensor,
    gradient: &Tensor,
    loss: impl Fn(&Tensor) -> f64,
) {
    let scale = gradient.max_abs();
    assert!(scale > 0.0 || at.data.is_empty(), "{what}: no gradient");
    let mut moved = at.clone();
    for i in 0..at.data.len() {
        moved.data[i] = at.data[i] + H;
        let above = loss(&moved);
        moved.data[i] = at.data[i] - H;
        let below = loss(&moved);
        moved.data[i] = at.data[i];
        let want = (above - below) / (2.0 * H);
        let error = (gradient.data[i] - want).abs();
        assert!(
            error <= TOLERANCE * scale,
            "{what}[{i}]: {} against {want}",
            gradient.data[i]
        );
    }
}

fn assert_close(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.shape, want.shape, "{what}");
    let error = got.zip(want, |a, b| a - b).max_abs();
    assert!(error <= 1e-12 * (1.0 + want.max_abs()), "{what}: {error}");
}

/// A convolution and the batch and size it is tried at.
#[derive(Clone, Copy, Debug)]
struct Case {
    n: usize,
    c_in: usize,
    c_out: usize,
    size: [usize; 2],
    k: usize,
    geometry: Geometry,
}

impl Case {
    fn x(&self) -> Tensor {
        Tensor::random(&[self.n, self.c_in, self.size[0], self.size[1]], 1)
    }

    fn w(&self) -> Tensor {
        Tensor::random(&[self.c_out, self.c_in, self.k, self.k], 2)
    }
}

fn cases() -> [Case; 7] {
    let case = |n, c_in, c_out, size, k, stride, pad| Case {
        n,
        c_in,
        c_out,
        size,
        k,
        geometry: Geometry::new(stride, pad),
    };
    [
        case(2, 3, 5, [7, 5], 3, 1, 1),
        case(1, 5, 7, [7, 9], 3, 2, 1),
        case(3, 2, 3, [6, 4], 3, 2, 1),
        case(3, 6, 5, [5, 7], 1, 2, 0),
        case(2, 3, 5, [9, 11], 7, 2, 3),
        case(1, 3, 2, [1, 1], 3, 1, 1),
        case(2, 7, 3, [1, 1], 1, 1, 0),
    ]
}

#[test]
fn relative_error_is_to_the_largest_element_and_never_passes_nan() {
    let t = Tensor::new(&[3], vec![1.0, -4.0, 0.0]);
    assert_eq!(t.relative_error(&[1.0, -4.0, 0.0]), 0.0);
    assert_eq!(t.relative_error(&[1.0, -4.0, 2.0]), 0.5);
    assert_eq!(t.relative_error(&[1.0, f32::NAN, 0.0]), f64::INFINITY);
    assert_eq!(t.relative_error(&[1.0, f32::INFINITY, 0.0]), f64::INFINITY);
    let zero = Tensor::zeros(&[2]);
    assert_eq!(zero.relative_error(&[0.0, 0.0]), 0.0);
    assert_eq!(zero.relative_error(&[0.0, 1e-9]), f64::INFINITY);
    assert_eq!(Tensor::zeros(&[2, 0]).relative_error(&[]), 0.0);
}

#[test]
fn random_tensors_are_exact_in_f32_and_repeatable() {
    let t = Tensor::random(&[50], 3);
    assert_eq!(t.relative_error(&t.to_f32()), 0.0);
    assert_eq!(t, Tensor::random(&[50], 3));
    assert_ne!(t, Tensor::random(&[50], 4));
}

/// A linear map in `w` is known once it is known for every `w` with a single one.
#[test]
fn convolution_by_a_unit_weight_is_a_shifted_strided_copy() {
    for case in cases() {
        let x = case.x();
        let w_shape = [case.c_out, case.c_in, case.k, case.k];
        let (stride, pad) = (case.geometry.stride, case.geometry.pad);
        for tap in 0..w_shape.iter().product() {
            let (o, c) = (
                tap / (case.c_in * case.k * case.k),
                tap / (case.k * case.k) % case.c_in,
            );
            let (u, v) = (tap / case.k % case.k, tap % case.k);
            let mut w = Tensor::zeros(&w_shape);
            w.data[tap] = 1.0;
            let y = conv2d(&x, &w, case.geometry);
            let [_, _, out_h, out_w] = y.dims4();
            let size = |input: usize| (input + 2 * pad - case.k) / stride + 1;
            assert_eq!([out_h, out_w], case.size.map(size));
            let want = Tensor::from_fn(&y.shape, |i| {
                let (image, channel) = (i / (case.c_out * out_h * out_w), i / (out_h * out_w));
                let iy = (i / out_w % out_h * stride + u) as isize - pad as isize;
                let ix = (i % out_w * stride + v) as isize - pad as isize;
                let inside = (0..case.size[0] as isize).contains(&iy)
                    && (0..case.size[1] as isize).contains(&ix);
                if inside && channel % case.c_out == o {
                    x.at(&[image, c, iy as usize, ix as usize])
                } else {
                    0.0
                }
            });
            assert_eq!(y, want, "{case:?}, tap {tap}");
        }
    }
}

#[test]
fn convolution_gradients() {
    for case in cases() {
        let (x, w) = (case.x(), case.w());
        assert_gradient(
            &format!("dx of {case:?}"),
            &x,
            |x| conv2d(x, &w, case.geometry),
            |_, dy| conv2d_input_gradient(dy, &w, case.size, case.geometry),
        );
        assert_gradient(
            &format!("dW of {case:?}"),
            &w,
            |w| conv2d(&x, w, case.geometry),
            |_, dy| conv2d_weight_gradient(&x, dy, [case.k, case.k], case.geometry),
        );
    }
}

struct Adapted {
    case: Case,
    x: Tensor,
    w: Tensor,
    adapter: Adapter,
    log_alpha: Tensor,
    eps: Tensor,
}

impl Adapted {
    fn new(case: Case, r: usize) -> Self {
        Self {
            case,
            x: case.x(),
            w: case.w(),
            adapter: Adapter {
                a: Tensor::random(&[r, case.c_in, case.k, case.k], 3),
                b: Tensor::random(&[case.c_out, r], 4),
                scale: 1.7,
            },
            log_alpha: Tensor::random(&[r], 5),
            eps: Tensor::random(&[case.n, r], 6),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let ranks = [3, 5, 1, 2, 0, 3, 1];
        cases()
            .into_iter()
            .zip(ranks)
            .map(|(case, r)| Self::new(case, r))
    }

    fn z(&self, log_alpha: &Tensor) -> Tensor {
        let r = log_alpha.data.len();
        Tensor::from_fn(&self.eps.shape, |i| {
            1.0 + (log_alpha.data[i % r] / 2.0).exp() * self.eps.data[i]
        })
    }
}

#[test]
fn adapter_gradients() {
    for setup in Adapted::all() {
        let Adapted {
            case,
            x,
            w,
            adapter,
            ..
        } = &setup;
        let z = setup.z(&setup.log_alpha);
        let geometry = case.geometry;
        let what = |name: &str| format!("{name} of {case:?}, rank {}", adapter.rank());
        let forward =
            |x: &Tensor, adapter: &Adapter, z: &Tensor| adapter.forward(x, w, z, geometry);
        let backward = |x: &Tensor, adapter: &Adapter, z: &Tensor, dy: &Tensor| {
            let (_, h) = forward(x, adapter, z);
            adapter.backward(x, w, &h, z, dy, geometry)
        };
        let with_a = |a: &Tensor| Adapter {
            a: a.clone(),
            ..adapter.clone()
        };
        let with_b = |b: &Tensor| Adapter {
            b: b.clone(),
            ..adapter.clone()
        };
        assert_gradient(
            &what("dx"),
            x,
            |x| forward(x, adapter, &z).0,
            |x, dy| backward(x, adapter, &z, dy).dx,
        );
        assert_gradient(
            &what("dA"),
            &adapter.a,
            |a| forward(x, &with_a(a), &z).0,
            |a, dy| backward(x, &with_a(a), &z, dy).da,
        );
        assert_gradient(
            &what("dB"),
            &adapter.b,
            |b| forward(x, &with_b(b), &z).0,
            |b, dy| backward(x, &with_b(b), &z, dy).db,
        );
        assert_gradient(
            &what("dz"),
            &z,
            |z| forward(x, adapter, z).0,
            |z, dy| backward(x, adapter, z, dy).dz,
        );
        assert_gradient(
            &what("dt"),
            &setup.log_alpha,
            |t| forward(x, adapter, &setup.z(t)).0,
            |t, dy| {
                let dt = backward(x, adapter, &setup.z(t), dy).dt;
                Tensor::new(&[adapter.rank()], dt)
            },
        );
    }
}

/// With one gate for all examples, `W + s sum_i z_i b_i a_i` is the same layer.
#[test]
fn an_adapter_is_its_merged_weight() {
    for setup in Adapted::all() {
        let (adapter, r) = (&setup.adapter, setup.adapter.rank());
        let gates = Tensor::random(&[r], 9);
        let z = Tensor::from_fn(&[setup.case.n, r], |i| gates.data[i % r]);
        let taps = setup.case.c_in * setup.case.k * setup.case.k;
        let merged = Tensor::from_fn(&setup.w.shape, |i| {
            let (o, tap) = (i / taps, i % taps);
            let delta: f64 = (0..r)
                .map(|q| gates.data[q] * adapter.b.at(&[o, q]) * adapter.a.data[q * taps + tap])
                .sum();
            setup.w.data[i] + adapter.scale * delta
        });
        let (y, h) = adapter.forward(&setup.x, &setup.w, &z, setup.case.geometry);
        let want = conv2d(&setup.x, &merged, setup.case.geometry);
        assert_close(&format!("{:?}", setup.case), &y, &want);
        assert_eq!(h, conv2d(&setup.x, &adapter.a, setup.case.geometry));
        assert_eq!(adapter.params_per_rank(), taps + setup.case.c_out);
    }
}

/// Every example has its own gates: the batch is the examples one by one.
#[test]
fn gates_belong_to_their_example() {
    let setup = Adapted::new(cases()[2], 3);
    let z = setup.z(&setup.log_alpha);
    let (y, _) = setup
        .adapter
        .forward(&setup.x, &setup.w, &z, setup.case.geometry);
    let one = |t: &Tensor, image: usize| {
        let mut shape = t.shape.clone();
        shape[0] = 1;
        let len = t.data.len() / t.shape[0];
        Tensor::new(&shape, t.data[image * len..(image + 1) * len].to_vec())
    };
    for image in 0..setup.case.n {
        let x = one(&setup.x, image);
        let (alone, _) = setup
            .adapter
            .forward(&x, &setup.w, &one(&z, image), setup.case.geometry);
        assert_eq!(alone, one(&y, image));
    }
}

#[test]
fn batchnorm_folds_to_its_definition() {
    let (weight, bias, mean, var) = ([2.0, -0.5], [0.25, 1.0], [3.0, -1.0], [4.0 - 1e-5, 0.25]);
    let affine = Affine::from_batchnorm(&weight, &bias, &mean, &var, 1e-5);
    let x = Tensor::random(&[2, 2, 3, 1], 1);
    let y = affine.forward(&x, None, false);
    for (i, (&x, &y)) in x.data.iter().zip(&y.data).enumerate() {
        let c = i / 3 % 2;
        let want = (x - mean[c]) / (var[c] + 1e-5).sqrt() * weight[c] + bias[c];
        assert!((y - want).abs() < 1e-14);
    }
    assert!((affine.g[0] - 1.0).abs() < 1e-14 && (affine.b[0] + 2.75).abs() < 1e-14);
}

#[test]
fn affine_gradients() {
    let shape = [3, 5, 3, 5];
    let affine = Affine {
        g: Tensor::random(&[5], 1).data,
        b: Tensor::random(&[5], 2).data,
    };
    let (v, residual) = (Tensor::random(&shape, 3), Tensor::random(&shape, 4));
    for relu in [false, true] {
        assert_gradient(
            "dv",
            &v,
            |v| affine.forward(v, Some(&residual), relu),
            |v, dy| {
                affine
                    .backward(&affine.forward(v, Some(&residual), relu), relu, dy)
                    .0
            },
        );
        assert_gradient(
            "dresidual",
            &residual,
            |r| affine.forward(&v, Some(r), relu),
            |r, dy| {
                affine
                    .backward(&affine.forward(&v, Some(r), relu), relu, dy)
                    .1
            },
        );
        assert_gradient(
            "dv without residual",
            &v,
            |v| affine.forward(v, None, relu),
            |v, dy| affine.backward(&affine.forward(v, None, relu), relu, dy).0,
        );
    }
    let clipped = affine.forward(&v, Some(&residual), true);
    let zeros = clipped.data.iter().filter(|&&y| y == 0.0).count();
    assert!(clipped.data.iter().all(|&y| y >= 0.0));
    assert!((1..clipped.data.len()).contains(&zeros));
    let ones = clipped.map(|_| 1.0);
    let (_, open) = affine.backward(&clipped, true, &ones);
    let closed = open.data.iter().filter(|&&d| d == 0.0).count();
    assert_eq!(closed, zeros, "ReLU has no gradient at zero");
}

#[test]
fn max_pool_by_hand() {
    let x = Tensor::from_fn(&[1, 1, 4, 5], |i| -1.0 - ((i * 7) % 20) as f64);
    //  -1  -8 -15  -2  -9     negative throughout: zero padding would win every border
    // -16  -3 -10 -17  -4
    // -11 -18  -5 -12 -19
    //  -6 -13 -20  -7 -14
    let y = max_pool(&x);
    let want = [-1.0, -2.0, -2.0, -3.0, -3.0, -4.0];
    assert_eq!(y, Tensor::new(&[1, 1, 2, 3], want.to_vec()));
}

#[test]
fn max_pool_gives_a_tie_to_the_first_in_its_window() {
    let x = Tensor::zeros(&[1, 1, 4, 4]);
    let dy = Tensor::new(&[1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let mut want = Tensor::zeros(&x.shape);
    // The windows start at rows and columns -1 and 1; their first inside elements are these.
    *want.at_mut(&[0, 0, 0, 0]) = 1.0;
    *want.at_mut(&[0, 0, 0, 1]) = 2.0;
    *want.at_mut(&[0, 0, 1, 0]) = 3.0;
    *want.at_mut(&[0, 0, 1, 1]) = 4.0;
    assert_eq!(max_pool_backward(&x, &dy), want);
}

#[test]
fn pool_gradients() {
    for shape in [[2, 3, 7, 5], [1, 5, 6, 8], [3, 1, 1, 1], [1, 2, 2, 9]] {
        let x = Tensor::random(&shape, 8);
        assert_gradient("max-pool", &x, max_pool, max_pool_backward);
        let [_, _, h, w] = shape;
        assert_gradient("average pool", &x, average_pool, |_, dy| {
            average_pool_backward(dy, [h, w])
        });
    }
    let x = Tensor::new(&[1, 2, 1, 3], vec![1.0, 2.0, 6.0, 0.0, 0.0, -3.0]);
    assert_eq!(average_pool(&x), Tensor::new(&[1, 2], vec![3.0, -1.0]));
}

#[test]
fn head_gradients() {
    for (n, features, classes) in [(1, 5, 3), (3, 7, 10), (2, 1, 2)] {
        let x = Tensor::random(&[n, features], 1);
        let w = Tensor::random(&[classes, features], 2);
        let b = Tensor::random(&[classes], 3);
        assert_gradient(
            "dx",
            &x,
            |x| linear(x, &w, &b),
            |x, d| linear_backward(x, &w, d).dx,
        );
        assert_gradient(
            "dW",
            &w,
            |w| linear(&x, w, &b),
            |w, d| linear_backward(&x, w, d).dw,
        );
        assert_gradient(
            "db",
            &b,
            |b| linear(&x, &w, b),
            |_, d| linear_backward(&x, &w, d).db,
        );

        let logits = linear(&x, &w, &b);
        let labels: Vec<usize> = (0..n).map(|i| (i * 2 + 1) % classes).collect();
        let (_, gradient) = cross_entropy(&logits, &labels);
        assert_matches_differences("cross-entropy", &logits, &gradient, |logits| {
            cross_entropy(logits, &labels).0
        });
    }
}

#[test]
fn cross_entropy_by_hand() {
    let logits = Tensor::new(&[2, 3], vec![0.0, 0.0, 2f64.ln(), 1000.0, 0.0, 0.0]);
    let (loss, gradient) = cross_entropy(&logits, &[2, 1]);
    assert!((loss - (2f64.ln() + 1000.0) / 2.0).abs() < 1e-12, "{loss}");
    let want = [0.125, 0.125, -0.25, 0.5, -0.5, 0.0];
    assert_close("gradient", &gradient, &Tensor::new(&[2, 3], want.to_vec()));
}

#[test]
fn bilinear_on_a_ramp_is_the_clamped_source_coordinate() {
    for (input, output) in [
        (2, 4),
        (4, 2),
        (3, 5),
        (7, 3),
        (32, 64),
        (5, 1),
        (1, 6),
        (6, 6),
    ] {
        let source = |o: usize| {
            ((o as f64 + 0.5) * input as f64 / output as f64 - 0.5).clamp(0.0, input as f64 - 1.0)
        };
        let columns = Tensor::from_fn(&[2, 1, 3, input], |i| (i % input) as f64);
        let wide = resize::bilinear(&columns, [5, output]);
        let want = Tensor::from_fn(&[2, 1, 5, output], |i| source(i % output));
        assert_close("columns", &wide, &want);
        let rows = Tensor::from_fn(&[1, 2, input, 3], |i| (i / 3 % input) as f64);
        let tall = resize::bilinear(&rows, [output, 4]);
        let want = Tensor::from_fn(&[1, 2, output, 4], |i| source(i / 4 % output));
        assert_close("rows", &tall, &want);
    }
    let x = Tensor::random(&[1, 3, 5, 7], 1);
    assert_eq!(resize::bilinear(&x, [5, 7]), x);
    let pair = Tensor::new(&[1, 1, 1, 2], vec![0.0, 1.0]);
    assert_eq!(resize::bilinear(&pair, [1, 4]).data, [0.0, 0.25, 0.75, 1.0]);
}

#[test]
fn bilinear_is_separable() {
    let x = Tensor::random(&[1, 2, 5, 3], 1);
    let at_once = resize::bilinear(&x, [8, 7]);
    let in_turn = resize::bilinear(&resize::bilinear(&x, [8, 3]), [8, 7]);
    assert_close("separable", &at_once, &in_turn);
}

#[test]
fn normalisation_by_hand() {
    let x = resize::normalise(
        &[0, 255, 51, 102],
        [1, 2, 1, 2],
        &[0.5, 0.25],
        &[0.25, 0.125],
    );
    assert_close(
        "x",
        &x,
        &Tensor::new(&[1, 2, 1, 2], vec![-2.0, 2.0, -0.4, 1.2]),
    );
}

#[test]
fn augmentation_reflects_crops_and_flips() {
    // Columns of a six-wide image after reflecting four beyond each edge.
    let reflected = [4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 4, 3, 2, 1];
    let reflected_rows = [4, 3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1, 0];
    let shape = [2, 2, 5, 6];
    let images: Vec<u8> = (0..120).collect();
    assert_eq!(
        resize::augment(&images, shape, &[Augmentation::NONE; 2]),
        images
    );
    let draws = |top, left, flip| {
        let draw = Augmentation { top, left, flip };
        [Augmentation::NONE, draw]
    };
    for (top, left, flip) in [(0, 0, false), (8, 8, true), (3, 6, false), (5, 0, true)] {
        let got = resize::augment(&images, shape, &draws(top, left, flip));
        assert_eq!(got[..60], images[..60]);
        for c in 0..2 {
            for y in 0..5 {
                for x in 0..6 {
                    let column = reflected[left + if flip { 5 - x } else { x }];
                    let want = 60 + c * 30 + reflected_rows[top + y] * 6 + column;
                    assert_eq!(usize::from(got[60 + c * 30 + y * 6 + x]), want);
                }
            }
        }
    }
}

#[test]
fn preparation_is_augment_then_normalise_then_resize() {
    let shape = [1, 3, 5, 6];
    let images: Vec<u8> = (0..90).map(|i| (i * 37 % 256) as u8).collect();
    let draw = Augmentation {
        top: 2,
        left: 7,
        flip: true,
    };
    let got = resize::prepare(&images, shape, &[draw], [9, 4]);
    let shown = resize::augment(&images, shape, &[draw]);
    let bytes = Tensor::from_fn(&shape, |i| f64::from(shown[i]));
    let resized = resize::bilinear(&bytes, [9, 4]);
    // Normalising is affine, so it commutes with an interpolation whose weights sum to one.
    let want = Tensor::from_fn(&resized.shape, |i| {
        let c = i / 36;
        let (mean, std) = (resize::IMAGENET_MEAN[c], resize::IMAGENET_STD[c]);
        (resized.data[i] / 255.0 - f64::from(mean)) / f64::from(std)
    });
    assert_close("prepared", &got, &want);
}

#[test]
fn adamw_against_numbers_by_hand() {
    // m^ and v^ of the first step are g and g^2, so it moves by lr g/(|g| + eps) after the decay:
    // 1 - .001 - .1/(1 + 2e-8). The others are the recursion written out.
    let want = [
        0.899_000_002,
        0.871_467_298_705_846_2,
        0.804_784_672_376_383_8,
    ];
    let group = Group::new(0.1).weight_decay(0.01);
    let mut parameters = [1.0, 0.0];
    let mut moments = Moments::zeros(2);
    for (i, g) in [0.5, -0.25, 1.0].into_iter().enumerate() {
        let gradients = [g, 0.0];
        adamw::step(
            &group,
            i as u32 + 1,
            &mut parameters,
            &gradients,
            &mut moments,
        );
        assert!((parameters[0] - want[i]).abs() < 1e-13, "{}", parameters[0]);
        assert_eq!(parameters[1], 0.0);
    }
    assert!((moments.first[0] - 0.118).abs() < 1e-15);
    assert!((moments.second[0] - (0.999 * 0.000_312_25 + 0.001)).abs() < 1e-15);
}

#[test]
fn adamw_groups_keep_to_their_own_settings() {
    let mut log_alpha = [7.95, -9.95];
    let group = Group::new(0.1).project(-10.0, 8.0);
    adamw::step(
        &group,
        1,
        &mut log_alpha,
        &[-1.0, 1.0],
        &mut Moments::zeros(2),
    );
    assert_eq!(log_alpha, [8.0, -10.0]);
    let mut undecayed = [3.0];
    let still = Group::new(0.1);
    adamw::step(&still, 1, &mut undecayed, &[0.0], &mut Moments::zeros(1));
    assert_eq!(undecayed, [3.0]);
    let decay = Group::new(0.1).weight_decay(0.5);
    adamw::step(&decay, 1, &mut undecayed, &[0.0], &mut Moments::zeros(1));
    assert!((undecayed[0] - 2.85).abs() < 1e-15);
}

/// The known-answer vectors of the Random123 distribution (`kat_vectors`).
#[test]
fn philox_known_answers() {
    let zeros = philox4x32_10([0; 4], [0; 2]);
    assert_eq!(zeros, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    let ones = philox4x32_10([u32::MAX; 4], [u32::MAX; 2]);
    assert_eq!(ones, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    let pi = philox4x32_10(
        [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
        [0xa409_3822, 0x299f_31d0],
    );
    assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
}

#[test]
fn normals_by_hand() {
    // u0 = (2^31 + 1/2)/2^32 and angle pi/2 (to 2^-33): r = sqrt(2 ln 2), along the second axis.
    let r = (2.0 * 2f64.ln()).sqrt();
    let got = normals([1 << 31, 1 << 30, 1 << 31, 0]);
    for (got, want) in got.into_iter().zip([0.0, r, r, 0.0]) {
        assert!((got - want).abs() < 1e-8, "{got} {want}");
    }
    assert!(
        normals([0, 0, u32::MAX, u32::MAX])
            .iter()
            .all(|v| v.is_finite())
    );
    // The farthest tail: sqrt(2 * 33 ln 2).
    assert!((normals([0; 4])[0] - (66.0 * 2f64.ln()).sqrt()).abs() < 1e-8);
}

#[test]
fn normals_have_the_moments_and_tails_of_normals() {
    let blocks: Vec<[f64; 4]> = (0..1 << 18)
        .map(|i| normals(philox4x32_10([i, 5, 65_537, 1], [7, 9])))
        .collect();
    let n = blocks.len() as f64;
    let mean_of = |f: &dyn Fn(&[f64; 4]) -> f64| blocks.iter().map(f).sum::<f64>() / n;
    // Five standard errors, sd being the standard deviation of one summand.
    let check = |what: &str, got: f64, want: f64, sd: f64| {
        assert!((got - want).abs() < 5.0 * sd / n.sqrt(), "{what}: {got}");
    };
    for i in 0..4 {
        check("mean", mean_of(&|z| z[i]), 0.0, 1.0);
        check("variance", mean_of(&|z| z[i].powi(2)), 1.0, 2f64.sqrt());
        check("skewness", mean_of(&|z| z[i].powi(3)), 0.0, 15f64.sqrt());
        check("kurtosis", mean_of(&|z| z[i].powi(4)), 3.0, 96f64.sqrt());
        for (edge, mass) in [(1.0, 0.317_310_5), (3.0, 0.002_699_8), (4.0, 6.334e-5)] {
            let beyond = mean_of(&|z| f64::from(u8::from(z[i].abs() > edge)));
            check("tail", beyond, mass, f64::sqrt(mass));
        }
        for j in 0..i {
            check("correlation", mean_of(&|z| z[i] * z[j]), 0.0, 1.0);
            let squares = mean_of(&|z| (z[i].powi(2) - 1.0) * (z[j].powi(2) - 1.0));
            check("correlation of squares", squares, 0.0, 2.0);
        }
    }
}

const STREAM: Stream = Stream {
    seed: 0x0123_4567_89ab_cdef,
    purpose: Purpose::Predict,
    step_or_sample: 11,
    layer: 3,
};

#[test]
fn noise_is_addressed_as_written_down() {
    let words = philox4x32_10([42, 11, 3 * 65_536 + 2, 1], [0x89ab_cdef, 0x0123_4567]);
    for i in 0..4 {
        assert_eq!(STREAM.eps(42, 8 + i), normals(words)[i as usize]);
    }
    let training = Stream {
        purpose: Purpose::Train,
        ..STREAM
    };
    let words = philox4x32_10([u32::MAX, 11, 3 * 65_536, 0], [0x89ab_cdef, 0x0123_4567]);
    assert_eq!(training.eps(SHARED_EXAMPLE, 1), normals(words)[1]);
}

#[test]
fn gates_ignore_batching_and_pruning_and_every_coordinate_counts() {
    let t = [-5.0, -1.0, 0.0, 2.0, 1.0];
    let all = STREAM.gates(&[7, 8, 9], &[0, 1, 2, 3, 4], &t);
    let some = STREAM.gates(&[9, 7], &[1, 4], &[t[1], t[4]]);
    for (row, example) in [(0, 2), (1, 0)] {
        for (column, rank) in [(0, 1), (1, 4)] {
            assert_eq!(some.at(&[row, column]), all.at(&[example, rank]));
        }
    }
    let eps = STREAM.eps(7, 4);
    assert!((all.at(&[0, 4]) - (1.0 + 0.5f64.exp() * eps)).abs() < 1e-15);
    let others = [
        Stream {
            seed: STREAM.seed + 1,
            ..STREAM
        },
        Stream {
            seed: STREAM.seed ^ (1 << 40),
            ..STREAM
        },
        Stream {
            purpose: Purpose::Train,
            ..STREAM
        },
        Stream {
            step_or_sample: 12,
            ..STREAM
        },
        Stream { layer: 4, ..STREAM },
    ];
    for other in others {
        assert_ne!(other.eps(7, 4), eps, "{other:?}");
    }
    assert_ne!(STREAM.eps(8, 4), eps);
    assert_ne!(STREAM.eps(7, 0), eps);
    assert_eq!(STREAM.gates(&[1, 2], &[], &[]).shape, [2, 0]);
}

#[test]
fn gates_have_mean_one_and_variance_alpha() {
    let examples: Vec<u32> = (0..40_000).collect();
    let t = [-2.0, 0.0, 1.5];
    let z = STREAM.gates(&examples, &[0, 3, 6], &t);
    let n = examples.len() as f64;
    for (i, t) in t.into_iter().enumerate() {
        let column: Vec<f64> = z.data.iter().copied().skip(i).step_by(3).collect();
        let mean = column.iter().sum::<f64>() / n;
        let variance = column.iter().map(|z| (z - 1.0).powi(2)).sum::<f64>() / n;
        let alpha = t.exp();
        assert!((mean - 1.0).abs() < 5.0 * (alpha / n).sqrt(), "{mean}");
        assert!(
            (variance / alpha - 1.0).abs() < 5.0 * (2.0 / n).sqrt(),
            "{variance}"
        );
    }
}

/// Weights of a ResNet with the given stem and channels, `blocks` blocks in every layer.
fn tiny_weights(stem: Stem, channels: [usize; 5], blocks: usize, classes: usize) -> Named<Tensor> {
    let mut weights = Named::new();
    let mut seed = 100;
    let mut put = |name: String, shape: &[usize], low: f64, high: f64| {
        seed += 1;
        let middle = (low + high) / 2.0;
        let t = Tensor::random(shape, seed).map(|v| middle + (high - low) / 2.0 * v);
        weights.insert(name, t);
    };
    let mut conv_bn = |conv: &str, bn: &str, [c_out, c_in, k]: [usize; 3]| {
        let reach = (3.0 / (c_in * k * k) as f64).sqrt();
        put(
            format!("{conv}.weight"),
            &[c_out, c_in, k, k],
            -reach,
            reach,
        );
        put(format!("{bn}.weight"), &[c_out], 0.7, 1.5);
        put(format!("{bn}.bias"), &[c_out], -0.1, 0.4);
        put(format!("{bn}.running_mean"), &[c_out], -0.2, 0.2);
        put(format!("{bn}.running_var"), &[c_out], 0.5, 1.5);
    };
    let k = if stem == Stem::ImageNet { 7 } else { 3 };
    conv_bn("conv1", "bn1", [channels[0], 3, k]);
    for layer in 1..=4 {
        for block in 0..blocks {
            let name = |part: &str| format!("layer{layer}.{block}.{part}");
            let c_out = channels[layer];
            let c_in = if block == 0 {
                channels[layer - 1]
            } else {
                c_out
            };
            conv_bn(&name("conv1"), &name("bn1"), [c_out, c_in, 3]);
            conv_bn(&name("conv2"), &name("bn2"), [c_out, c_out, 3]);
            if block == 0 && layer > 1 {
                conv_bn(
                    &name("downsample.0"),
                    &name("downsample.1"),
                    [c_out, c_in, 1],
                );
            }
        }
    }
    put("fc.weight".to_owned(), &[classes, channels[4]], -1.0, 1.0);
    put("fc.bias".to_owned(), &[classes], -0.5, 0.5);
    weights
}

/// Everything a step of training depends on.
#[derive(Clone)]
struct TinyNet {
    stem: Stem,
    images: Tensor,
    labels: Vec<usize>,
    weights: Named<Tensor>,
    adapters: Named<Adapter>,
    log_alpha: Named<Tensor>,
    eps: Named<Tensor>,
}

impl TinyNet {
    fn new(stem: Stem, images: [usize; 4], blocks: usize, adapted: &[(&str, usize)]) -> Self {
        let weights = tiny_weights(stem, [4, 4, 5, 6, 7], blocks, 5);
        let mut adapters = Named::new();
        let mut log_alpha = Named::new();
        let mut eps = Named::new();
        for (i, &(name, r)) in adapted.iter().enumerate() {
            let mut shape = weights[&format!("{name}.weight")].shape.clone();
            shape.resize(4, 1);
            let seed = 1000 + 4 * i as u64;
            let adapter = Adapter {
                a: Tensor::random(&[r, shape[1], shape[2], shape[3]], seed),
                b: Tensor::random(&[shape[0], r], seed + 1),
                scale: 0.4,
            };
            adapters.insert(name.to_owned(), adapter);
            log_alpha.insert(name.to_owned(), Tensor::random(&[r], seed + 2));
            eps.insert(name.to_owned(), Tensor::random(&[images[0], r], seed + 3));
        }
        Self {
            stem,
            images: Tensor::random(&images, 1),
            labels: (0..images[0]).map(|i| (3 * i + 1) % 5).collect(),
            weights,
            adapters,
            log_alpha,
            eps,
        }
    }

    fn net(&self) -> ResNet<'_> {
        ResNet {
            weights: &self.weights,
            stem: self.stem,
            adapters: &self.adapters,
        }
    }

    fn gates(&self) -> Named<Tensor> {
        let of = |(name, eps): (&String, &Tensor)| {
            let t = &self.log_alpha[name];
            let z = Tensor::from_fn(&eps.shape, |i| {
                1.0 + (t.data[i % t.data.len()] / 2.0).exp() * eps.data[i]
            });
            (name.clone(), z)
        };
        self.eps.iter().map(of).collect()
    }

    fn loss(&self) -> f64 {
        let trace = self.net().forward(&self.images, &self.gates());
        cross_entropy(trace.logits(), &self.labels).0
    }

    fn assert_gradients(&self) {
        let gates = self.gates();
        let trace = self.net().forward(&self.images, &gates);
        let (_, dlogits) = cross_entropy(trace.logits(), &self.labels);
        let gradients = self.net().backward(&trace, &gates, &dlogits);
        let adapted: Vec<_> = gradients.adapters.keys().collect();
        assert_eq!(adapted, self.adapters.keys().collect::<Vec<_>>());

        let with = |change: &dyn Fn(&mut Self)| {
            let mut changed = self.clone();
            change(&mut changed);
            changed.loss()
        };
        for (name, got) in &gradients.adapters {
            let adapter = &self.adapters[name];
            assert_matches_differences(&format!("{name}.A"), &adapter.a, &got.da, |a| {
                with(&|net| net.adapters.get_mut(name).unwrap().a = a.clone())
            });
            assert_matches_differences(&format!("{name}.B"), &adapter.b, &got.db, |b| {
                with(&|net| net.adapters.get_mut(name).unwrap().b = b.clone())
            });
            let t = &self.log_alpha[name];
            let dt = Tensor::new(&t.shape, got.dt.clone());
            assert_matches_differences(&format!("{name}.t"), t, &dt, |t| {
                with(&|net| *net.log_alpha.get_mut(name).unwrap() = t.clone())
            });
        }
        for (name, got) in [
            ("fc.weight", &gradients.head_weight),
            ("fc.bias", &gradients.head_bias),
        ] {
            assert_matches_differences(name, &self.weights[name], got, |value| {
                with(&|net| *net.weights.get_mut(name).unwrap() = value.clone())
            });
        }
    }
}

#[test]
fn resnet_gradients_with_the_imagenet_stem() {
    let adapted = [
        ("layer1.1.conv2", 1),
        ("layer2.0.conv1", 2),
        ("layer2.0.downsample.0", 3),
        ("layer3.0.conv2", 0),
        ("layer4.0.conv1", 5),
        ("fc", 2),
    ];
    TinyNet::new(Stem::ImageNet, [2, 3, 19, 17], 2, &adapted).assert_gradients();
}

#[test]
fn resnet_gradients_down_to_an_adapter_in_the_stem() {
    TinyNet::new(Stem::ImageNet, [2, 3, 13, 11], 1, &[("conv1", 1)]).assert_gradients();
    TinyNet::new(Stem::Cifar, [1, 3, 9, 7], 1, &[("conv1", 3)]).assert_gradients();
}

#[test]
fn resnet_gradients_of_the_head_alone() {
    TinyNet::new(Stem::Cifar, [3, 3, 5, 7], 1, &[]).assert_gradients();
    TinyNet::new(Stem::Cifar, [3, 3, 5, 7], 1, &[("fc", 3)]).assert_gradients();
}

#[test]
fn resnet_outputs_have_the_sizes_of_torchvisions() {
    for (stem, sizes) in [
        (Stem::ImageNet, [16, 16, 8, 4, 2]),
        (Stem::Cifar, [64, 64, 32, 16, 8]),
    ] {
        let net = TinyNet::new(stem, [1, 3, 64, 64], 2, &[]);
        let trace = net.net().forward(&net.images, &Named::new());
        let names = ["stem", "layer1", "layer2", "layer3", "layer4"];
        for ((name, size), channels) in names.into_iter().zip(sizes).zip([4, 4, 5, 6, 7]) {
            assert_eq!(
                trace.outputs[name].shape,
                [1, channels, size, size],
                "{name}"
            );
        }
        assert_eq!(trace.outputs["pooled"].shape, [1, 7]);
        assert_eq!(trace.logits().shape, [1, 5]);
    }
}

/// The rank by Gaussian elimination with full pivoting.
fn rank(matrix: &Tensor) -> usize {
    let [rows, columns] = matrix.dims2();
    let mut m = matrix.clone();
    let mut rank = 0;
    while rank < rows.min(columns) {
        let below = (0..rows * columns).filter(|i| i / columns >= rank);
        let pivot = below
            .max_by(|&a, &b| m.data[a].abs().total_cmp(&m.data[b].abs()))
            .unwrap();
        if m.data[pivot].abs() < 1e-9 {
            break;
        }
        let (row, column) = (pivot / columns, pivot % columns);
        for c in 0..columns {
            m.data.swap(row * columns + c, rank * columns + c);
        }
        for r in rank + 1..rows {
            let factor = m.at(&[r, column]) / m.at(&[rank, column]);
            for c in 0..columns {
                let subtrahend = factor * m.at(&[rank, c]);
                *m.at_mut(&[r, c]) -= subtrahend;
            }
        }
        rank += 1;
    }
    rank
}

#[test]
fn the_toys_teacher_has_rank_three_and_drew_the_labels() {
    for seed in 0..3 {
        let toy = Toy::new(seed);
        assert_eq!(rank(&toy.delta), toy::TEACHER_RANK);
        assert_eq!(rank(&toy.w0), toy::CLASSES);
        assert_eq!(toy.train.x.shape, [toy::TRAIN, toy::INPUTS]);
        assert_eq!(toy.test.labels.len(), toy::TEST);
        assert_eq!(toy.w0.relative_error(&toy.w0.to_f32()), 0.0);
        assert_eq!(toy.test.x.relative_error(&toy.test.x.to_f32()), 0.0);

        // Labels drawn from p score -log p with mean H(p): Gumbel-max, and the right weights, or not.
        let log_p = log_softmax(&toy.teacher_logits(&toy.test.x));
        let mut excess = Vec::new();
        let mut entropy_sum = 0.0;
        for (row, &label) in log_p.data.chunks(toy::CLASSES).zip(&toy.test.labels) {
            let entropy: f64 = row.iter().map(|l| -l.exp() * l).sum();
            entropy_sum += entropy;
            excess.push(-row[label] - entropy);
        }
        let n = excess.len() as f64;
        let mean = excess.iter().sum::<f64>() / n;
        let sd = (excess.iter().map(|e| e * e).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 4.0 * sd / n.sqrt(), "seed {seed}: {mean}");
        // The published teacher scores .993; other teachers of the same law are near it.
        let entropy = entropy_sum / n;
        assert!((0.6..1.5).contains(&entropy), "seed {seed}: {entropy}");
    }
    assert_eq!(Toy::new(1).train.labels, Toy::new(1).train.labels);
    assert_ne!(Toy::new(1).train.labels, Toy::new(2).train.labels);
}
