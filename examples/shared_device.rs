//! Trains beside a renderer, and counts the frames that it gets: `cargo run --release --example shared_device`.
//!
//! Three ways: a second device on the renderer's adapter (recommended); the renderer's own device with short submissions; the
//! renderer's own device with submissions as long as they come.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bayeslora::low_level::gpu::prepare_environment;
use bayeslora::{
    AdapterChoice, Adapters, Backbone, EpochOutcome, Gpu, GpuOptions, OpenOptions, Progress,
    StopHandle, TrainConfig, Trainer, wgpu,
};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A display's.
const FRAME: Duration = Duration::from_micros(16_667);
const MEASURED: Duration = Duration::from_secs(6);
/// Frames that a renderer prepares ahead of the display.
const AHEAD: usize = 2;

/// A renderer that draws into a texture, as an application's would into a window.
struct Renderer {
    device: wgpu::Device,
    queue: wgpu::Queue,
    uniforms: wgpu::Buffer,
    frame: wgpu::Texture,
}

impl Renderer {
    fn new(adapter: &wgpu::Adapter) -> Result<Self, Error> {
        // What training needs for full speed, beside what the renderer needs.
        let (required_features, required_limits) = Gpu::recommended(adapter);
        let descriptor = wgpu::DeviceDescriptor {
            required_features,
            required_limits,
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;
        let uniforms = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let frame = device.create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d {
                width: 320,
                height: 200,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT,
            view_formats: &[],
        });
        Ok(Self {
            device,
            queue,
            uniforms,
            frame,
        })
    }

    /// Submits one frame; `shown` counts it when it is done.
    fn draw(&self, number: usize, shown: &Arc<AtomicUsize>) {
        let view = self.frame.create_view(&Default::default());
        self.queue
            .write_buffer(&self.uniforms, 0, &[number as u8; 64]);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let color = wgpu::Color {
            r: number as f64 % 60.0 / 60.0,
            ..wgpu::Color::BLACK
        };
        encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations {
                    load: wgpu::LoadOp::Clear(color),
                    store: wgpu::StoreOp::Store,
                },
            })],
            ..Default::default()
        });
        self.queue.submit([encoder.finish()]);
        let shown = shown.clone();
        self.queue.on_submitted_work_done(move || {
            shown.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Frames a second that were shown.
    fn run(&self) -> f64 {
        let (start, shown) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut drawn = 0;
        let mut next = start;
        while start.elapsed() < MEASURED {
            let _ = self.device.poll(wgpu::PollType::Poll);
            if Instant::now() >= next && drawn < shown.load(Ordering::Relaxed) + AHEAD {
                self.draw(drawn, &shown);
                drawn += 1;
                // A frame that came late is not made up for.
                next = (next + FRAME).max(Instant::now());
            }
            thread::sleep(Duration::from_micros(500));
        }
        shown.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
    }
}

/// Trains until it is stopped; images a second.
fn train(gpu: &Gpu, stop: &StopHandle) -> Result<f64, Error> {
    let images = bayeslora::open_images("sample", &OpenOptions::default())?;
    let backbone = Backbone::embedded()?;
    let gpu = gpu.stopped_by(stop);
    let (start, done) = (Instant::now(), AtomicUsize::new(0));
    let mut observe = |progress| {
        if let Progress::Training { images, .. } = progress {
            done.store(images, Ordering::Relaxed);
        }
        ControlFlow::Continue(())
    };
    let config = TrainConfig {
        epochs: 1_000,
        prefix_cache: 0,
        ..Default::default()
    };
    let trainer = Trainer::new(&gpu, &backbone, config, images.train, None, &mut observe);
    let mut trainer = match trainer {
        Err(error) if error.is_stop() => return Ok(0.0),
        other => other?,
    };
    while let EpochOutcome::Done(_) = trainer.next_epoch(&mut observe)? {}
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

fn main() -> Result<(), Error> {
    // SAFETY: no other thread runs yet.
    unsafe { prepare_environment() };
    let adapters = pollster::block_on(Adapters::enumerate(bayeslora::wgpu::Backends::PRIMARY));
    let adapter = adapters.choose(&AdapterChoice::Best)?;
    println!("{}", adapter.get_info().name);
    let renderer = Renderer::new(&adapter)?;
    println!("{:38} {:5.1} frames/s", "no training", renderer.run());

    let on_its_device = |submission| -> Result<Gpu, Error> {
        let options = GpuOptions {
            submission,
            ..Default::default()
        };
        let (device, queue) = (renderer.device.clone(), renderer.queue.clone());
        let (gpu, shortfalls) = Gpu::from_device(device, queue, options)?;
        for shortfall in shortfalls {
            eprintln!("{shortfall}");
        }
        Ok(gpu)
    };
    let ways = [
        (
            "a second device",
            Gpu::open_on(&adapter, GpuOptions::default())?,
        ),
        (
            "the same device, submissions of 4 ms",
            on_its_device(Some(Duration::from_millis(4)))?,
        ),
        ("the same device, long submissions", on_its_device(None)?),
    ];
    for (title, gpu) in ways {
        let stop = StopHandle::new();
        let (frames, images) = thread::scope(|scope| {
            let work = scope.spawn(|| train(&gpu, &stop));
            // Kernels compile at first.
            thread::sleep(Duration::from_secs(2));
            let frames = renderer.run();
            stop.stop();
            (frames, work.join().expect("the thread ends with a result"))
        });
        println!(
            "{title:38} {frames:5.1} frames/s, {:5.0} images/s trained",
            images?
        );
    }
    Ok(())
}
