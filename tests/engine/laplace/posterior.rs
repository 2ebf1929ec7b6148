//! The host's half: points with made-up Jacobians, no GPU.

use bayeslora::low_level::formats::{Architecture, Stem};
use bayeslora::low_level::model::{AdapterLayout, ResNet};
use bayeslora::low_level::predict::laplace::{
    Basis, Block, Dims, LaplaceStructure, Link, PRECISION_RANGE, Point, Spectrum, blocks, curvature,
};

use crate::reference::tensor::Tensor as Twin;

use super::dense::Dense;

const CLASSES: usize = 3;
const FEATURES: usize = 5;
const IMAGES: usize = 7;
const SCALE: f64 = 2.5;
const DELTA: f64 = 0.3;

/// Coordinates and Jacobians are f32.
const TOLERANCE: f64 = 1e-5;

/// Adapters on two layers, ranks 2 and 1.
fn layout(widths: [usize; 4], targets: &str) -> AdapterLayout {
    let resnet = ResNet::new(Architecture::ResNet18, Stem::Cifar, widths);
    let (convs, _) = resnet.select(&[targets.to_owned()]).unwrap();
    let ids: Vec<Vec<u32>> = (0..convs.len())
        .map(|i| (0..2 - i as u32).collect())
        .collect();
    AdapterLayout::new(&resnet, &convs, false, CLASSES, &ids)
}

fn small_blocks() -> Vec<Block> {
    blocks(&layout([2, 3, 4, 5], "layer1.0.conv*"))
}

fn parameters(blocks: &[Block]) -> usize {
    blocks.iter().map(Block::parameters).sum()
}

/// Points with random Jacobians of `dims` columns; `rows` of them each.
fn points(count: usize, rows: usize, dims: usize, seed: u64) -> Vec<Point> {
    (0..count as u64)
        .map(|n| {
            let logits = Twin::random(&[CLASSES], seed + 2 * n).map(|v| 2.0 * v).data;
            let total: f64 = logits.iter().map(|l| l.exp()).sum();
            Point {
                log_probs: logits.iter().map(|l| l - total.ln()).collect(),
                jacobian: Twin::random(&[rows * dims], seed + 2 * n + 1).to_f32(),
            }
        })
        .collect()
}

/// What a structure is fitted to, and its points.
fn setting(structure: LaplaceStructure) -> (Dims, Vec<Point>, Vec<Point>) {
    let blocks = small_blocks();
    let (rows, dims) = match structure {
        LaplaceStructure::LastLayerFull | LaplaceStructure::LastLayerKron => (1, FEATURES),
        LaplaceStructure::AdapterDiag | LaplaceStructure::AdapterKron => {
            (CLASSES, parameters(&blocks))
        }
        LaplaceStructure::Gates => (CLASSES, 4),
    };
    let mut train = points(IMAGES, rows, dims, 10);
    let mut test = points(4, rows, dims, 90);
    if rows == 1 {
        for point in train.iter_mut().chain(&mut test) {
            *point.jacobian.last_mut().unwrap() = 1.0;
        }
    }
    let dims = Dims {
        classes: CLASSES,
        features: FEATURES,
        ranks: 4,
        blocks,
    };
    (dims, train, test)
}

fn is_head(structure: LaplaceStructure) -> bool {
    matches!(
        structure,
        LaplaceStructure::LastLayerFull | LaplaceStructure::LastLayerKron
    )
}

/// J `[classes][dims]`; the head's is e_c (x) phi.
fn jacobian(point: &Point, head: bool) -> Vec<Vec<f64>> {
    let wide: Vec<f64> = point.jacobian.iter().map(|v| f64::from(*v)).collect();
    match head {
        false => wide
            .chunks(wide.len() / CLASSES)
            .map(<[f64]>::to_vec)
            .collect(),
        true => (0..CLASSES)
            .map(|class| {
                let mut row = vec![0.0; CLASSES * wide.len()];
                row[class * wide.len()..][..wide.len()].copy_from_slice(&wide);
                row
            })
            .collect(),
    }
}

