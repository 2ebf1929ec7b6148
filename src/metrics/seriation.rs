//! An order of classes in which those that are confused stand together.

use super::Confusion;

/// Classes so far joined, in their order.
struct Group {
    classes: Vec<usize>,
    /// With the other groups, by place; that with itself is not used.
    alike: Vec<f64>,
}

/// `classes` in an order that puts those that are taken for each other side by side: the leaves of average linkage (Sokal
/// and Michener 1958) over the sum of both confusion rates, branches turned so that the ends that meet are the most alike
/// (Gruvaeus and Wainer 1972). Groups without any confusion between them stand in the order of their first class, and
/// so do classes that are equally alike: the same counts always give the same order.
///
/// Takes time with the cube of the number of `classes`.
///
/// # Panics
/// If a class is not one of the confusion's.
pub fn confusion_order(confusion: &Confusion, classes: &[usize]) -> Vec<usize> {
    let mut classes = classes.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let alike = |a: usize, b: usize| confusion.rate(a, b) + confusion.rate(b, a);
    let group = |&class: &usize| Group {
        classes: vec![class],
        alike: classes.iter().map(|&other| alike(class, other)).collect(),
    };
    let mut groups: Vec<Group> = classes.iter().map(group).collect();
    while let Some((first, second)) = most_alike(&groups) {
        let other = groups.remove(second);
        for group in &mut groups {
            group.alike.remove(second);
        }
        let mut group_alike = other.alike;
        group_alike.remove(second);
        let sizes = (groups[first].classes.len(), other.classes.len());
        let weights = (sizes.0 as f64, sizes.1 as f64);
        for place in 0..groups.len() {
            let both = weights.0 * groups[first].alike[place] + weights.1 * group_alike[place];
            let mean = both / (weights.0 + weights.1);
            groups[first].alike[place] = mean;
            groups[place].alike[first] = mean;
        }
        let before = std::mem::take(&mut groups[first].classes);
        groups[first].classes = joined(before, other.classes, alike);
    }
    groups.sort_by_key(|group| group.classes.iter().copied().min());
    groups.into_iter().flat_map(|group| group.classes).collect()
}

/// The places of the two groups with the highest mean confusion, the first of several; `None` where nothing is confused
/// any more.
fn most_alike(groups: &[Group]) -> Option<(usize, usize)> {
    let mut best = (0.0, None);
    for (first, group) in groups.iter().enumerate() {
        for (second, &alike) in group.alike.iter().enumerate().skip(first + 1) {
            if alike > best.0 {
                best = (alike, Some((first, second)));
            }
        }
    }
    best.1
}

/// One after the other, each turned round where their ends are then more alike; the end with the lower class comes first.
fn joined(
    mut first: Vec<usize>,
    mut second: Vec<usize>,
    alike: impl Fn(usize, usize) -> f64,
) -> Vec<usize> {
    let ends = |classes: &[usize]| (classes[0], classes[classes.len() - 1]);
    let ((a, b), (c, d)) = (ends(&first), ends(&second));
    let ways = [
        (alike(b, c), false, false),
        (alike(b, d), false, true),
        (alike(a, c), true, false),
        (alike(a, d), true, true),
    ];
    let mut best = ways[0];
    for way in ways {
        if way.0 > best.0 {
            best = way;
        }
    }
    if best.1 {
        first.reverse();
    }
    if best.2 {
        second.reverse();
    }
    first.append(&mut second);
    if first.first() > first.last() {
        first.reverse();
    }
    first
}
