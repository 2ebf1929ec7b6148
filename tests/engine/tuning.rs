//! The tuner: what it measures is sound, what it chooses is kept and taken over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bayeslora::low_level::gpu::{Candidate, Gpu, GpuOptions, Plan, Slot, Tuning, compared, ranked};
use bayeslora::low_level::model::{
    ConvForward, ConvKernel, ConvShape, ConvSpec, ConvWeights, FrozenConv, Graph, KernelChoice,
    Map, ProductKernel, WinogradTile, rank_kernels,
};

use crate::common;

fn gpu(cache: Option<&std::path::Path>) -> Gpu {
    common::gpu(GpuOptions {
        cache: cache.map(Into::into),
        ..Default::default()
    })
}

fn shape() -> ConvShape {
    ConvShape {
        backward: false,
        kernel: 3,
        stride: 1,
        pad: 1,
        input: [5, 6, 7],
        output: [5, 6, 9],
        rows: 11,
        adapted: true,
        int8: false,
    }
}

/// A convolution of one row whose weights are all `value`.
fn constant(gpu: &Gpu, value: f32) -> (Plan, Slot) {
    let map = Map::square(1, 4);
    convolution(gpu, KernelChoice::PLAIN, [value; 16], map, &[1.0; 4])
}

/// A 1x1 convolution from four channels to four of one row.
fn convolution(
    gpu: &Gpu,
    kernels: KernelChoice,
    weight: [f32; 16],
    map: Map,
    data: &[f32],
) -> (Plan, Slot) {
    let spec = ConvSpec {
        name: "constant".into(),
        norm: String::new(),
        in_channels: 4,
        out_channels: 4,
        kernel: 1,
        stride: 1,
        pad: 0,
    };
    let weights = ConvWeights {
        weight: weight.into(),
        gain: vec![1.0; 4],
        bias: vec![0.0; 4],
        scales: None,
    };
    let frozen = FrozenConv::new(gpu, &spec, Arc::new(weights));
    let mut graph = Graph::new(gpu, kernels);
    let input = graph.constant("test input", map, 1, data);
    let out = graph.conv_forward(ConvForward {
        frozen: &frozen,
        input,
        rows: 1,
        adapter: None,
        residual: None,
        relu: false,
    });
    graph.builder.keep(out.slot);
    (graph.builder.build().unwrap(), out.slot)
}

#[test]
fn of_a_large_result_its_ends_and_its_middle_are_compared() {
    let gpu = gpu(None);
    let map = Map {
        height: 1000,
        width: 900,
        channels: 4,
    };
    let data: Vec<f32> = (0..map.floats()).map(|i| i as f32).collect();
    let identity = std::array::from_fn(|i| f32::from(u8::from(i % 5 == 0)));
    for kernels in [KernelChoice::PLAIN, KernelChoice::for_gpu(&gpu)] {
        let (plan, result) = convolution(&gpu, kernels, identity, map, &data);
        plan.run();
        let parts = compared(&plan, result).unwrap();
        const PART: usize = 1 << 20;
        let starts = [0, (data.len() - PART) / 2, data.len() - PART];
        let expected = starts.map(|start| &data[start..start + PART]).concat();
        assert!(parts == expected);
    }
}

