//! Which ranks to cut first, by several criteria.

use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

use crate::model::{AdapterLayout, AdapterState};
use crate::train::magnitudes;

/// What tells a dispensable rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// The noisiest gate.
    LogAlpha,
    /// The smallest |a_i| |b_i|, the Frobenius norm of the rank's part of s B A.
    Magnitude,
    /// Nothing.
    Random { seed: u64 },
}

impl Criterion {
    pub fn name(self) -> &'static str {
        match self {
            Self::LogAlpha => "log-alpha",
            Self::Magnitude => "magnitude",
            Self::Random { .. } => "random",
        }
    }

    /// The (layer, place) of every rank, the first to go first.
    pub fn order(self, layout: &AdapterLayout, state: &AdapterState) -> Vec<(usize, usize)> {
        let layers = layout.layers.iter().enumerate();
        let mut all: Vec<(usize, usize)> = layers
            .flat_map(|(layer, spec)| (0..spec.rank()).map(move |place| (layer, place)))
            .collect();
        match self {
            Self::LogAlpha => {
                let log_alpha =
                    |(layer, place): (usize, usize)| state.layers[layer].log_alpha[place];
                all.sort_by(|a, b| log_alpha(*b).total_cmp(&log_alpha(*a)));
            }
            Self::Magnitude => {
                let magnitudes = magnitudes(layout, state);
                let of = |(layer, place): (usize, usize)| magnitudes[layer][place];
                all.sort_by(|a, b| of(*a).total_cmp(&of(*b)));
            }
            Self::Random { seed } => all.shuffle(&mut Pcg64::new(u128::from(seed), 0)),
        }
        all
    }
}
