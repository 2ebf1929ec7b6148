//! Futures of what waits: an executor of one thread goes on meanwhile, and dropping one stops its work.

use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bayeslora::{EpochOutcome, Gpu, GpuOptions, Predictor, Samples, StopHandle, Task, TrainError};

use super::subject::{config, go_on, images, trainer};
use crate::properties::{GPU, tiny_backbone};

/// Turns of a loop that polls a future and looks at its clock every millisecond, and the longest time between two.
fn run<F: Future>(future: F) -> (F::Output, usize, Duration) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let (mut turns, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    loop {
        let polled = Pin::as_mut(&mut future).poll(&mut context);
        if let Poll::Ready(output) = polled {
            return (output, turns, longest);
        }
        turns += 1;
        thread::sleep(Duration::from_millis(1));
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
}

async fn train_and_answer() -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    let stop = StopHandle::new();
    let gpu = Gpu::open_async(GpuOptions::default()).await?;
    let gpu = gpu.stopped_by(&stop);
    let trained = Task::start(&stop, move || -> Result<_, TrainError> {
        let mut trainer = trainer(&gpu, config());
        trainer.train(&mut go_on, |_, _| Ok::<_, TrainError>(()))?;
        Ok((trainer.adapter()?, gpu))
    })?;
    let (adapter, gpu) = trained.await?;
    let answered = Task::start(&stop, move || {
        let predictor = Predictor::new(&gpu, &tiny_backbone(), &adapter)?;
        predictor.predict(images(9), Samples::new(2, 1), true)
    })?;
    Ok(answered.await?.mean)
}

#[test]
fn an_executor_of_one_thread_goes_on_while_work_waits() {
    LazyLock::force(&GPU);
    let (probs, turns, longest) = run(train_and_answer());
    assert_eq!(probs.unwrap().len(), 9 * 3);
    println!("{turns} turns, {longest:?} the longest");
    assert!(turns > 10, "{turns}");
}

#[test]
fn a_task_wakes_who_awaits_it() {
    let stop = StopHandle::new();
    let slow = Task::start(&stop, || {
        thread::sleep(Duration::from_millis(50));
        7
    });
    assert_eq!(pollster::block_on(slow.unwrap()), 7);
    assert!(!stop.is_stopped());
}

#[test]
fn a_task_that_is_dropped_stops() {
    let stop = StopHandle::new();
    let gpu = GPU.stopped_by(&stop);
    let (tell, told) = channel();
    let task = Task::start(&stop, move || {
        let mut trainer = trainer(&gpu, config());
        tell.send(None).unwrap();
        tell.send(Some(trainer.next_epoch(&mut go_on).unwrap()))
            .unwrap();
    });
    let task = task.unwrap();
    assert!(told.recv().unwrap().is_none());
    drop(task);
    let outcome = told.recv().unwrap();
    assert!(matches!(outcome, Some(EpochOutcome::Interrupted)));
}

#[test]
#[should_panic(expected = "out of what the work is made of")]
fn a_panic_goes_on_where_the_task_is_awaited() {
    let broken = Task::start(&StopHandle::new(), || {
        panic!("out of what the work is made of");
    });
    pollster::block_on(broken.unwrap())
}
