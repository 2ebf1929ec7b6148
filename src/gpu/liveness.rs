//! Which transient slots of a plan may share a buffer.

/// The dispatches between which a slot holds something, both included, and its size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub first: usize,
    pub last: usize,
    pub bytes: u64,
}

/// The buffer of each slot that lives: in the order of their first use, the free one nearest in
/// size, or a new one.
pub(super) fn assign(lives: &[Option<Life>]) -> Vec<Option<usize>> {
    let mut order: Vec<(usize, Life)> = lives
        .iter()
        .enumerate()
        .filter_map(|(slot, life)| Some((slot, (*life)?)))
        .collect();
    order.sort_by_key(|(slot, life)| (life.first, *slot));
    let mut homes = vec![None; lives.len()];
    // When each buffer is free again, and its size.
    let mut buffers: Vec<(usize, u64)> = Vec::new();
    for (slot, Life { first, last, bytes }) in order {
        let fit = buffers
            .iter()
            .enumerate()
            .filter(|(_, (free_from, _))| *free_from <= first)
            .min_by_key(|(_, (_, size))| size.abs_diff(bytes))
            .map(|(home, _)| home);
        let home = fit.unwrap_or_else(|| {
            buffers.push((0, 0));
            buffers.len() - 1
        });
        buffers[home] = (last.saturating_add(1), buffers[home].1.max(bytes));
        homes[slot] = Some(home);
    }
    homes
}
