//! Pure f64: the function, Eckart and Young, the moments that become diagonal.

use bayeslora::low_level::train::gauge::{Turn, evidence, svd};
use faer::Mat;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

pub fn random(rows: usize, columns: usize, seed: u64) -> Mat<f64> {
    let mut rng = Pcg64::seed_from_u64(seed);
    Mat::from_fn(rows, columns, |_, _| rng.random_range(-1.0..1.0))
}

/// Factors that one meets: A `[r, n]` and B `[m, r]`.
struct Case {
    name: String,
    a: Mat<f64>,
    b: Mat<f64>,
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut put = |name: &str, a: Mat<f64>, b: Mat<f64>| {
        let (n, m, r) = (a.ncols(), b.nrows(), a.nrows());
        all.push(Case {
            name: format!("{name}, {m} x {n}, rank {r}"),
            a,
            b,
        });
    };
    for (n, m, r) in [
        (36, 10, 0),
        (36, 10, 1),
        (36, 10, 7),
        (72, 12, 8),
        (50, 4, 9),
        (5, 40, 8),
        (3, 2, 6),
    ] {
        let seed = (n + 100 * r) as u64;
        let (a, b) = (random(r, n, seed), random(m, r, seed + 1));
        put("in general", a.clone(), b.clone());
        put("B zero, as at the start", a.clone(), Mat::zeros(m, r));
        put("A zero", Mat::zeros(r, n), b.clone());
        let graded = |i: usize| 10f64.powi(-(i as i32));
        let rows = Mat::from_fn(r, n, |i, j| graded(i) * a[(i, j)]);
        put("sizes over many orders", rows, b.clone());
        if r < 3 {
            continue;
        }
        let dead = |keep: fn(usize) -> bool, of: &Mat<f64>, columns: bool| {
            Mat::from_fn(of.nrows(), of.ncols(), |i, j| {
                match keep(if columns { j } else { i }) {
                    true => of[(i, j)],
                    false => 0.0,
                }
            })
        };
        put("a dead row of A", dead(|i| i != 1, &a, false), b.clone());
        put("a dead column of B", a.clone(), dead(|i| i != 2, &b, true));
        put(
            "two dead ranks",
            dead(|i| i > 1, &a, false),
            dead(|i| i > 0, &b, true),
        );
        let twice = Mat::from_fn(r, n, |i, j| a[(i.min(r - 2), j)]);
        put("a row of A twice", twice, b.clone());
        let mixed = random(r, 2, 3) * random(2, r, 4);
        put("A of rank two", &mixed * &a, b.clone());
        put("B of rank two", a, b * mixed);
    }
    all
}

#[track_caller]
fn near(found: &Mat<f64>, expected: &Mat<f64>, tolerance: f64, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let error = (found - expected).norm_max();
    let size = expected.norm_max().max(f64::MIN_POSITIVE);
    assert!(
        error <= tolerance * size.max(1.0),
        "{what}: {error:.2e} of {size:.2e}"
    );
}

/// Second moments in the basis of the factors, such as data would give.
fn moments(rank: usize, seed: u64) -> (Mat<f64>, Mat<f64>) {
    let of = |seed| {
        let samples = random(rank, 40, seed);
        &samples * samples.transpose()
    };
    (of(seed), of(seed + 1))
}

type Gauge = fn(&Mat<f64>, &Mat<f64>, &(Mat<f64>, Mat<f64>)) -> (Turn, Vec<f64>);

const GAUGES: [(&str, Gauge); 2] = [
    ("svd", |a, b, _| svd(a.as_ref(), b.as_ref()).unwrap()),
    ("evidence", |a, b, (h, q)| {
        evidence(a.as_ref(), b.as_ref(), h.as_ref(), q.as_ref()).unwrap()
    }),
];

#[test]
fn the_function_is_the_same_in_every_basis() {
    for case in cases() {
        let Case { name, a, b } = &case;
        let rank = a.nrows();
        for (gauge, turn) in GAUGES {
            let what = format!("{gauge}, {name}");
            let moments = moments(rank, 11);
            let (turn, values) = turn(a, b, &moments);
            let (turned_a, turned_b) = (turn.a(a.as_ref()), turn.b(b.as_ref()));
            near(&(&turned_b * &turned_a), &(b * a), 1e-12, &what);
            let scaled = &turn.left * &turn.right;
            near(&scaled, &Mat::identity(rank, rank), 1e-6, &what);
            let some: Vec<usize> = (0..rank).step_by(2).collect();
            let cut = turn.keep(&some);
            let identity = Mat::identity(some.len(), some.len());
            near(&(&cut.left * &cut.right), &identity, 1e-6, &what);
            assert!(values.is_sorted_by(|a, b| a >= b), "{what}: {values:?}");
            assert_eq!(values.len(), rank);
            // What the product does without is zero rank by rank.
            for i in values
                .iter()
                .position(|value| *value == 0.0)
                .into_iter()
                .flat_map(|first| first..rank)
            {
                let alone = turned_b.col(i) * turned_a.row(i);
                assert!(alone.norm_max() <= 1e-12, "{what}: {}", alone.norm_max());
            }
        }
    }
}

