//! Topics and partitions as they are typed: `orders`, `orders:0`, `orders:0,4-7`.

use std::str::FromStr;

/// A topic, or some of its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partitions {
    /// The topic.
    pub topic: String,
    /// Its partitions; all where none was named.
    pub numbers: Option<Vec<i32>>,
}

/// More partitions than Kafka lets a topic have in one request.
const RANGE_MAX: i32 = 100_000;

impl FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, numbers) = match text.split_once(':') {
            Some((topic, numbers)) => (topic, Some(self::numbers(numbers).ok_or_else(|| no_partitions(text))?)),
            None => (text, None),
        };
        if topic.is_empty() {
            return Err(no_partitions(text));
        }
        Ok(Self { topic: topic.to_owned(), numbers })
    }
}

fn no_partitions(text: &str) -> String {
    format!("`{text}` names no partitions; write TOPIC, TOPIC:0 or TOPIC:0,4-7")
}

fn numbers(text: &str) -> Option<Vec<i32>> {
    let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0);
    let mut numbers = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => numbers.push(number(part)?),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first || last - first > RANGE_MAX {
                    return None;
                }
                numbers.extend(first..=last);
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_with_and_without_partitions() {
        let parse = |text: &str| text.parse::<Partitions>().map(|parsed| (parsed.topic, parsed.numbers));
        assert_eq!(parse("orders"), Ok(("orders".to_owned(), None)));
        assert_eq!(parse("orders:3"), Ok(("orders".to_owned(), Some(vec![3]))));
        assert_eq!(parse("orders:4-6,0,5"), Ok(("orders".to_owned(), Some(vec![0, 4, 5, 6]))));
        for bad in ["", ":0", "t:", "t:x", "t:-1", "t:3-1", "t:0,", "t:0-2147483647", "t:99999999999"] {
            assert!(parse(bad).unwrap_err().contains("TOPIC:0"), "{bad}");
        }
    }
}