/// H = scale sum_n J' (diag p - p p') J by its definition.
fn full(points: &[Point], head: bool) -> Dense {
    let dims = jacobian(&points[0], head)[0].len();
    let mut h = Dense::zeros(dims);
    for point in points {
        let rows = jacobian(point, head);
        let p: Vec<f64> = point.log_probs.iter().map(|log| log.exp()).collect();
        for a in 0..CLASSES {
            for b in 0..CLASSES {
                let weight = f64::from(u8::from(a == b)) * p[a] - p[a] * p[b];
                h.add(SCALE * weight, &rows[a], &rows[b]);
            }
        }
    }
    h
}

/// L (x) R by its definition, from the blocks of H: L_ij = tr H_ij, R = sum_i H_ii.
fn kronecker(h: &Dense, rank: usize) -> Dense {
    let (size, columns) = (h.size, h.size / rank);
    let at =
        |i: usize, j: usize, a: usize, b: usize| h.data[(i * columns + a) * size + j * columns + b];
    let left = |i, j| (0..columns).map(|a| at(i, j, a, a)).sum::<f64>();
    let right = |a, b| (0..rank).map(|i| at(i, i, a, b)).sum::<f64>();
    let trace: f64 = (0..rank).map(|i| left(i, i)).sum();
    let mut product = Dense::zeros(size);
    for (place, entry) in product.data.iter_mut().enumerate() {
        let (row, column) = (place / size, place % size);
        let (i, j) = (row / columns, column / columns);
        *entry = left(i, j) * right(row % columns, column % columns) / trace;
    }
    product
}

/// H restricted to some parameters, placed where it belongs.
fn block_of(h: &Dense, start: usize, len: usize) -> Dense {
    let mut block = Dense::zeros(len);
    for (place, entry) in block.data.iter_mut().enumerate() {
        *entry = h.data[(start + place / len) * h.size + start + place % len];
    }
    block
}

/// H in the shape of a structure, densely.
fn expected(structure: LaplaceStructure, blocks: &[Block], train: &[Point]) -> Dense {
    let h = full(train, is_head(structure));
    match structure {
        LaplaceStructure::LastLayerFull | LaplaceStructure::Gates => h,
        LaplaceStructure::AdapterDiag => {
            let mut diagonal = Dense::zeros(h.size);
            for i in 0..h.size {
                diagonal.data[i * h.size + i] = h.data[i * h.size + i];
            }
            diagonal
        }
        LaplaceStructure::AdapterKron => {
            let mut all = Dense::zeros(h.size);
            let mut start = 0;
            for block in blocks {
                let product = kronecker(&block_of(&h, start, block.parameters()), block.rank);
                for (place, value) in product.data.iter().enumerate() {
                    let (row, column) = (place / block.parameters(), place % block.parameters());
                    all.data[(start + row) * h.size + start + column] = *value;
                }
                start += block.parameters();
            }
            all
        }
        LaplaceStructure::LastLayerKron => {
            // sum of the softmax's Hessians (x) sum of phi phi' / n
            let mut hessians = Dense::zeros(CLASSES);
            let mut inputs = Dense::zeros(FEATURES);
            for point in train {
                let p: Vec<f64> = point.log_probs.iter().map(|log| log.exp()).collect();
                hessians.add(-1.0, &p, &p);
                (0..CLASSES).for_each(|c| hessians.data[c * CLASSES + c] += p[c]);
                let phi: Vec<f64> = point.jacobian.iter().map(|v| f64::from(*v)).collect();
                inputs.add(1.0, &phi, &phi);
            }
            let mut product = Dense::zeros(h.size);
            for (place, entry) in product.data.iter_mut().enumerate() {
                let (row, column) = (place / h.size, place % h.size);
                *entry = SCALE / train.len() as f64
                    * hessians.data[row / FEATURES * CLASSES + column / FEATURES]
                    * inputs.data[row % FEATURES * FEATURES + column % FEATURES];
            }
            product
        }
    }
}

