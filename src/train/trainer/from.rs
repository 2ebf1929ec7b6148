//! Starting from an adapter that was trained before.

use super::Trainer;
use crate::formats::{Adapter, GateDistribution};
use crate::model::{AdapterLayout, AdapterParams, AdapterState, exchange};
use crate::train::{TrainError, TrainableState};

impl Trainer {
    /// Starts from the weights of an adapter, with a fresh optimiser: A and B, the gates where both the adapter and the
    /// method have them, and the head's rows of the classes that the training set has too. Returns how many these are; the
    /// others begin as in a new head. The configuration must have the adapter's layers, initial rank and scale.
    ///
    /// # Errors
    /// Layers, ranks or scale are not those of the configuration, or the GPU fails.
    pub fn start_from(&mut self, adapter: &Adapter) -> Result<usize, TrainError> {
        let resnet = &self.network.resnet;
        let misfit = |what: String| TrainError::Start(what);
        let AdapterParams {
            layout: found,
            state: given,
            scale: theirs,
            ..
        } = exchange::from_file(resnet, adapter).map_err(|error| misfit(error.to_string()))?;
        let fresh = &self.trainable.layout;
        let names = |layout: &AdapterLayout| -> Vec<String> {
            layout
                .layers
                .iter()
                .map(|layer| layer.name.clone())
                .collect()
        };
        if names(&found) != names(fresh) {
            return Err(misfit(format!(
                "it has the layers {}, the configuration {}",
                names(&found).join(", "),
                names(fresh).join(", ")
            )));
        }
        let ours = self.config.scale();
        if (theirs - ours).abs() > 1e-6 * ours || adapter.initial_rank != self.config.rank {
            return Err(misfit(format!(
                "it has the rank {} and the scale {theirs}, the configuration {} and {ours}",
                adapter.initial_rank, self.config.rank
            )));
        }
        // Pruned ranks keep their numbers, in order; turned ones have none of their own.
        let ids = found.layers.iter().map(|layer| {
            let ids = &layer.rank_ids;
            match ids.is_sorted_by(|a, b| a < b) {
                true => ids.clone(),
                false => (0..ids.len() as u32).collect(),
            }
        });
        let layout = fresh.with_ranks(resnet, &ids.collect::<Vec<_>>());
        let state = self.trainable.read_values(&self.gpu)?;
        let classes = &self.train.dataset.classes;
        let rows: Vec<Option<usize>> = classes
            .iter()
            .map(|class| adapter.classes.iter().position(|known| known == class))
            .collect();
        let drawn = self.config.method.gates();
        let begun = given.layers.into_iter().zip(&found.layers);
        let layers = begun.zip(&state.layers);
        let layers = layers.map(|((mut given, layer), fresh)| {
            let stored = adapter
                .layers
                .iter()
                .find(|stored| stored.name == layer.name);
            let gated = stored.is_some_and(|stored| stored.log_alpha.is_some());
            if !(gated
                && drawn == Some(adapter.gates)
                && drawn != Some(GateDistribution::Bernoulli))
            {
                // All start with the same.
                let first = fresh.log_alpha.first().copied().unwrap_or_default();
                given.log_alpha.fill(first);
            }
            if layer.conv.is_none() {
                let rank = layer.rank();
                given.lora_b = taken(&given.lora_b, &vec![0.0; rank * classes.len()], &rows, rank);
            }
            given
        });
        let layers = layers.collect();
        let mut state = AdapterState { layers, ..state };
        let (head, width) = (&adapter.head, layout.features);
        state.head_weight = taken(&head.weight, &state.head_weight, &rows, width);
        state.head_bias = taken(&head.bias, &state.head_bias, &rows, 1);
        self.replace(&TrainableState::new(layout, state))?;
        Ok(rows.iter().flatten().count())
    }
}

/// Rows of that width from `values`, in another order; where there is none, that of `fresh` in its place.
fn taken(values: &[f32], fresh: &[f32], rows: &[Option<usize>], width: usize) -> Vec<f32> {
    let places = rows.iter().enumerate();
    let row = |(place, row): (usize, &Option<usize>)| match row {
        Some(row) => &values[row * width..][..width],
        None => &fresh[place * width..][..width],
    };
    places.flat_map(row).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::taken;

    #[test]
    fn rows_come_in_the_order_that_is_asked_for() {
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let fresh = [7.0, 8.0, 9.0, 10.0, 11.0, 12.0];
        assert_eq!(
            taken(&rows, &fresh, &[Some(2), None, Some(1)], 2),
            [5.0, 6.0, 9.0, 10.0, 3.0, 4.0]
        );
    }
}
