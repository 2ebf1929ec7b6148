//! The Kullback-Leibler divergence of one rank's gate, as a function of `t = log alpha`.
//!
//! The variational posterior of a gate is `z ~ N(1, alpha)`. Every KL here is for ONE gate, is
//! positive, and is meant to be ADDED to the loss:
//! `beta * kl_scale / N * sum_i kappa_i KL(t_i)`, with `kappa_i` from [`KlMultiplicity`].
//!
//! For a quadratic loss with the mean optimised too, a rank minimises
//! `rho/2 * alpha/(1+alpha) + KL`, where `rho` is twice the training log-likelihood the rank gains,
//! divided by `kappa`. Under the ARD priors it survives iff `rho > 1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::formats::Adapter;

/// Molchanov, Ashukha and Vetrov (2017), equation (14).
const K1: f64 = 0.63576;
const K2: f64 = 1.87320;
const K3: f64 = 1.48695;

/// `1 / (1 + e^-x)`.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// `log(1 + e^x)`, which neither overflows for large `x` nor cancels for small `x`.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// A setting whose text does not name a legal value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("unknown {what} `{text}`: expected {expected}")]
pub struct ParseKlError {
    what: &'static str,
    text: String,
    expected: &'static str,
}

/// The prior that the gate's posterior `N(1, alpha)` is compared with.
///
/// Its text form is `molchanov`, `eb`, `gaussian` (variance 1) or `gaussian:VARIANCE`, the same on
/// the command line and in files.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KlPrior {
    /// The improper log-uniform prior in the approximation of Molchanov et al. (2017):
    /// `KL = k1 - k1 sig(k2 + k3 t) + 1/2 log(1 + e^-t)`, whose constant makes it vanish as
    /// `alpha -> inf`. Within .0094 of the exact value; its slope within .0137 of the exact
    /// `-x D(x)`, `x = 1/sqrt(2 alpha)`, D being Dawson's function.
    #[default]
    Molchanov,
    /// A Gaussian `N(0, s_i^2)` whose variance is set to its optimum `1 + alpha` (empirical Bayes,
    /// Kharitonov et al. 2018): `KL = 1/2 log(1 + 1/alpha)`. Proper, in closed form, and it prunes.
    EmpiricalBayes,
    /// A fixed Gaussian gate prior `N(1, s^2)`: `KL = 1/2 [e^t/s^2 - 1 - t + log s^2]`. Its minimum
    /// is at `alpha = s^2`, so it never prunes.
    Gaussian {
        /// `s^2`, positive and finite.
        variance: f64,
    },
}

impl KlPrior {
    /// `KL(N(1, alpha) || prior)` at `t = log alpha`, in nats.
    pub fn kl(self, log_alpha: f64) -> f64 {
        match self {
            // k1 (1 - sig(v)) = k1 sig(-v), without the cancellation at large t.
            Self::Molchanov => K1 * sigmoid(-(K2 + K3 * log_alpha)) + 0.5 * softplus(-log_alpha),
            Self::EmpiricalBayes => 0.5 * softplus(-log_alpha),
            Self::Gaussian { variance } => {
                // With d = t - log s^2 the formula is (e^d - 1 - d)/2.
                let d = log_alpha - variance.ln();
                0.5 * (d.exp_m1() - d)
            }
        }
    }

    /// `dKL/dt`.
    ///
    /// Molchanov `-k1 k3 u (1-u) - 1/2 sig(-t)` with `u = sig(k2 + k3 t)`; empirical Bayes
    /// `-1/2 sig(-t)`; Gaussian `1/2 (e^t/s^2 - 1)`.
    pub fn gradient(self, log_alpha: f64) -> f64 {
        match self {
            Self::Molchanov => {
                let v = K2 + K3 * log_alpha;
                -K1 * K3 * sigmoid(v) * sigmoid(-v) - 0.5 * sigmoid(-log_alpha)
            }
            Self::EmpiricalBayes => -0.5 * sigmoid(-log_alpha),
            Self::Gaussian { variance } => 0.5 * (log_alpha - variance.ln()).exp_m1(),
        }
    }
}

impl fmt::Display for KlPrior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Molchanov => f.write_str("molchanov"),
            Self::EmpiricalBayes => f.write_str("eb"),
            Self::Gaussian { variance: 1.0 } => f.write_str("gaussian"),
            Self::Gaussian { variance } => write!(f, "gaussian:{variance}"),
        }
    }
}

impl FromStr for KlPrior {
    type Err = ParseKlError;

