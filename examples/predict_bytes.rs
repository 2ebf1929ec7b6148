//! What a run says of a picture in memory: `cargo run --release --example predict_bytes -- RUN PICTURE`.
//!
//! A session builds its plans at the first call and keeps them, so that the second takes little more than the GPU's own time.

use std::time::Instant;

use bayeslora::{Gpu, GpuOptions, Picture, Session, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(run), Some(picture)) = (arguments.next(), arguments.next()) else {
        return Err("expected a run directory and a picture".into());
    };
    let gpu = Gpu::open(GpuOptions::default())?;
    let options = SessionOptions {
        samples: 8,
        threshold: 0.5,
        ..Default::default()
    };
    let mut session = Session::open(&gpu, run, options)?;
    let bytes = std::fs::read(picture)?;
    for call in ["first", "second"] {
        let start = Instant::now();
        let answers = session.predict(&[Picture::Encoded(&bytes)])?;
        println!("{call} call: {:.1?}", start.elapsed());
        let answer = &answers[0];
        for class in answer.classes.iter().take(3) {
            let (percent, std) = (100.0 * class.probability, 100.0 * class.std);
            println!("  {:12} {percent:5.1} % ± {std:.1}", class.class);
        }
        if answer.abstains {
            println!("  too unsure to say");
        }
        println!("  mutual information {:.4} nats", answer.mutual_information);
    }
    Ok(())
}
