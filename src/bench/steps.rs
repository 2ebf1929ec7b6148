//! Whole steps: forward, training, Monte Carlo predictive; including uploads and the host's share.

use super::{BenchError, Subject};
use crate::formats::GateDistribution;
use crate::gpu::Plan;
use crate::model::{
    AdaptedNetwork, AdapterState, FrozenNetwork, GateMode, Prior, Purpose, StepValues,
};
use crate::predict::{ForwardPlan, ForwardSpec, Source};
use crate::train::{Adam, StepSpec, TrainStep, Trainable, TrainableState, initial_state};

use super::subject::SCALE;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The backbone alone.
    Forward,
    /// Forward, backward, AdamW.
    Train,
    /// The same from cached features.
    TrainCached,
    /// Gate samples through the adapted layers.
    Predictive,
}

impl Work {
    pub const ALL: [Self; 4] = [
        Self::Forward,
        Self::Train,
        Self::TrainCached,
        Self::Predictive,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Train => "train",
            Self::TrainCached => "train-cached",
            Self::Predictive => "predictive",
        }
    }
}

enum Planned {
    Train(TrainStep),
    Forward(ForwardPlan),
}

/// A step on one batch, ready to be repeated.
pub struct Step<'a> {
    subject: &'a Subject,
    source: Source,
    planned: Planned,
    indices: Vec<usize>,
    examples: Vec<u32>,
}

impl<'a> Step<'a> {
    /// # Errors
    /// A tensor does not fit the device, or the GPU fails.
    pub fn new(subject: &'a Subject, work: Work) -> Result<Self, BenchError> {
        let settings = &subject.settings;
        match work {
            Work::Forward => Self::forward(subject, &subject.network, 0, 1),
            Work::Predictive => {
                Self::forward(subject, &subject.network, settings.rank, settings.samples)
            }
            Work::Train | Work::TrainCached => {
                let source = match work {
                    Work::Train => subject.images(),
                    _ => subject.features()?,
                };
                let layout = subject.layout(settings.rank);
                let values = initial_state(&layout, 1);
                Self::train(subject, source, &TrainableState::new(layout, values))
            }
        }
    }

    /// A training step of these adapters.
    pub(super) fn train(
        subject: &'a Subject,
        source: Source,
        state: &TrainableState,
    ) -> Result<Self, BenchError> {
        let settings = &subject.settings;
        let trainable = Trainable::upload(&subject.gpu, state);
        let spec = StepSpec {
            input: source.input(),
            batch: settings.batch,
            scale: SCALE,
            distribution: GateDistribution::Gaussian,
            prior: Some(Prior::Molchanov),
            kappa: &|_| 1.0,
            slots: 1,
            draw_gates: true,
            adam: Adam::default(),
        };
        let step = TrainStep::new(&subject.network, &trainable, &spec)?;
        Ok(Self::over(subject, source, Planned::Train(step)))
    }

    /// A forward pass of `network` with fresh adapters of `rank`.
    pub(super) fn forward(
        subject: &'a Subject,
        network: &FrozenNetwork,
        rank: usize,
        samples: usize,
    ) -> Result<Self, BenchError> {
        let layout = subject.layout(rank);
        let state: AdapterState = initial_state(&layout, 1);
        let parameters = subject.gpu.storage_with("parameters", &layout.pack(&state));
        let source = subject.images();
        let spec = ForwardSpec {
            input: source.input(),
            examples: subject.settings.batch,
            samples,
            distribution: GateDistribution::Gaussian,
            trace: false,
            features: false,
            last_map: false,
        };
        let adapted = AdaptedNetwork {
            network,
            layout: &layout,
            parameters: &parameters,
            scale: SCALE,
        };
        let plan = ForwardPlan::new(adapted, spec)?;
        Ok(Self::over(subject, source, Planned::Forward(plan)))
    }

    fn over(subject: &'a Subject, source: Source, planned: Planned) -> Self {
        let batch = subject.settings.batch;
        Self {
            subject,
            source,
            planned,
            indices: (0..batch).collect(),
            examples: (0..batch as u32).collect(),
        }
    }

    pub fn plan(&self) -> &Plan {
        match &self.planned {
            Planned::Train(step) => step.plan(),
            Planned::Forward(forward) => forward.plan(),
        }
    }

    /// Bytes of the batch's own buffers on the GPU: images or features, views, numbers.
    pub fn data_bytes(&self) -> u64 {
        match &self.planned {
            Planned::Train(step) => step.batch.bytes(),
            Planned::Forward(forward) => forward.batch.bytes(),
        }
    }

    /// Uploads the batch and runs the step to its end; a prediction is read back.
    ///
    /// # Errors
    /// The GPU fails.
    pub fn run(&self) -> Result<(), BenchError> {
        self.upload()?;
        match &self.planned {
            Planned::Train(_) => {
                self.submit();
                self.subject.gpu.wait()?;
            }
            Planned::Forward(forward) => {
                let values = StepValues::prediction(1, 0, GateMode::PerExample);
                forward.run(&self.examples, &values)?;
            }
        }
        Ok(())
    }

    /// Uploads the batch and submits a training step without waiting for it.
    ///
    /// # Errors
    /// None: the images are in memory.
    ///
    /// # Panics
    /// When it is no training step.
    pub(super) fn start(&self) -> Result<(), BenchError> {
        self.upload()?;
        self.submit();
        Ok(())
    }

    fn submit(&self) {
        let Planned::Train(step) = &self.planned else {
            panic!("a prediction is waited for");
        };
        let (correction1, correction2) = Adam::default().corrections(1);
        let values = StepValues {
            purpose: Purpose::Train,
            count: self.examples.len(),
            learning_rate: 1e-4,
            correction1,
            correction2,
            ..StepValues::prediction(1, 0, GateMode::PerExample)
        };
        step.run(self.subject.labels(), &self.examples, &values);
    }

    fn upload(&self) -> Result<(), BenchError> {
        let batch = match &self.planned {
            Planned::Train(step) => &step.batch,
            Planned::Forward(forward) => &forward.batch,
        };
        self.source.fetch(&self.indices, None)?.write(batch);
        Ok(())
    }
}
