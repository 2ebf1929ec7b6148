//! Gates in a basis other than that of the ranks.

/// Gates that are drawn in the basis of `r` latent ranks and act on the k ranks of an adapter as the full matrix
/// `left` diag(z) `right`: what becomes of one gate per rank when the ranks are turned and some of them cut.
///
/// The adapter is the same as one of the r latent ranks `right` A and B `left` with a gate each.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixing {
    /// `[k, r]`
    pub left: Vec<f32>,
    /// `[r, k]`; `left` `right` is the identity, so that gates of mean 1 leave the mean as it is.
    pub right: Vec<f32>,
    /// `[r]`: the numbers of the latent ranks, which key their noise.
    pub ids: Vec<u32>,
}

impl Mixing {
    /// Latent ranks.
    pub fn latents(&self) -> usize {
        self.ids.len()
    }

    /// Ranks of the adapter.
    pub fn ranks(&self) -> usize {
        self.left.len() / self.latents().max(1)
    }

    /// A of the latent ranks `[r, n]`, from that of the ranks `[k, n]`.
    pub fn latent_a(&self, lora_a: &[f32]) -> Vec<f32> {
        product(&self.right, lora_a, self.ranks())
    }

    /// B of the latent ranks `[m, r]`, from that of the ranks `[m, k]`.
    pub fn latent_b(&self, lora_b: &[f32]) -> Vec<f32> {
        product(lora_b, &self.left, self.ranks())
    }

    /// The variance of each rank's own gate `[k]`, sum_i left_ji^2 alpha_i right_ij^2.
    pub fn variances(&self, log_alpha: &[f32]) -> Vec<f64> {
        let (ranks, latents) = (self.ranks(), self.latents());
        let of_rank = |j: usize| {
            let weight = |i: usize| {
                f64::from(self.left[j * latents + i]) * f64::from(self.right[i * ranks + j])
            };
            let latent = log_alpha.iter().enumerate();
            latent
                .map(|(i, t)| weight(i).powi(2) * f64::from(*t).exp())
                .sum()
        };
        (0..ranks).map(of_rank).collect()
    }
}

/// The product of `[rows, inner]` and `[inner, columns]`.
fn product(left: &[f32], right: &[f32], inner: usize) -> Vec<f32> {
    let columns = right.len() / inner.max(1);
    let mut out = Vec::with_capacity(left.len() / inner.max(1) * columns);
    let mut row = vec![0.0f64; columns];
    for factors in left.chunks_exact(inner.max(1)) {
        row.fill(0.0);
        for (factor, values) in factors.iter().zip(right.chunks_exact(columns.max(1))) {
            let terms = row.iter_mut().zip(values);
            terms.for_each(|(sum, value)| *sum += f64::from(*factor) * f64::from(*value));
        }
        out.extend(row.iter().map(|value| *value as f32));
    }
    out
}
