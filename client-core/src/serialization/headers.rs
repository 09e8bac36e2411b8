//! The headers of a record on its way to the producer.

use std::borrow::Cow;

/// One header: a name, and a value where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RecordHeader<'a> {
    /// The name. It may stand more than once.
    pub key: Cow<'a, str>,
    /// The value.
    pub value: Option<Cow<'a, [u8]>>,
}

/// The headers of a record, in order: what serializers are given to read and to add to. Names and values are borrowed or
/// owned; without headers nothing is allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RecordHeaders<'a> {
    list: Vec<RecordHeader<'a>>,
}

impl<'a> RecordHeaders<'a> {
    /// No headers.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// Adds a header behind those that are there. Java's `Headers.add`.
    pub fn add(&mut self, key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, [u8]>>) {
        self.list.push(RecordHeader { key: key.into(), value: Some(value.into()) });
    }

    /// Adds a header without a value behind those that are there.
    pub fn add_null(&mut self, key: impl Into<Cow<'a, str>>) {
        self.list.push(RecordHeader { key: key.into(), value: None });
    }

    /// Removes all headers of this name, and says whether there were any. Java's `Headers.remove`.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.list.len();
        self.list.retain(|header| header.key != key);
        self.list.len() != before
    }

    /// The last header of this name. Java's `Headers.lastHeader`.
    pub fn last(&self, key: &str) -> Option<&RecordHeader<'a>> {
        self.list.iter().rev().find(|header| header.key == key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The headers in order.
    pub fn iter(&self) -> std::slice::Iter<'_, RecordHeader<'a>> {
        self.list.iter()
    }

    /// Removes the headers behind the first `count`, such as those that serializers added.
    pub fn truncate(&mut self, count: usize) {
        self.list.truncate(count);
    }

    /// The same headers, with nothing borrowed.
    pub fn into_owned(self) -> RecordHeaders<'static> {
        let owned = |header: RecordHeader<'_>| RecordHeader {
            key: Cow::Owned(header.key.into_owned()),
            value: header.value.map(|value| Cow::Owned(value.into_owned())),
        };
        RecordHeaders { list: self.list.into_iter().map(owned).collect() }
    }
}

impl<'a, 'b> IntoIterator for &'b RecordHeaders<'a> {
    type Item = &'b RecordHeader<'a>;
    type IntoIter = std::slice::Iter<'b, RecordHeader<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_keep_their_order_and_repeat() {
        let mut headers = RecordHeaders::new();
        headers.add("a", &b"1"[..]);
        headers.add_null("b");
        headers.add("a".to_owned(), vec![2]);
        assert_eq!(headers.last("a").and_then(|header| header.value.as_deref()), Some(&[2][..]));
        assert_eq!(headers.iter().map(|header| &*header.key).collect::<Vec<_>>(), ["a", "b", "a"]);
        let owned: RecordHeaders<'static> = headers.clone().into_owned();
        assert_eq!(owned, headers);
        assert!(headers.remove("a") && !headers.remove("a"));
        assert_eq!(headers.len(), 1);
        headers.truncate(0);
        assert!(headers.is_empty());
    }
}
