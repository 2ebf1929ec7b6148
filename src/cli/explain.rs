//! `explain`: where a run sees what it answers, as pictures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use bayeslora::low_level::data::Dataset;
use bayeslora::low_level::formats::printable;
use bayeslora::low_level::metrics::Predictions;
use bayeslora::low_level::predict::{ClassMap, Prediction, Predictor, Samples, Source};
use clap::Args;
use image::imageops::{self, FilterType, replace};
use image::{Luma, Rgb, RgbImage};
use serde::Serialize;

use super::context::{self, Bar, Context};
use super::location::Location;
use super::output;
use super::pictures::Pictures;
use super::run::RunArgs;
use super::thumbnails::square;

/// Side of a panel in pixels.
const SIDE: u32 = 320;
const GAP: u32 = 8;

/// How much of the picture the strongest place covers.
const COVER: f32 = 0.75;

#[derive(Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Image files, or directories of them
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A directory for the pictures, one PNG for each image; it must be new or empty
    #[arg(long, value_name = "DIR", default_value = "explanations")]
    out: PathBuf,
    /// Explain this class instead of the most probable one
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Monte Carlo samples of the gates, the same for every image; 0 uses the mean weights
    #[arg(long, value_name = "S", default_value_t = 8)]
    samples: usize,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Leave out images that cannot be decoded instead of stopping
    #[arg(long)]
    skip_bad_images: bool,
    /// Print one JSON object and nothing else
    #[arg(long)]
    json: bool,
}

/// Each field is printed under its name.
#[derive(Serialize)]
struct Report {
    /// 0 for the mean weights.
    samples: usize,
    seed: u64,
    images: Vec<Explained>,
}

#[derive(Serialize)]
struct Explained {
    image: Location,
    class: String,
    probability: f32,
    /// The file.
    picture: Location,
    /// Places of a row of the map, and rows.
    side: usize,
    /// What each place adds to the logit, `[side, side]`.
    mean: Vec<f32>,
    /// Standard deviation of that over the samples, `[side, side]`.
    std: Vec<f32>,
}

pub fn run(context: &Context, args: &ExplainArgs) -> Result<()> {
    let run = args.run.open()?;
    run.refuse_ensemble("explain")?;
    let (side, names) = (run.adapter.resolution, &run.adapter.classes);
    let wanted = args.class.as_ref().map(|class| {
        let place = names.iter().position(|name| name == class);
        place.with_context(|| {
            format!(
                "--class {}: the run knows {}",
                printable(class),
                names.iter().map(printable).collect::<Vec<_>>().join(", ")
            )
        })
    });
    let wanted = wanted.transpose()?;
    // Pictures of another run or of other images would stand among these.
    if let Ok(mut entries) = fs::read_dir(&args.out) {
        ensure!(
            entries.next().is_none(),
            "--out {}: it is not empty; name another directory",
            printable(args.out.display())
        );
    }
    let mut pictures = Pictures::open(&args.images, side, args.skip_bad_images)?;
    let skipped = std::mem::take(&mut pictures.skipped);
    context::tell_skipped(skipped.len(), skipped.iter().map(|(_, reason)| reason));
    let out = printable(args.out.display());
    let unkept = || output::Unkept(format!("the pictures could not be written (--out {out})"));
    fs::create_dir_all(&args.out).with_context(unkept)?;
    let predictor = Predictor::new(&context.gpu()?, &run.backbone, &run.adapter)?;
    let samples = run.samples(Samples {
        shared: true,
        ..Samples::new(args.samples, args.seed)
    });
    let bar = Bar::default();
    let mut all = Vec::new();
    for chunk in pictures.chunks() {
        let (files, pixels) = chunk?;
        let total = files.len();
        let labels = vec![0; total];
        let images = Dataset::new(side, pixels.clone(), labels, names.as_slice().into());
        let source = Source::images(images, side);
        let log_probs = predictor.log_probs(&source, samples, &mut |done| {
            bar.show("answering", done, total)
        })?;
        let answers = Prediction::new(&log_probs, samples.count.max(1), names.len())?;
        let answers = Predictions::new(&answers.mean, &source.dataset.labels, names.len())?;
        let classes: Vec<usize> = match wanted {
            Some(class) => vec![class; total],
            None => answers.answers(),
        };
        let mut progress = |done| bar.show("explaining", done, total);
        let maps = predictor.class_maps(&run.adapter, &source, &classes, samples, &mut progress)?;
        let squares = pixels.chunks_exact(side * side * 3);
        for (((file, map), pixels), (row, class)) in files
            .iter()
            .zip(maps)
            .zip(squares)
            .zip(answers.rows().zip(&classes))
        {
            let picture = args.out.join(name(all.len() + 1, file, &names[*class]));
            draw(&square(pixels, side), &map)
                .save(&picture)
                .with_context(unkept)?;
            all.push(Explained {
                image: file.as_os_str().into(),
                class: names[*class].clone(),
                probability: row[*class],
                picture: picture.into_os_string().into(),
                side: map.side,
                mean: map.mean,
                std: map.std,
            });
        }
    }
    let report = Report {
        samples: samples.count,
        seed: args.seed,
        images: all,
    };
    if args.json {
        return output::json(&report);
    }
    for one in &report.images {
        output::text(&format!(
            "{}: {} {:.1} %  ->  {}",
            printable(&one.image),
            printable(&one.class),
            100.0 * one.probability,
            printable(&one.picture)
        ))?;
    }
    output::text(
        "from left to right: what the network sees; what speaks for the class (yellow: most); how much the samples differ there, on \
         the same scale",
    )
}

