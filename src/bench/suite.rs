//! The scenarios by name, and running them in order.

use std::path::PathBuf;

use super::measure::{Effort, Row};
use super::{
    BenchError, Step, Subject, Work, host, kernels, memory, merged, peak, pruned, session, start,
};

/// Something that can be measured on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Step(Work),
    Peak,
    Kernels,
    Memory,
    Start,
    Session,
    Pruned,
    Merged,
    Host,
}

impl Scenario {
    pub const ALL: [Self; 12] = [
        Self::Step(Work::Forward),
        Self::Step(Work::Train),
        Self::Step(Work::TrainCached),
        Self::Step(Work::Predictive),
        Self::Peak,
        Self::Kernels,
        Self::Memory,
        Self::Start,
        Self::Session,
        Self::Pruned,
        Self::Merged,
        Self::Host,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Step(work) => work.name(),
            Self::Peak => "peak",
            Self::Kernels => "kernels",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Session => "session",
            Self::Pruned => "pruned",
            Self::Merged => "merged",
            Self::Host => "host",
        }
    }
}

/// Some scenarios on one subject.
pub struct Suite<'a> {
    pub subject: &'a Subject,
    pub scenarios: Vec<Scenario>,
    /// This program, for the cold start.
    pub executable: PathBuf,
}

impl Suite<'_> {
    /// Measures everything. `progress` is called with what is being measured and how much is done.
    ///
    /// # Errors
    /// The first of a scenario.
    pub fn run(
        &self,
        progress: &mut dyn FnMut(&str, usize, usize),
    ) -> Result<Vec<Row>, BenchError> {
        let mut rows = Vec::new();
        let count = self.scenarios.len();
        for (done, scenario) in self.scenarios.iter().enumerate() {
            progress(scenario.name(), done, count);
            rows.extend(match scenario {
                Scenario::Step(work) => vec![self.step(*work)?],
                Scenario::Kernels => kernels::rows(self.subject, &mut |shape, shapes| {
                    progress(&format!("kernels, {} of {shapes}", shape + 1), done, count);
                })?,
                Scenario::Peak => peak::rows(self.subject)?,
                Scenario::Memory => memory::rows(self.subject)?,
                Scenario::Start => start::rows(self.subject, &self.executable)?,
                Scenario::Session => session::rows(self.subject)?,
                Scenario::Pruned => pruned::rows(self.subject)?,
                Scenario::Merged => merged::rows(self.subject)?,
                Scenario::Host => host::rows(self.subject)?,
            });
        }
        progress("done", count, count);
        Ok(rows)
    }

    fn step(&self, work: Work) -> Result<Row, BenchError> {
        let step = Step::new(self.subject, work)?;
        let seconds = Effort::default().sample(|| step.run())?;
        Ok(Row::images(
            work.name(),
            self.subject.settings.batch,
            &seconds,
        ))
    }
}
