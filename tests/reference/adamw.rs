//! PyTorch's AdamW.

#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub betas: (f64, f64),
    pub eps: f64,
    /// The interval that a parameter is projected to after its step.
    pub project: Option<(f64, f64)>,
}

impl Group {
    /// PyTorch's defaults, without weight decay.
    pub fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            weight_decay: 0.0,
            betas: (0.9, 0.999),
            eps: 1e-8,
            project: None,
        }
    }

    pub fn weight_decay(self, weight_decay: f64) -> Self {
        Self {
            weight_decay,
            ..self
        }
    }

    pub fn project(self, low: f64, high: f64) -> Self {
        Self {
            project: Some((low, high)),
            ..self
        }
    }
}

#[derive(Clone, Debug)]
pub struct Moments {
    pub first: Vec<f64>,
    pub second: Vec<f64>,
}

impl Moments {
    pub fn zeros(len: usize) -> Self {
        Self {
            first: vec![0.0; len],
            second: vec![0.0; len],
        }
    }
}

/// Step number `step`, counted from 1 over the whole run: `p -= lr wd p`, then
/// `p -= lr m^ / (sqrt(v^) + eps)` with `m^ = m/(1 - b1^step)`, `v^ = v/(1 - b2^step)`.
pub fn step(
    group: &Group,
    step: u32,
    parameters: &mut [f64],
    gradients: &[f64],
    moments: &mut Moments,
) {
    assert_eq!(parameters.len(), gradients.len());
    let (beta1, beta2) = group.betas;
    let correction1 = 1.0 - beta1.powi(step as i32);
    let correction2 = 1.0 - beta2.powi(step as i32);
    for (i, (p, &g)) in parameters.iter_mut().zip(gradients).enumerate() {
        let (m, v) = (&mut moments.first[i], &mut moments.second[i]);
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        *p -= group.learning_rate * group.weight_decay * *p;
        *p -= group.learning_rate * (*m / correction1) / ((*v / correction2).sqrt() + group.eps);
        if let Some((low, high)) = group.project {
            *p = p.clamp(low, high);
        }
    }
}

/// What a step meets that is no finite f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Parameter,
    First,
    Second,
    Gradient,
}

/// The cause of what is not finite in a step of one parameter: what it was given before what it made.
/// `given` are parameter, first and second moment and gradient, `made` the first three afterwards.
pub fn unsound(given: [f64; 4], made: [f64; 3]) -> Option<Part> {
    let finite = |value: f64| value.abs() <= f64::from(f32::MAX);
    let [p, m, v, g] = given;
    let [p_after, m_after, v_after] = made;
    let looks = [
        (finite(p), Part::Parameter),
        (finite(m), Part::First),
        (finite(v) && v >= 0.0, Part::Second),
        (finite(g), Part::Gradient),
        (finite(m_after), Part::First),
        (finite(v_after), Part::Second),
        (finite(p_after), Part::Parameter),
    ];
    let (_, part) = looks.into_iter().find(|(sound, _)| !sound)?;
    Some(part)
}