/// Numbered, since images of several directories may have one name.
fn name(number: usize, file: &Path, class: &str) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |text: &str| -> String {
        let plain = |c: char| {
            if c.is_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        };
        text.chars().map(plain).take(60).collect()
    };
    format!("{number:03}-{}-{}.png", plain(&stem), plain(class))
}

/// The picture, what speaks for the class, and the spread of that.
fn draw(picture: &RgbImage, map: &ClassMap) -> RgbImage {
    let large = imageops::resize(picture, SIDE, SIDE, FilterType::CatmullRom);
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, f32::max);
    // Where nothing speaks for the class, what speaks against it is the scale of the spread.
    let most = match largest(&mut map.mean.iter().copied()) {
        0.0 => largest(&mut map.mean.iter().map(|value| -value)),
        most => most,
    };
    let mut panels = RgbImage::from_pixel(3 * SIDE + 2 * GAP, SIDE, Rgb([255; 3]));
    let covered = [&map.mean, &map.std].map(|values| overlay(&large, values, map.side, most));
    for (place, panel) in [&large, &covered[0], &covered[1]].into_iter().enumerate() {
        replace(
            &mut panels,
            panel,
            i64::from(place as u32 * (SIDE + GAP)),
            0,
        );
    }
    panels
}

/// Values from 0 (the picture, darkened) to `most` (yellow) over a picture.
fn overlay(picture: &RgbImage, values: &[f32], side: usize, most: f32) -> RgbImage {
    let side = side as u32;
    let map = image::ImageBuffer::<Luma<f32>, Vec<f32>>::from_fn(side, side, |x, y| {
        let value = values[(y * side + x) as usize].max(0.0);
        Luma([if value < most {
            value / most
        } else {
            f32::from(value > 0.0)
        }])
    });
    let map = imageops::resize(&map, SIDE, SIDE, FilterType::Triangle);
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let strength = map.get_pixel(x, y).0[0].clamp(0.0, 1.0);
        let (under, over) = (picture.get_pixel(x, y).0, heat(strength));
        let cover = COVER * strength;
        Rgb(std::array::from_fn(|c| {
            let dimmed = f32::from(under[c]) * 0.6;
            (dimmed * (1.0 - cover) + f32::from(over[c]) * cover).round() as u8
        }))
    })
}

/// From black over red to yellow.
fn heat(strength: f32) -> [u8; 3] {
    let part = |from: f32| ((strength - from) * 2.0).clamp(0.0, 1.0);
    [part(0.0), part(0.5), 0.0].map(|part| (255.0 * part).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where every place speaks against the class there is no most to be measured by, and no reason to show spread everywhere.
    #[test]
    fn a_class_that_nothing_speaks_for_is_dark() {
        let picture = RgbImage::from_pixel(4, 4, Rgb([100; 3]));
        let map = |mean: [f32; 4], std: f32| ClassMap::new(2, mean.to_vec(), vec![std; 4]);
        let panel = |drawn: &RgbImage, place: u32| drawn.get_pixel(place * (SIDE + GAP), 0).0;
        let dark = [60; 3];
        let drawn = draw(&picture, &map([-4.0, -1.0, -2.0, -8.0], 0.0));
        assert_eq!([panel(&drawn, 1), panel(&drawn, 2)], [dark, dark]);
        let drawn = draw(&picture, &map([-4.0, -1.0, -2.0, -8.0], 0.08));
        assert!(panel(&drawn, 2)[0] < 80, "a hundredth of the scale");
        let drawn = draw(&picture, &map([0.0; 4], 0.0));
        assert_eq!([panel(&drawn, 1), panel(&drawn, 2)], [dark, dark]);
        let drawn = draw(&picture, &map([8.0, 0.0, 0.0, 0.0], 0.0));
        assert_eq!(panel(&drawn, 1), [206, 206, 15], "yellow at COVER");
        assert_eq!(panel(&drawn, 2), dark);
    }
}
