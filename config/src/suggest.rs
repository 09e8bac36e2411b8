//! The name that was probably meant.

/// The candidate nearest to `name`, where one is near enough to be a slip of the hand.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Names in earnest are short; the comparison is quadratic, and a name from outside may be of any length.
    if name.len() > 200 {
        return None;
    }
    let plain = normalized(name);
    let limit = (plain.len() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (distance(&plain, &normalized(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Spelling that people carry over from flags and environment variables is no difference.
fn normalized(name: &str) -> Vec<char> {
    name.chars().flat_map(char::to_lowercase).map(|c| if matches!(c, '_' | '-' | ' ') { '.' } else { c }).collect()
}

/// Edit distance, with a swap of neighbours counted as one edit (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut cost = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
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

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["bootstrap.servers", "client.id", "linger.ms", "acks"];
        let suggest = |name| nearest(name, names.into_iter());
        assert_eq!(suggest("bootstrap.server"), Some("bootstrap.servers"));
        assert_eq!(suggest("bootstrap_servers"), Some("bootstrap.servers"));
        assert_eq!(suggest("ilnger.ms"), Some("linger.ms"));
        assert_eq!(suggest("ack"), Some("acks"));
        assert_eq!(suggest("zzz"), None);
        assert_eq!(suggest(""), None);
    }
}