    fn from_str(text: &str) -> Result<Self, ParseKlError> {
        let variance = match text {
            "molchanov" => return Ok(Self::Molchanov),
            "eb" => return Ok(Self::EmpiricalBayes),
            "gaussian" => Some(1.0),
            _ => text
                .strip_prefix("gaussian:")
                .and_then(|number| number.parse().ok()),
        };
        match variance {
            Some(variance) if f64::is_finite(variance) && variance > 0.0 => {
                Ok(Self::Gaussian { variance })
            }
            _ => Err(ParseKlError {
                what: "KL prior",
                text: text.to_owned(),
                expected: "molchanov, eb, gaussian or gaussian:VARIANCE with VARIANCE > 0",
            }),
        }
    }
}

impl TryFrom<String> for KlPrior {
    type Error = ParseKlError;

    fn try_from(text: String) -> Result<Self, ParseKlError> {
        text.parse()
    }
}

impl From<KlPrior> for String {
    fn from(prior: KlPrior) -> Self {
        prior.to_string()
    }
}

/// How many nats-per-gate one rank's KL counts for: `kappa_i`.
///
/// A rank survives an ARD prior iff it gains more than `kappa_i / 2` nats on the training set. With
/// `n_i = Cin k^2 + Cout` the number of parameters in a rank, `kappa_i = n_i` ties one alpha over
/// all weights of the rank; AIC is `2 n_i` and BIC `n_i log N`.
///
/// Its text form is `unit`, `params` or a number. A number is a multiple of `n_i`, NOT an absolute
/// kappa: `0.005` means `kappa_i = 0.005 n_i`, so that layers of different width are asked the same
/// price per parameter. Files may write the number bare.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "MultiplicityText", into = "MultiplicityText")]
pub enum KlMultiplicity {
    /// `kappa_i = 1`: the literal ELBO with one gate per rank.
    Unit,
    /// `kappa_i = n_i`.
    #[default]
    Params,
    /// `kappa_i = value * n_i`, the value being non-negative and finite.
    Value(f64),
}

impl KlMultiplicity {
    /// `kappa_i` of a rank with `n_i = params_per_rank` parameters.
    pub fn kappa(self, params_per_rank: usize) -> f64 {
        match self {
            Self::Unit => 1.0,
            Self::Params => params_per_rank as f64,
            Self::Value(value) => value * params_per_rank as f64,
        }
    }
}

impl fmt::Display for KlMultiplicity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("unit"),
            Self::Params => f.write_str("params"),
            Self::Value(value) => write!(f, "{value}"),
        }
    }
}

impl FromStr for KlMultiplicity {
    type Err = ParseKlError;

    fn from_str(text: &str) -> Result<Self, ParseKlError> {
        match text {
            "unit" => Ok(Self::Unit),
            "params" => Ok(Self::Params),
            _ => match text.parse::<f64>() {
                Ok(value) if value.is_finite() && value >= 0.0 => Ok(Self::Value(value)),
                _ => Err(ParseKlError {
                    what: "KL multiplicity",
                    text: text.to_owned(),
                    expected: "unit, params or a number >= 0 (a multiple of the rank's parameters)",
                }),
            },
        }
    }
}

/// What a file holds for a [`KlMultiplicity`]: a name or a bare number.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum MultiplicityText {
    Number(f64),
    Name(String),
}

impl TryFrom<MultiplicityText> for KlMultiplicity {
    type Error = ParseKlError;

    fn try_from(text: MultiplicityText) -> Result<Self, ParseKlError> {
        match text {
            MultiplicityText::Number(value) => value.to_string().parse(),
            MultiplicityText::Name(name) => name.parse(),
        }
    }
}

impl From<KlMultiplicity> for MultiplicityText {
    fn from(multiplicity: KlMultiplicity) -> Self {
        match multiplicity {
            KlMultiplicity::Value(value) => Self::Number(value),
            named => Self::Name(named.to_string()),
        }
    }
}

/// The expected number of ranks in use, `sum_i 1/(1 + alpha_i)`.
///
/// `1/(1 + alpha)` is the keep probability of the Bernoulli gate with the same relative variance
/// (`alpha = (1 - pi)/pi`). A pruned rank contributes nothing.
pub fn soft_effective_rank(log_alpha: &[f64]) -> f64 {
    // Not `sum`, which gives -0 for no ranks at all.
    log_alpha.iter().fold(0.0, |sum, &t| sum + sigmoid(-t))
}

/// [`soft_effective_rank`] of an adapter's gates, and the number of its ranks that have none.
pub fn effective_rank(adapter: &Adapter) -> f64 {
    let mut gates = Vec::new();
    let mut ungated = 0;
    for layer in &adapter.layers {
        match layer.gate_log_variances(adapter.gates) {
            Some(log_alpha) => gates.extend(log_alpha.into_iter().map(f64::from)),
            None => ungated += layer.rank(),
        }
    }
    soft_effective_rank(&gates) + ungated as f64
}