#[test]
fn turning_twice_is_turning_once() {
    for case in cases() {
        let Case { name, a, b } = &case;
        for (gauge, turn) in GAUGES {
            let before = moments(a.nrows(), 11);
            let (first, _) = turn(a, b, &before);
            let (a, b) = (first.a(a.as_ref()), first.b(b.as_ref()));
            let after = (
                &first.left * &before.0 * first.left.transpose(),
                first.right.transpose() * &before.1 * &first.right,
            );
            let (second, _) = turn(&a, &b, &after);
            let identity = Mat::identity(a.nrows(), a.nrows());
            near(&second.right, &identity, 1e-4, &format!("{gauge}, {name}"));
            near(&second.left, &identity, 1e-4, &format!("{gauge}, {name}"));
        }
    }
}

/// No matrix of rank k is nearer to B A (Eckart and Young) than what k ranks leave after a turn.
#[test]
fn a_cut_in_the_singular_basis_is_the_best_of_its_rank() {
    for case in cases() {
        let Case { name, a, b } = &case;
        let product = b * a;
        let dense = product.svd().unwrap();
        let dense: Vec<f64> = dense.S().column_vector().iter().copied().collect();
        let (turn, values) = svd(a.as_ref(), b.as_ref()).unwrap();
        for (found, expected) in values.iter().zip(&dense) {
            assert!(
                (found - expected).abs() < 1e-12 * dense[0].max(1.0),
                "{name}: {values:?}"
            );
        }
        for left in 0..a.nrows() {
            let kept: Vec<usize> = (0..left).collect();
            let cut = turn.keep(&kept);
            let rest = &product - cut.b(b.as_ref()) * cut.a(a.as_ref());
            let best = dense
                .iter()
                .skip(left)
                .map(|value| value * value)
                .sum::<f64>()
                .sqrt();
            let error = (rest.norm_l2() - best).abs();
            assert!(
                error < 1e-12 * dense[0].max(1.0),
                "{name}, {left} ranks: {error:.2e}"
            );
        }
    }
}

#[test]
fn both_moments_become_diagonal_and_their_product_falls() {
    let (a, b) = (random(7, 60, 1), random(20, 7, 2));
    let (h, q) = moments(7, 5);
    let (turn, found) = evidence(a.as_ref(), b.as_ref(), h.as_ref(), q.as_ref()).unwrap();
    let h = &turn.left * h * turn.left.transpose();
    let q = turn.right.transpose() * q * &turn.right;
    for i in 0..7 {
        for j in 0..7 {
            let scale = |m: &Mat<f64>| m[(i, j)].abs() / (m[(i, i)] * m[(j, j)]).sqrt();
            assert!(i == j || scale(&h) < 1e-8, "h, {i}, {j}: {:.1e}", scale(&h));
            assert!(i == j || scale(&q) < 1e-8, "q, {i}, {j}: {:.1e}", scale(&q));
        }
        let product = h[(i, i)] * q[(i, i)];
        assert!(
            (product / found[i] - 1.0).abs() < 1e-8,
            "{product} {}",
            found[i]
        );
        let (row, column) = (turn.a(a.as_ref()), turn.b(b.as_ref()));
        let ratio = row.row(i).norm_l2() / column.col(i).norm_l2();
        assert!((ratio - 1.0).abs() < 1e-12, "shared evenly: {ratio}");
    }
}

/// Directions that no image has seen have no moments at all; the turn is still one.
#[test]
fn moments_may_be_of_any_rank() {
    let (a, b) = (random(6, 60, 1), random(20, 6, 2));
    for rank in 0..6 {
        let samples = Mat::from_fn(6, 6, |i, j| match i < rank {
            true => random(6, 6, 7)[(i, j)],
            false => 0.0,
        });
        let singular = samples.transpose() * &samples;
        let (turn, found) =
            evidence(a.as_ref(), b.as_ref(), singular.as_ref(), singular.as_ref()).unwrap();
        near(
            &(turn.b(b.as_ref()) * turn.a(a.as_ref())),
            &(&b * &a),
            1e-9,
            "the function",
        );
        assert!(found[rank..].iter().all(|value| *value < 1e-6), "{found:?}");
    }
}

#[test]
fn what_is_not_finite_is_said() {
    let (mut a, b) = (random(3, 9, 1), random(4, 3, 2));
    a[(1, 2)] = f64::NAN;
    assert!(svd(a.as_ref(), b.as_ref()).is_none());
    let (h, q) = moments(3, 1);
    assert!(evidence(a.as_ref(), b.as_ref(), h.as_ref(), q.as_ref()).is_none());
    let nan = Mat::from_fn(3, 3, |_, _| f64::NAN);
    a[(1, 2)] = 0.5;
    for (h, q) in [(&nan, &q), (&h, &nan)] {
        assert!(evidence(a.as_ref(), b.as_ref(), h.as_ref(), q.as_ref()).is_none());
    }
}
