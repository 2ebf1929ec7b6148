use bayeslora::gpu::*;
use bayeslora::model::*;
use bayeslora::train::*;
use std::time::Instant;
fn main() {
    prefer_wide_software_vectors();
    let gpu = Gpu::open(GpuOptions::default()).unwrap();
    let kernels = KernelChoice::for_gpu(&gpu);
    let n: usize = std::env::args().nth(1).map_or(32, |v| v.parse().unwrap());
    let backbone = Backbone::embedded().unwrap();
    let network = FrozenNetwork::upload(&gpu, kernels, &backbone, Some(0));
    let r = &backbone.resnet;
    let (convs, head) = r.select(&["layer3".into(), "layer4".into()]).unwrap();
    let rank = 8;
    let layout = AdapterLayout::new(
        r,
        &convs,
        head,
        10,
        &vec![(0..rank).collect::<Vec<u32>>(); convs.len()],
    );
    let zeros = layout.unpack(&vec![0.01; layout.len]);
    let t = Trainable::upload(&gpu, layout.clone(), &TrainableState::new(&layout, zeros));
    let cut = r.cut(&convs);
    for cached in [false, true] {
        let input = if cached {
            BatchInput::Features {
                map: r.cut_map(cut, 64),
            }
        } else {
            BatchInput::Images { side: 32, size: 64 }
        };
        let spec = StepSpec {
            cut,
            input,
            batch: n,
            chunk: n,
            scale: 2.0,
            prior: Some(Prior::Molchanov),
            kappa: &|_| 1.0,
            slots: 100,
            draw_gates: true,
            adam: Adam::default(),
        };
        let step = TrainStep::new(&network, &t, &spec).unwrap();
        step.plan().run();
        gpu.wait().unwrap();
        let mut ts = vec![];
        for _ in 0..7 {
            let s = Instant::now();
            step.plan().run();
            gpu.wait().unwrap();
            ts.push(s.elapsed().as_secs_f64());
        }
        ts.sort_by(f64::total_cmp);
        println!(
            "cached {cached}: {:.1} ms, {:.0} images/s, memory {:.0} MB",
            ts[3] * 1e3,
            n as f64 / ts[3],
            step.plan().transient_bytes() as f64 / 1e6
        );
        let mut total: std::collections::BTreeMap<String, (f64, f64)> = Default::default();
        let times = step.plan().time().unwrap();
        for (d, t) in step.plan().dispatches().iter().zip(&times) {
            let e = total.entry(d.kernel.clone()).or_default();
            e.0 += t.seconds * 1e3;
            e.1 += d.flops as f64 / 1e9;
            if std::env::args().nth(2).is_some() {
                println!(
                    "   {:40} {:20} {:7.2} ms {:6.1} GF/s",
                    d.label,
                    d.kernel,
                    t.seconds * 1e3,
                    d.flops as f64 / t.seconds / 1e9
                );
            }
        }
        for (k, (ms, gf)) in total {
            println!("  {k:28} {ms:7.2} ms {:6.1} GFLOP/s", gf / ms * 1e3);
        }
    }
}
