//! What an application's call takes: one picture through a warm session, beside the dispatches that it comes to.

use std::time::Instant;

use super::measure::{Better, Effort, Row, median_of};
use super::subject::SCALE;
use super::{BenchError, Subject};
use crate::data::Picture;
use crate::formats::{Adapter, GateDistribution};
use crate::metrics::Bootstrap;
use crate::model::{AdapterParams, exchange};
use crate::predict::{Session, SessionOptions};
use crate::train::initial_state;

/// Milliseconds a call, and the call's time as a share of what its dispatches take one by one.
pub(super) fn rows(subject: &Subject) -> Result<Vec<Row>, BenchError> {
    let settings = &subject.settings;
    let options = SessionOptions {
        samples: settings.samples,
        batch: 1,
        ..SessionOptions::default()
    };
    let mut session = Session::new(&subject.gpu, &subject.backbone, &adapter(subject), options)?;
    let images = subject.images().dataset;
    let (side, pixels) = (images.side as u32, images.image(0)?.into_owned());
    let picture = [Picture::Rgb {
        width: side,
        height: side,
        pixels: &pixels,
    }];
    let (mut call, mut dispatches) = (Vec::new(), Vec::new());
    let effort = Effort {
        least: 11,
        ..Effort::default()
    };
    effort.sample(|| -> Result<(), BenchError> {
        let start = Instant::now();
        session.predict(&picture)?;
        call.push(1e3 * start.elapsed().as_secs_f64());
        let times = session.plan(1)?.plan().time()?;
        dispatches.push(1e3 * times.iter().map(|time| time.seconds).sum::<f64>());
        Ok(())
    })?;
    // The run that only warms up.
    call.remove(0);
    dispatches.remove(0);
    let share = Bootstrap::default().interval(call.len(), |drawn| {
        100.0 * median_of(&call, drawn) / median_of(&dispatches, drawn)
    });
    let runs = call.len();
    Ok(vec![
        Row::speed("session/one picture", "ms", Better::Lower, &call),
        Row::share("session/of its dispatches", "%", Better::Lower, share, runs),
    ])
}

/// Fresh adapters of the settings' rank, as a file holds them.
fn adapter(subject: &Subject) -> Adapter {
    let settings = &subject.settings;
    let layout = subject.layout(settings.rank);
    let gates = GateDistribution::Gaussian;
    let (layers, head) = exchange::to_file(&AdapterParams {
        state: initial_state(&layout, 1),
        layout,
        scale: SCALE,
        gates: Some(gates),
    });
    Adapter {
        classes: (0..head.classes).map(|class| class.to_string()).collect(),
        class_balance: None,
        layers,
        head,
        initial_rank: settings.rank.max(1),
        lora_alpha: SCALE * settings.rank.max(1) as f32,
        backbone_sha256: subject.backbone.sha256.clone(),
        base_name: subject.backbone.name.clone(),
        resolution: settings.size,
        seed: 1,
        method: "bayeslora".into(),
        gates,
    }
}