#[test]
fn a_wrong_kernel_is_never_chosen_however_fast() {
    let gpu = gpu(None);
    let candidate = |kernel, value| {
        let (plan, result) = constant(&gpu, value);
        Candidate {
            kernel,
            plan,
            result,
            tolerance: 1e-5,
        }
    };
    let all = vec![
        candidate("wrong", 1.001),
        candidate("not a number", f32::NAN),
        candidate("right", 1.0),
    ];
    let ranking = ranked(&gpu, &[4.0; 4], all).unwrap();
    let names =
        |list: &[(&'static str, f64)]| list.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(names(&ranking.sound), ["right"]);
    assert_eq!(names(&ranking.rejected), ["wrong", "not a number"]);
    let errors: Vec<f64> = ranking.rejected.iter().map(|(_, error)| *error).collect();
    assert!(
        (errors[0] - 1e-3).abs() < 1e-5 && errors[1].is_infinite(),
        "{errors:?}"
    );
}

#[test]
fn candidates_of_both_memories_agree_with_the_plain_kernel() {
    let gpu = gpu(None);
    let choices = [
        KernelChoice::for_gpu(&gpu),
        KernelChoice {
            conv: None,
            ..KernelChoice::PLAIN
        },
    ];
    for kernels in choices {
        for (backward, int8) in [(false, false), (true, false), (false, true), (true, true)] {
            let shape = ConvShape {
                backward,
                int8,
                ..shape()
            };
            let ranking = rank_kernels(&gpu, kernels, &shape).unwrap();
            assert!(ranking.rejected.is_empty(), "{ranking:?}");
            let ranking = ranking.sound;
            let winograd =
                |(kernel, _): &(ConvKernel, f64)| matches!(kernel, ConvKernel::Winograd(..));
            // In textures tiles of 2x2 have hardly ever won and are not measured, and 5x6 outputs are not for 4x4; nor are
            // weights of 8 bits.
            assert_eq!(ranking.iter().any(winograd), !kernels.textured() && !int8);
            assert!(!ranking.iter().all(winograd), "{ranking:?}");
        }
    }
}

/// Maps of 4x4 are one tile, and so are maps of 2x2; a driver that is slow with them can be told so. Kernels over buffers have no
/// tiles of 4x4.
#[test]
fn software_adapters_measure_tiles_that_are_a_map_and_the_direct_sum() {
    let gpu = gpu(None);
    let kernels = KernelChoice::for_gpu(&gpu);
    if !kernels.textured() {
        return;
    }
    let cases = [
        (4, WinogradTile::Four, false),
        (2, WinogradTile::Whole, true),
    ];
    for (side, tile, in_buffers) in cases {
        for backward in [false, true] {
            let shape = ConvShape {
                backward,
                input: [side, side, 7],
                output: [side, side, 9],
                ..shape()
            };
            let measured = |kernels| -> Vec<ConvKernel> {
                let ranking = rank_kernels(&gpu, kernels, &shape).unwrap();
                assert!(ranking.rejected.is_empty(), "{ranking:?}");
                ranking.sound.iter().map(|(kernel, _)| *kernel).collect()
            };
            let is_whole = |kernel: &ConvKernel| matches!(kernel, ConvKernel::Winograd(one, _) if *one == tile);
            assert_eq!(
                measured(KernelChoice::TILED).iter().any(is_whole),
                in_buffers
            );
            let default = kernels.conv(&gpu, &shape);
            let ConvKernel::Winograd(chosen, product) = default else {
                panic!("{default}");
            };
            assert_eq!(chosen, tile);
            let measured = measured(kernels);
            for kernel in [default, ConvKernel::Direct(product)] {
                assert!(measured.contains(&kernel), "{measured:?}");
            }
        }
    }
}

/// Layer4 at more than 64 pixels: 36 rows for each of 512 channels are more than a texture of 16,384 rows has.
#[test]
fn filters_that_no_texture_holds_are_not_transformed() {
    let gpu = gpu(None);
    for backward in [false, true] {
        let shape = ConvShape {
            backward,
            input: [3, 3, 512],
            output: [3, 3, 512],
            rows: 1,
            ..shape()
        };
        let ranking = rank_kernels(&gpu, KernelChoice::for_gpu(&gpu), &shape).unwrap();
        assert!(ranking.rejected.is_empty(), "{ranking:?}");
        assert!(!ranking.sound.is_empty());
    }
}

#[test]
fn operands_are_rounded_only_where_that_is_asked_for() {
    let gpu = gpu(None);
    let rounds = |kernels: KernelChoice| {
        let wide = ConvShape {
            output: [5, 6, 32],
            ..shape()
        };
        let ranking = rank_kernels(&gpu, kernels, &wide).unwrap();
        let rounding = |(kernel, _): &(ConvKernel, f64)| {
            let (ConvKernel::Direct(product) | ConvKernel::Winograd(_, product)) = kernel;
            product.roundoff().is_some()
        };
        ranking.sound.iter().any(rounding)
    };
    assert!(!rounds(KernelChoice::TILED));
    let halves = KernelChoice {
        halves: true,
        ..KernelChoice::TILED
    };
    assert_eq!(
        rounds(halves),
        gpu.has(bayeslora::wgpu::Features::SHADER_F16)
    );
}

#[test]
fn choices_are_kept_by_adapter_and_given_ones_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let first = gpu(Some(folder.path()));
    first.keep_choices();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    first.choices().tune(Box::new(move |step| {
        heard.lock().unwrap().push(format!("{step:?}"));
    }));
    let kernels = KernelChoice::for_gpu(&first);
    let (shape, subject) = (shape(), format!("convolution {}", shape()));
    let rounded = ConvShape {
        int8: true,
        ..shape
    };
    assert_eq!(rounded.to_string(), format!("{shape}, int8 weights"));
    let chosen = kernels.conv(&first, &shape);
    assert_eq!(kernels.conv(&first, &shape), chosen, "measured once");
    // In textures one measurement is for all that are alike, and none for what hardly counts.
    let measured = match kernels.textured() {
        true => "convolutions to few channels, 16 rows".to_owned(),
        false => subject.clone(),
    };
    first.choices().reject(&measured, "a kernel", 0.5);
    let rejects = Tuning::Rejects {
        subject: &measured,
        kernel: "a kernel",
        error: 0.5,
    };
    let steps = [Tuning::Begins(&measured), Tuning::Ends, rejects].map(|step| format!("{step:?}"));
    assert_eq!(*asked.lock().unwrap(), steps);
    assert_eq!(first.choices().measured()[&measured], chosen.to_string());
    if kernels.textured() {
        let [taps, stem] = [(1, 7), (3, 3)].map(|(kernel, channels)| ConvShape {
            kernel,
            pad: kernel / 2,
            input: [5, 6, channels],
            ..shape
        });
        for small in [taps, stem] {
            assert_eq!(small.alike(), None);
            kernels.conv(&first, &small);
        }
        // Rows that fill no taller tile.
        kernels.conv(&first, &ConvShape { rows: 16, ..shape });
        assert_eq!(first.choices().measured().len(), 1);
    }

    // Another start finds it, measures nothing, and says what it used.
    let second = gpu(Some(folder.path()));
    second.keep_choices();
    assert_eq!(second.choices().get(&measured), Some(chosen.to_string()));
    assert!(second.in_use().used().is_empty());
    assert_eq!(kernels.conv(&second, &shape), chosen);
    assert_eq!(second.in_use().used()[&subject], chosen.to_string());

    // A measurement that failed leaves nothing.
    second.choices().settle("a failure", None);
    assert_eq!(second.choices().get("a failure"), None);

    // A run that goes on brings its own.
    let other = match chosen {
        ConvKernel::Direct(product) => ConvKernel::Winograd(WinogradTile::Two, product),
        ConvKernel::Winograd(_, product) => ConvKernel::Direct(product),
    };
    let given = BTreeMap::from([(subject.clone(), other.to_string())]);
    second.in_use().give(&given);
    assert_eq!(kernels.conv(&second, &shape), other);
    // Another network on the device does not hear of them.
    assert_eq!(kernels.conv(&second.for_network(), &shape), chosen);

    // A damaged file does no harm, nor a name that this version or this device does not know.
    for file in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::write(file.unwrap().path(), "{ \"convolution").unwrap();
    }
    let third = gpu(Some(folder.path()));
    third.keep_choices();
    assert!(third.choices().measured().is_empty());
    let default = kernels.conv(&third, &shape);
    for foreign in ["of the future", "f16 matrix 16x16", "f16 tiled 32x32/4x4"] {
        let given = BTreeMap::from([(subject.clone(), foreign.to_owned())]);
        third.in_use().give(&given);
        assert_eq!(kernels.conv(&third, &shape), default, "{foreign}");
    }
}

#[test]
fn kernels_are_read_as_they_are_written() {
    let gpu = gpu(None);
    let mut products = ProductKernel::candidates(&gpu, true, 4096, 64);
    products.extend(ProductKernel::candidates(&gpu, false, 4096, 64));
    products.extend([8, 16].into_iter().flat_map(ProductKernel::matrices));
    for product in products {
        let winograd = WinogradTile::ALL.map(|tile| ConvKernel::Winograd(tile, product));
        for kernel in [&[ConvKernel::Direct(product)], &winograd[..]].concat() {
            assert_eq!(kernel.to_string().parse(), Ok(kernel));
        }
    }
    for foreign in ["texture 32", "winograd, plain", "winograd 6x6, plain"] {
        assert_eq!(foreign.parse::<ConvKernel>(), Err(()), "{foreign}");
    }
}
