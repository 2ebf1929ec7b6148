use bayeslora::{data, gpu::*, model::*, train::*, predict::*};
use std::ops::ControlFlow;
fn main() {
    prefer_wide_software_vectors();
    let a: Vec<String> = std::env::args().collect();
    let gpu = Gpu::open(GpuOptions::default()).unwrap();
    let backbone = Backbone::embedded().unwrap();
    let n: usize = a[2].parse().unwrap();
    let s = data::open(&a[1], &data::OpenOptions { limit_train: Some(n), limit_test: Some(1000), ..Default::default() }).unwrap();
    let mut config = TrainConfig::default();
    let over: toml::Table = a[3].parse().unwrap();
    let mut t: toml::Table = toml::Table::try_from(&config).unwrap();
    t.extend(over);
    config = t.try_into().unwrap();
    let (train, val) = s.train.split_validation(0.1, 1).unwrap();
    let mut obs = |_p: Progress| ControlFlow::Continue(());
    let t0 = std::time::Instant::now();
    let mut tr = Trainer::new(&gpu, &backbone, config, train, Some(val), &mut obs).unwrap();
    println!("setup {:.1}s {}", t0.elapsed().as_secs_f64(), toml::to_string(tr.config()).unwrap().replace("\n"," "));
    while let EpochOutcome::Done(r) = tr.next_epoch(&mut obs).unwrap() {
        println!("{} loss {:.3} ce {:.3} tr {:.3} acc {:.4} nll {:.4} ece {:.4} soft {:.1} rank {} beta {:.2} {:.0} img/s {:.1}s {:?}", r.epoch, r.loss, r.cross_entropy, r.train_accuracy, r.accuracy.unwrap(), r.nll.unwrap(), r.ece.unwrap(), r.soft_rank, r.rank, r.beta, r.images_per_second, r.seconds, r.prune.map(|p| (p.ranks_before, p.ranks_after, p.before.unwrap().nll, p.after.unwrap().nll)));
    }
    let test = Source::within(&mut (1<<30), tr.network(), tr.predictor().cut(), s.test, 64, &[PLAIN_VIEW], |_| ()).unwrap();
    for k in [0, 8] { let e = tr.evaluate(&test, Samples::new(k, 1), &mut obs).unwrap(); println!("test S={k} acc {:.4} nll {:.4} ece {:.4} mi {:.4} {:.1}s", e.scores.accuracy, e.scores.nll, e.scores.ece, e.scores.mean_mutual_information, e.seconds); }
}