fn fit(structure: LaplaceStructure, dims: Dims, train: &[Point]) -> (Spectrum, Box<dyn Basis>) {
    let mut sum = curvature(structure, dims);
    // In two parts, as batches come.
    let (first, second) = train.split_at(train.len() / 2);
    sum.add(first);
    sum.add(second);
    sum.finish(SCALE).unwrap()
}

fn close(found: f64, expected: f64, scale: f64, what: &str) {
    let error = (found - expected).abs() / scale;
    assert!(
        error < TOLERANCE,
        "{what}: {found} for {expected}, {error:.1e}"
    );
}

#[test]
fn posteriors_are_the_dense_formulas() {
    for structure in LaplaceStructure::ALL {
        let (dims, train, test) = setting(structure);
        let dense = expected(structure, &dims.blocks, &train);
        let (covariance, log_det) = dense.plus_identity(DELTA).inverse();
        let (spectrum, basis) = fit(structure, dims, &train);
        let name = structure.name();
        assert_eq!(spectrum.dims(), dense.size, "{name}");
        close(spectrum.log_det(DELTA), log_det, dense.size as f64, name);
        let trace: f64 = (0..dense.size)
            .map(|i| covariance.data[i * dense.size + i])
            .sum();
        let gamma = dense.size as f64 - DELTA * trace;
        close(
            spectrum.effective_dims(DELTA),
            gamma,
            dense.size as f64,
            name,
        );
        for (point, projection) in test.iter().zip(basis.project(&test)) {
            let found = projection.covariance(&spectrum, DELTA, CLASSES);
            let rows = jacobian(point, is_head(structure));
            let largest = (0..CLASSES)
                .map(|c| found[c * (CLASSES + 1)])
                .fold(0.0, f64::max);
            for a in 0..CLASSES {
                assert!(
                    found[a * (CLASSES + 1)] >= 0.0,
                    "{name}: a negative variance"
                );
                for b in 0..CLASSES {
                    let expected = covariance.form(&rows[a], &rows[b]);
                    close(found[a * CLASSES + b], expected, largest, name);
                }
            }
        }
    }
}

#[test]
fn the_evidence_is_gaussian_and_flat_at_its_maximum() {
    let squared_norm = 1.7;
    for structure in LaplaceStructure::ALL {
        let (dims, train, _) = setting(structure);
        let dense = expected(structure, &dims.blocks, &train);
        let (spectrum, _) = fit(structure, dims, &train);
        let name = structure.name();
        // log N(theta* | 0, I/delta) + D/2 log 2 pi - 1/2 log det P
        let (_, log_det) = dense.plus_identity(DELTA).inverse();
        let prior = 0.5 * dense.size as f64 * DELTA.ln() - 0.5 * DELTA * squared_norm;
        let evidence = spectrum.log_occam(DELTA, squared_norm);
        close(evidence, prior - 0.5 * log_det, dense.size as f64, name);

        let best = spectrum.best_precision(squared_norm);
        assert!(
            PRECISION_RANGE.0 < best && best < PRECISION_RANGE.1,
            "{name}: {best}"
        );
        let at = |factor: f64| spectrum.log_occam(factor * best, squared_norm);
        let slope = (at(1.001) - at(1.0 / 1.001)) / (2.0 * 1.001f64.ln());
        assert!(slope.abs() < 1e-5, "{name}: slope {slope}");
        assert!(
            at(1.0) > at(1.5) && at(1.0) > at(1.0 / 1.5),
            "{name}: no maximum"
        );
    }
}

/// At the prior's own mean more precision is always likelier.
#[test]
fn the_evidence_of_gates_has_no_maximum() {
    let (dims, train, _) = setting(LaplaceStructure::Gates);
    let (spectrum, _) = fit(LaplaceStructure::Gates, dims, &train);
    assert_eq!(spectrum.best_precision(0.0), PRECISION_RANGE.1);
    assert!(spectrum.log_occam(2.0, 0.0) > spectrum.log_occam(1.0, 0.0));
}

