//! Numbers as tables and axes print them.

use super::Score;
use crate::metrics::Interval;

/// `.8310`, `−.012`, `1.25`: no zero before the point, a true minus, a dash for what is not a number.
pub fn decimal(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let text = format!("{:.digits$}", value.abs());
    let text = match text.strip_prefix("0.") {
        Some(fraction) => format!(".{fraction}"),
        None => text,
    };
    let rounds_to_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    match value < 0.0 && !rounds_to_zero {
        true => format!("−{text}"),
        false => text,
    }
}

/// With a plus where it is above zero.
pub fn signed(value: f64, digits: usize) -> String {
    let text = decimal(value, digits);
    match value > 0.0 && text.contains(|digit| ('1'..='9').contains(&digit)) {
        true => format!("+{text}"),
        false => text,
    }
}

/// `10,000`
pub fn count(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 image`, `10,000 images`
pub fn counted(value: usize, one: &str) -> String {
    match value {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", count(value)),
    }
}

/// `5`, or `2 to 5` where they differ.
pub fn between(values: impl IntoIterator<Item = usize>) -> String {
    let values: Vec<usize> = values.into_iter().collect();
    match (values.iter().min(), values.iter().max()) {
        (Some(low), Some(high)) if low == high => count(*low),
        (Some(low), Some(high)) => format!("{} to {}", count(*low), count(*high)),
        _ => "no".into(),
    }
}

/// `.310 to .334`
pub fn range(interval: &Interval, digits: usize) -> String {
    format!(
        "{} to {}",
        decimal(interval.low, digits),
        decimal(interval.high, digits)
    )
}

/// `.8310 ± .0021`; without a spread, as one seed has none, the mean alone.
pub fn spread(score: &Score, digits: usize) -> String {
    match score.sd > 0.0 {
        true => format!(
            "{} ± {}",
            decimal(score.mean, digits),
            decimal(score.sd, digits)
        ),
        false => decimal(score.mean, digits),
    }
}
