//! The name that was probably meant.

/// The candidate nearest to `name`, where it is near enough to be a slip of the hand.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be put in, taken out or changed to make the one of the other; case is no difference.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().flat_map(char::to_lowercase).collect();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.chars().flat_map(char::to_lowercase).enumerate() {
        let mut here = vec![row + 1];
        for (column, other) in right.iter().enumerate() {
            let change = above[column] + usize::from(letter != *other);
            here.push(change.min(above[column + 1] + 1).min(here[column] + 1));
        }
        above = here;
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let topics = ["orders", "payments", "audit-log"];
        assert_eq!(nearest("order", topics.into_iter()), Some("orders"));
        assert_eq!(nearest("Payment", topics.into_iter()), Some("payments"));
        assert_eq!(nearest("audit_log", topics.into_iter()), Some("audit-log"));
        assert_eq!(nearest("clicks", topics.into_iter()), None);
        assert_eq!(nearest("", topics.into_iter()), None);
    }
}