/// Where each image moves one gate only, its variance is 1/(N H_ii + delta), nearly kappa/(N H_ii).
#[test]
fn gates_that_do_not_meet_have_variance_one_over_n_h() {
    let ranks = 4;
    let (mut dims, mut train, _) = setting(LaplaceStructure::Gates);
    dims.ranks = ranks;
    let mut sums = vec![0.0; ranks];
    for (n, point) in train.iter_mut().enumerate() {
        let gate = n % ranks;
        for (place, value) in point.jacobian.iter_mut().enumerate() {
            *value = if place % ranks == gate { *value } else { 0.0 };
        }
        let slopes = (0..CLASSES).map(|c| f64::from(point.jacobian[c * ranks + gate]));
        let p = point.log_probs.iter().map(|log| log.exp());
        let pairs: Vec<(f64, f64)> = p.zip(slopes).collect();
        let mean: f64 = pairs.iter().map(|(p, j)| p * j).sum();
        sums[gate] += SCALE
            * pairs
                .iter()
                .map(|(p, j)| p * (j - mean).powi(2))
                .sum::<f64>();
    }
    let (spectrum, basis) = fit(LaplaceStructure::Gates, dims, &train);
    for (gate, sum) in sums.iter().enumerate() {
        let mut jacobian = vec![0.0; CLASSES * ranks];
        jacobian[gate] = 1.0;
        let log_probs = vec![-(CLASSES as f64).ln(); CLASSES];
        let point = Point {
            log_probs,
            jacobian,
        };
        let projection = basis.project(&[point]).remove(0);
        let variance = projection.covariance(&spectrum, 1e-6, CLASSES)[0];
        close(variance * sum, 1.0, 1.0, "N H times the variance");
    }
}

/// Points of equal probabilities whose Jacobians J_1 = u_a v_b' (all other classes 0) give
/// H = (sum u u') (x) (sum v v') up to a factor.
fn product_points(block: &Block, us: usize, vs: usize) -> Vec<Point> {
    let (rank, columns) = (block.rank, block.columns());
    let u = Twin::random(&[us, rank], 3);
    let v = Twin::random(&[vs, columns], 4);
    let pairs = (0..us).flat_map(|a| (0..vs).map(move |b| (a, b)));
    pairs
        .map(|(a, b)| {
            let mut jacobian = vec![0.0; CLASSES * rank * columns];
            for i in 0..rank {
                for column in 0..columns {
                    jacobian[i * columns + column] = (u.at(&[a, i]) * v.at(&[b, column])) as f32;
                }
            }
            Point {
                log_probs: vec![-(CLASSES as f64).ln(); CLASSES],
                jacobian,
            }
        })
        .collect()
}

/// Both for a factor in full (45 columns) and for one of low rank (576 columns, 5 of them needed).
#[test]
fn a_kronecker_product_is_found() {
    for (widths, name) in [([5, 5, 5, 5], "full"), ([64, 4, 4, 4], "low rank")] {
        let layout = layout(widths, "layer1.0.conv1");
        // A alone.
        let block = blocks(&layout)[0];
        let train = product_points(&block, 3, 5);
        let dense = full(&train, false);
        let (covariance, log_det) = dense.plus_identity(DELTA).inverse();
        let dims = Dims {
            classes: CLASSES,
            features: 0,
            ranks: 0,
            blocks: vec![block],
        };
        let (spectrum, basis) = fit(LaplaceStructure::AdapterKron, dims, &train);
        close(spectrum.log_det(DELTA), log_det, dense.size as f64, name);
        let test = points(2, CLASSES, block.parameters(), 70);
        for (point, projection) in test.iter().zip(basis.project(&test)) {
            let found = projection.covariance(&spectrum, DELTA, CLASSES);
            let rows = jacobian(point, false);
            for a in 0..CLASSES {
                for b in 0..CLASSES {
                    let expected = covariance.form(&rows[a], &rows[b]);
                    close(found[a * CLASSES + b], expected, found[0], name);
                }
            }
        }
    }
}

