//! Tagged fields that this version of the schemas does not know (KIP-482).

use bytes::Bytes;

/// Tagged fields that came and are not known, in ascending order of their tags. They go out again as they came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnknownTaggedFields(Vec<(u32, Bytes)>);

impl UnknownTaggedFields {
    /// Adds a field. Its tag must lie above the tags that are there, which a reader checks.
    pub(super) fn push(&mut self, tag: u32, content: Bytes) {
        self.0.push((tag, content));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields, by ascending tag.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        self.0.iter().map(|(tag, content)| (*tag, content))
    }
}
