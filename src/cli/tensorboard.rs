//! `train --tensorboard`: the epochs of a run as TensorBoard reads them.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use bayeslora::low_level::formats::RunDir;
use bayeslora::low_level::train::EpochReport;
use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

use super::output::Unkept;

/// The folder in a run.
const FOLDER: &str = "tensorboard";

/// What every file begins with.
const VERSION: &str = "brain.Event:2";

/// `tensorflow/core/util/event.proto`, as far as it is used.
#[derive(Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// A file of events. A run that goes on begins another, which TensorBoard joins to those before.
pub struct Events(File);

impl Events {
    pub fn create(run: &RunDir) -> Result<Self> {
        let now = now();
        let folder = run.path().join(FOLDER);
        let name = format!(
            "events.out.tfevents.{:.0}.{}.bayeslora",
            now,
            std::process::id()
        );
        let create = |place: &Path| {
            fs::create_dir_all(&folder)?;
            File::create_new(place)
        };
        let place = folder.join(name);
        let file = create(&place).with_context(|| unkept(&place))?;
        let mut events = Self(file);
        events
            .write(&Event {
                wall_time: now,
                step: 0,
                file_version: Some(VERSION.into()),
                summary: None,
            })
            .with_context(|| unkept(&place))?;
        Ok(events)
    }

    /// Adds an epoch, by its number of optimiser steps.
    pub fn epoch(&mut self, report: &EpochReport) -> Result<()> {
        let mut values = vec![
            ("train/loss", report.loss),
            ("train/cross_entropy", report.cross_entropy),
            ("train/kl", report.kl),
            ("train/accuracy", report.train_accuracy),
            ("train/images_per_second", report.images_per_second),
            ("schedule/beta", report.beta),
            ("schedule/learning_rate", report.learning_rate),
            ("ranks/left", report.rank as f64),
            ("ranks/soft", report.soft_rank),
            ("epoch", report.epoch as f64),
        ];
        let held_out = [
            ("validation/accuracy", report.accuracy),
            ("validation/nll", report.nll),
            ("validation/ece", report.ece),
            ("validation/tempered_nll", report.tempered_nll),
        ];
        values.extend(
            held_out
                .into_iter()
                .filter_map(|(tag, value)| Some((tag, value?))),
        );
        let named = values
            .into_iter()
            .map(|(tag, value)| (tag.to_owned(), value));
        let layers = report.ranks.iter();
        let layers = layers.map(|(layer, rank)| (format!("ranks/{layer}"), *rank as f64));
        let value = named.chain(layers).map(|(tag, value)| Scalar {
            tag,
            simple_value: value as f32,
        });
        self.write(&Event {
            wall_time: now(),
            step: report.step as i64,
            file_version: None,
            summary: Some(Summary {
                value: value.collect(),
            }),
        })
        .context(Unkept("an epoch could not be kept for TensorBoard".into()))
    }

    /// A record of TFRecord: length and content, each with its masked CRC-32C.
    fn write(&mut self, event: &Event) -> std::io::Result<()> {
        let content = event.encode_to_vec();
        let length = (content.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(content.len() + 16);
        for part in [&length[..], &content] {
            record.extend_from_slice(part);
            record.extend_from_slice(&masked_crc(part).to_le_bytes());
        }
        self.0.write_all(&record)
    }
}

fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = Crc::<u32>::new(&CRC_32_ISCSI).checksum(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn unkept(place: &Path) -> Unkept {
    Unkept(format!(
        "--tensorboard: {} could not be written",
        place.display()
    ))
}