/// What 128 eigenvectors of 576 columns leave of the trace is not lost.
#[test]
fn a_sketch_keeps_the_trace() {
    let layout = layout([64, 4, 4, 4], "layer1.0.conv1");
    let block = blocks(&layout)[0];
    let train = points(60, CLASSES, block.parameters(), 200);
    let h = full(&train, false);
    let trace: f64 = (0..h.size).map(|i| h.data[i * h.size + i]).sum();
    let dims = Dims {
        classes: CLASSES,
        features: 0,
        ranks: 0,
        blocks: vec![block],
    };
    let (spectrum, _) = fit(LaplaceStructure::AdapterKron, dims, &train);
    let groups = spectrum.groups.iter();
    let found = spectrum.values.iter().sum::<f64>()
        + groups
            .map(|(value, count)| value * *count as f64)
            .sum::<f64>();
    close(found, trace, trace, "trace");
    assert!(spectrum.groups.iter().all(|(value, _)| *value > 0.0));
}

/// Where all probabilities are the same, KFAC's factors are H.
#[test]
fn the_heads_kronecker_product_is_found() {
    let (_, mut train, test) = setting(LaplaceStructure::LastLayerKron);
    let shared = train[0].log_probs.clone();
    train
        .iter_mut()
        .for_each(|point| point.log_probs = shared.clone());
    let variances = |structure| {
        let (spectrum, basis) = fit(structure, setting(structure).0, &train);
        let projections = basis.project(&test);
        let each = projections
            .iter()
            .map(|p| p.covariance(&spectrum, DELTA, CLASSES));
        each.collect::<Vec<_>>().concat()
    };
    let expected = variances(LaplaceStructure::LastLayerFull);
    let largest = expected.iter().copied().fold(0.0, f64::max);
    for (found, expected) in variances(LaplaceStructure::LastLayerKron)
        .iter()
        .zip(&expected)
    {
        close(*found, *expected, largest, "variance");
    }
}

const LOGITS: [f64; CLASSES] = [2.0, -0.5, 0.3];

#[test]
fn no_variance_is_the_softmax() {
    let total: f64 = LOGITS.iter().map(|logit| logit.exp()).sum();
    let monte_carlo = Link::MonteCarlo {
        samples: 3,
        seed: 1,
    };
    for link in [Link::Probit, monte_carlo] {
        let found = link
            .log_probs(&LOGITS, &[0.0; CLASSES * CLASSES], 0)
            .unwrap();
        for (i, value) in found.iter().enumerate() {
            close(
                f64::from(*value),
                LOGITS[i % CLASSES] - total.ln(),
                1.0,
                "log p",
            );
        }
    }
}

/// What all logits have in common changes nothing, whichever way the probabilities are made.
#[test]
fn a_common_shift_changes_nothing() {
    let covariance = [2.0, 0.5, 0.1, 0.5, 1.0, -0.2, 0.1, -0.2, 0.7];
    let shifted: Vec<f64> = covariance.iter().map(|v| v + 40.0).collect();
    let moved = LOGITS.map(|logit| logit + 9.0);
    let monte_carlo = |seed| Link::MonteCarlo {
        samples: 20_000,
        seed,
    };
    let mean = |values: &[f32]| {
        let rows = values.len() / CLASSES;
        let sum = |c: usize| {
            values
                .iter()
                .skip(c)
                .step_by(CLASSES)
                .map(|v| v.exp())
                .sum::<f32>()
        };
        [0, 1, 2].map(|c| f64::from(sum(c)) / rows as f64)
    };
    let of = |link: Link, logits: &[f64], covariance: &[f64]| {
        mean(&link.log_probs(logits, covariance, 5).unwrap())
    };
    let probit = of(Link::Probit, &LOGITS, &covariance);
    let sampled = of(monte_carlo(1), &LOGITS, &covariance);
    let again = of(monte_carlo(2), &moved, &shifted);
    for c in 0..CLASSES {
        let other = of(Link::Probit, &moved, &shifted)[c];
        assert!((probit[c] - other).abs() < 1e-6, "probit");
        // 20,000 draws.
        assert!(
            (sampled[c] - again[c]).abs() < 0.01,
            "{sampled:?} {again:?}"
        );
        // The formula is an approximation.
        assert!(
            (probit[c] - sampled[c]).abs() < 0.1,
            "{probit:?} {sampled:?}"
        );
    }
}
