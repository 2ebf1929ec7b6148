//! The classifier: `logits = x W^T + b`, and the mean softmax cross-entropy.

use super::tensor::Tensor;

/// `x [N,F]`, `w [K,F]`, `b [K]` to `[N,K]`.
pub fn linear(x: &Tensor, w: &Tensor, b: &Tensor) -> Tensor {
    let [n, features] = x.dims2();
    let [classes, w_features] = w.dims2();
    assert_eq!(features, w_features);
    Tensor::from_fn(&[n, classes], |i| {
        let (image, class) = (i / classes, i % classes);
        let row = (0..features).map(|f| x.at(&[image, f]) * w.at(&[class, f]));
        b.data[class] + row.sum::<f64>()
    })
}

pub struct LinearGradients {
    pub dx: Tensor,
    pub dw: Tensor,
    pub db: Tensor,
}

pub fn linear_backward(x: &Tensor, w: &Tensor, dlogits: &Tensor) -> LinearGradients {
    let [n, features] = x.dims2();
    let [classes, _] = w.dims2();
    LinearGradients {
        dx: Tensor::from_fn(&[n, features], |i| {
            let (image, f) = (i / features, i % features);
            (0..classes)
                .map(|class| dlogits.at(&[image, class]) * w.at(&[class, f]))
                .sum()
        }),
        dw: Tensor::from_fn(&[classes, features], |i| {
            let (class, f) = (i / features, i % features);
            (0..n)
                .map(|image| dlogits.at(&[image, class]) * x.at(&[image, f]))
                .sum()
        }),
        db: Tensor::from_fn(&[classes], |class| {
            (0..n).map(|image| dlogits.at(&[image, class])).sum()
        }),
    }
}

/// `log softmax` of every row.
pub fn log_softmax(logits: &Tensor) -> Tensor {
    let [_, classes] = logits.dims2();
    let data = logits.data.chunks(classes).flat_map(|row| {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = row.iter().map(|v| (v - most).exp()).sum();
        row.iter().map(move |v| v - most - total.ln())
    });
    Tensor::new(&logits.shape, data.collect())
}

/// The mean loss `-1/N sum log p[label]` and its gradient `(p - onehot)/N`.
pub fn cross_entropy(logits: &Tensor, labels: &[usize]) -> (f64, Tensor) {
    let [n, classes] = logits.dims2();
    assert_eq!(n, labels.len());
    let log_p = log_softmax(logits);
    let loss = -labels
        .iter()
        .enumerate()
        .map(|(image, &label)| log_p.at(&[image, label]))
        .sum::<f64>()
        / n as f64;
    let gradient = Tensor::from_fn(&[n, classes], |i| {
        let target = f64::from(u8::from(labels[i / classes] == i % classes));
        (log_p.data[i].exp() - target) / n as f64
    });
    (loss, gradient)
}
