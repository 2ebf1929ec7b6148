//! Classes of a set matched to those of a run.

/// How a set's classes are found among a run's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassMatch {
    /// By the set's labels: the run's label, `None` for a class that the run was not trained on.
    pub labels: Vec<Option<u32>>,
    /// Classes that the run was deliberately trained without.
    pub held_out: Vec<String>,
    /// Classes that the run knows nothing of.
    pub unknown: Vec<String>,
    /// One of the two has numbers for names, so that names could not be compared.
    pub by_number: bool,
}

/// Matches classes by name. Only where one side has no names but numbers, as IDX files and other programs'
/// adapters have, and both have as many classes, are they matched by number.
///
/// `run` are the names by the run's labels, `held_out` those of classes that it was trained without, `set` the
/// names by the set's labels.
pub fn match_classes(run: &[String], held_out: &[String], set: &[String]) -> ClassMatch {
    let place = |name: &String| Some(run.iter().position(|known| known == name)? as u32);
    let labels: Vec<Option<u32>> = set.iter().map(place).collect();
    let strangers = set.iter().zip(&labels).filter(|(_, label)| label.is_none());
    let (left_out, unknown): (Vec<String>, Vec<String>) = strangers
        .map(|(name, _)| name.clone())
        .partition(|name| held_out.contains(name));
    if !unknown.is_empty() && set.len() == run.len() {
        let by_number = match (numbers(set), numbers(run)) {
            (Some(numbers), _) => Some(numbers.into_iter().map(Some).collect()),
            (None, Some(numbers)) => {
                let place = |label: u32| numbers.iter().position(|number| *number == label);
                let labels = 0..set.len() as u32;
                Some(labels.map(|label| Some(place(label)? as u32)).collect())
            }
            (None, None) => None,
        };
        if let Some(labels) = by_number {
            return ClassMatch {
                labels,
                held_out: Vec::new(),
                unknown: Vec::new(),
                by_number: true,
            };
        }
    }
    ClassMatch {
        labels,
        held_out: left_out,
        unknown,
        by_number: false,
    }
}

/// The numbers that classes have for names: 0 to their count, in any order.
fn numbers(names: &[String]) -> Option<Vec<u32>> {
    let numbers: Option<Vec<u32>> = names.iter().map(|name| name.parse().ok()).collect();
    let numbers = numbers?;
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted
        .iter()
        .copied()
        .eq(0..names.len() as u32)
        .then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn matched(run: &str, held_out: &str, set: &str) -> ClassMatch {
        match_classes(&names(run), &names(held_out), &names(set))
    }

    #[test]
    fn names_in_another_order_are_mapped_and_a_subset_is_a_match() {
        let found = matched("ant bee cat", "", "cat ant bee");
        assert_eq!(found.labels, [Some(2), Some(0), Some(1)]);
        assert!(!found.by_number && found.unknown.is_empty());
        assert_eq!(matched("ant bee cat", "", "cat").labels, [Some(2)]);
    }

    #[test]
    fn names_that_the_run_does_not_know_are_told_from_those_it_was_trained_without() {
        let found = matched("ant bee", "eel", "bee cat eel");
        assert_eq!(found.labels, [Some(1), None, None]);
        assert_eq!(
            (found.held_out, found.unknown),
            (names("eel"), names("cat"))
        );
        // As many names, but names on both sides.
        let found = matched("ant bee", "", "cat dog");
        assert_eq!((found.labels, found.by_number), (vec![None, None], false));
    }

    #[test]
    fn numbers_stand_for_names_where_there_are_as_many() {
        let found = matched("ant bee", "", "0 1");
        assert_eq!(
            (found.labels, found.by_number),
            (vec![Some(0), Some(1)], true)
        );
        // A folder's classes are sorted as text.
        assert_eq!(
            matched("a b c", "", "0 2 1").labels,
            [Some(0), Some(2), Some(1)]
        );
        let found = matched("0 1", "", "ant bee");
        assert_eq!(
            (found.labels, found.by_number),
            (vec![Some(0), Some(1)], true)
        );
        assert_eq!(matched("0 1", "", "ant bee cat").unknown.len(), 3);
        assert_eq!(matched("ant bee cat", "", "0 1").unknown.len(), 2);
        // Numbers that are the same names on both sides need no excuse.
        let found = matched("0 1 2", "", "2 0");
        assert_eq!(
            (found.labels, found.by_number),
            (vec![Some(2), Some(0)], false)
        );
        assert!(!matched("ant bee", "", "1 2").by_number);
    }
}
