// One entry for each rank of an adapter whose weights are drawn. A rank's weights are counted in quads: its row of A by
// [tap][channels], then its column of B by [channels], channels padded to a multiple of four.
struct Rank {
    layer: u32,
    id: u32,                // the rank's number before any pruning
    rho: u32,               // place of log sigma^2 among the parameters, in floats
    a: u32,                 // first quad of its row of A among the parameters
    b: u32,                 // and of its column of B
    taps: u32,
    inputs: u32,            // channels
    outputs: u32,
    kl: f32,                // kappa / n
}

fn quads_of_a(rank: Rank) -> u32 { return rank.taps * ((rank.inputs + 3u) / 4u); }

fn quads_of(rank: Rank) -> u32 { return quads_of_a(rank) + (rank.outputs + 3u) / 4u; }

// Where a quad of the rank's weights is among the parameters.
fn place_of(rank: Rank, quad: u32) -> u32 {
    let of_a = quads_of_a(rank);
    return select(rank.b + quad - of_a, rank.a + quad, quad < of_a);
}

// Which lanes of a quad are weights, not padding.
fn is_weight(rank: Rank, quad: u32) -> vec4<bool> {
    let of_a = quads_of_a(rank);
    let first = select(quad - of_a, quad % ((rank.inputs + 3u) / 4u), quad < of_a) * 4u;
    let channels = select(rank.outputs, rank.inputs, quad < of_a);
    return (vec4u(0u, 1u, 2u, 3u) + first) < vec4u(channels);
}
