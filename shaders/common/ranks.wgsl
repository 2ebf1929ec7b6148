// One entry for each rank of any adapter, and one for each padding lane of the gates.
struct Rank {
    layer: u32,
    id: u32,                // the rank's number before any pruning
    gate: u32,              // place of its gate for the first row, in floats
    stride: u32,            // floats between rows
    parameter: u32,         // place of log alpha among the parameters; NONE for a padding lane
    kappa: f32,             // KL multiplicity
}
const NONE = 0xffffffffu;
