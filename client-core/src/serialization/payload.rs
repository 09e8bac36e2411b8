//! The bytes of a key or value that was read.

use std::ops::Deref;

use bytes::Bytes;

/// The bytes of a key or value, and what they are part of, where that is known: then [`Payload::to_bytes`] shares them.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    whole: Option<&'a Bytes>,
}

impl<'a> Payload<'a> {
    /// These bytes.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, whole: None }
    }

    /// These bytes, which lie in `whole`.
    pub const fn within(bytes: &'a [u8], whole: &'a Bytes) -> Self {
        Self { bytes, whole: Some(whole) }
    }

    /// The bytes, for as long as the record lives.
    pub const fn as_slice(&self) -> &'a [u8] {
        self.bytes
    }

    /// A part of the bytes, in the same whole.
    pub(super) const fn part(&self, bytes: &'a [u8]) -> Self {
        Self { bytes, whole: self.whole }
    }

    /// The bytes as `Bytes`: by reference to what they are part of, where that is known, else copied. They keep the whole
    /// batch in memory.
    pub fn to_bytes(&self) -> Bytes {
        if let Some(whole) = self.whole {
            let start = (self.bytes.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
            if let Some(end) = start.checked_add(self.bytes.len())
                && end <= whole.len()
            {
                return whole.slice(start..end);
            }
        }
        Bytes::copy_from_slice(self.bytes)
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shared_where_they_lie_in_the_whole() {
        let whole = Bytes::from(vec![1, 2, 3, 4]);
        let shared = Payload::within(&whole[1..3], &whole).to_bytes();
        assert_eq!((&*shared, shared.as_ptr()), (&[2, 3][..], whole[1..].as_ptr()));
        let elsewhere = [7, 8];
        for payload in [Payload::new(&elsewhere), Payload::within(&elsewhere, &whole)] {
            let copied = payload.to_bytes();
            assert_eq!(&*copied, elsewhere);
            assert_ne!(copied.as_ptr(), elsewhere.as_ptr());
        }
    }
}
