//! Trains in the background on 40 pictures in memory, is cancelled, goes on, and answers: `cargo run --release --example personalise`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use bayeslora::{
    Adapter, Backbone, Checkpoint, Dataset, Gpu, GpuOptions, Method, OpenOptions, Picture,
    Progress, Session, SessionOptions, StopHandle, TrainConfig, TrainError, Trainer,
};

const SIDE: usize = 64;

/// What the background thread tells the application.
enum News {
    Step,
    Epoch(usize, f64),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // An application's own pictures would come from its camera or its library.
    let sample = bayeslora::open_images("sample", &OpenOptions::default())?;
    let few = sample.train.limit(40)?;
    let side = few.side as u32;
    let pixels = few.read(&(0..few.len()).collect::<Vec<_>>())?;
    let pictures: Vec<(Picture, u32)> = pixels
        .chunks_exact(few.image_bytes())
        .zip(&few.labels)
        .map(|(pixels, label)| {
            let (width, height) = (side, side);
            (
                Picture::Rgb {
                    width,
                    height,
                    pixels,
                },
                *label,
            )
        })
        .collect();
    let set = Dataset::from_pictures(SIDE, &pictures, few.classes.clone())?;

    let gpu = Gpu::open(GpuOptions::default())?;
    let backbone = Arc::new(Backbone::embedded()?);
    let stop = StopHandle::new();

    // Cancelled in the middle of the third epoch ...
    let mut epochs = 0;
    let cancelled = in_background(&gpu, &backbone, &set, &stop, None, |news| match news {
        News::Step if epochs == 2 => stop.stop(),
        News::Step => {}
        News::Epoch(epoch, _) => epochs = *epoch,
    })?;
    println!("cancelled; epoch {} is kept", cancelled.epoch);

    // ... and gone on with, perhaps after a restart of the application.
    stop.reset();
    let finished = in_background(&gpu, &backbone, &set, &stop, Some(cancelled), |news| {
        if let News::Epoch(epoch, loss) = news {
            println!("epoch {epoch}: loss {loss:.3}");
        }
    })?;

    let mut session = Session::new(
        &gpu,
        &backbone,
        &finished.adapter,
        SessionOptions::default(),
    )?;
    let (picture, label) = pictures[0];
    let answer = &session.predict(&[picture])?[0];
    let first = &answer.classes[0];
    println!(
        "{} ({:.0} %), which is {}",
        first.class,
        100.0 * first.probability,
        if first.label == label as usize {
            "right"
        } else {
            "wrong"
        }
    );
    Ok(())
}

/// As far as training has come.
struct Trained {
    epoch: usize,
    adapter: Adapter,
    checkpoint: Checkpoint,
}

/// Trains on a thread of its own, while this one hears what it tells.
fn in_background(
    gpu: &Gpu,
    backbone: &Backbone,
    set: &Dataset,
    stop: &StopHandle,
    from: Option<Trained>,
    mut hear: impl FnMut(&News),
) -> Result<Trained, TrainError> {
    let (tell, news) = channel();
    thread::scope(|scope| {
        let work = scope.spawn(move || -> Result<Trained, TrainError> {
            let config = TrainConfig {
                method: Method::BayesLora,
                epochs: 6,
                resolution: SIDE,
                ..TrainConfig::default()
            };
            let mut observe = |progress| {
                if let Progress::Training { .. } = progress {
                    // The application may have gone: training goes on until it is stopped.
                    let _ = tell.send(News::Step);
                }
                ControlFlow::Continue(())
            };
            let gpu = gpu.stopped_by(stop);
            let mut trainer =
                Trainer::new(&gpu, backbone, config, set.clone(), None, &mut observe)?;
            if let Some(from) = from {
                trainer.restore(&from.checkpoint)?;
            }
            let mut last = (trainer.adapter()?, trainer.checkpoint()?);
            trainer.train(&mut observe, |trainer, report| -> Result<(), TrainError> {
                last = (trainer.adapter()?, trainer.checkpoint()?);
                let _ = tell.send(News::Epoch(report.epoch, report.loss));
                Ok(())
            })?;
            let (adapter, checkpoint) = last;
            Ok(Trained {
                epoch: checkpoint.epoch,
                adapter,
                checkpoint,
            })
        });
        news.iter().for_each(|news| hear(&news));
        work.join().expect("the thread ends with a result")
    })
}
