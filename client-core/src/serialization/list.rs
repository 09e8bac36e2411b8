//! Lists of what another serializer writes, as Java's `ListSerializer` has them (KIP-466).

use std::fmt;
use std::sync::Arc;

use rkafka_protocol::records::HeadersView;

use super::{
    BooleanDeserializer, BooleanSerializer, ByteArrayDeserializer, ByteArraySerializer, DeserializeWith, Deserializer,
    DoubleDeserializer, DoubleSerializer, Encoded, FloatDeserializer, FloatSerializer, IntegerDeserializer,
    IntegerSerializer, LongDeserializer, LongSerializer, Nullable, Payload, Preparation, RecordHeaders,
    SerializationContext, SerializationError, SerializeWith, Serializer, ShortDeserializer, ShortSerializer,
    StringDeserializer, StringSerializer, UuidDeserializer, UuidSerializer, VoidDeserializer, VoidSerializer,
};

/// The entries all have the size that their serializer is known for, and nulls are told by their indices.
const CONSTANT_SIZE: u8 = 0;
/// Each entry has its size before it, -1 for a null.
const VARIABLE_SIZE: u8 = 1;
const NULL: i32 = -1;

/// A serializer or deserializer whose values can be entries of a list: [`ListSerializer`], [`ListDeserializer`].
///
/// Java knows numbers and UUIDs to have the same size always, and leaves that size out. One of the application's own has
/// none that Java knows, which is what is said by an implementation without a body:
///
/// ```
/// # use rkafka_client_core::serialization::ListEntry;
/// # struct PointSerializer;
/// impl ListEntry for PointSerializer {}
/// ```
pub trait ListEntry {
    /// How many bytes each value takes, where Java knows that. Default: `None`, each may take another number.
    const SIZE: Option<usize> = None;
}

macro_rules! entries {
    ($($size:expr => $($of:ty),*;)*) => {$($(
        impl ListEntry for $of {
            const SIZE: Option<usize> = $size;
        }
    )*)*};
}

entries! {
    Some(2) => ShortSerializer, ShortDeserializer;
    Some(4) => IntegerSerializer, IntegerDeserializer, FloatSerializer, FloatDeserializer;
    Some(8) => LongSerializer, LongDeserializer, DoubleSerializer, DoubleDeserializer;
    Some(36) => UuidSerializer, UuidDeserializer;
    None => BooleanSerializer, BooleanDeserializer, StringSerializer, StringDeserializer, ByteArraySerializer,
        ByteArrayDeserializer, VoidSerializer, VoidDeserializer;
}

#[cfg(feature = "json")]
entries! {
    None => super::JsonSerializer, super::JsonDeserializer;
}

impl<F> ListEntry for SerializeWith<F> {}
impl<F> ListEntry for DeserializeWith<F> {}
impl<S> ListEntry for ListSerializer<S> {}
impl<S> ListEntry for ListDeserializer<S> {}

impl<S: ListEntry> ListEntry for Nullable<S> {
    const SIZE: Option<usize> = S::SIZE;
}

impl<S: ListEntry> ListEntry for &S {
    const SIZE: Option<usize> = S::SIZE;
}

impl<S: ListEntry> ListEntry for Box<S> {
    const SIZE: Option<usize> = S::SIZE;
}

impl<S: ListEntry> ListEntry for Arc<S> {
    const SIZE: Option<usize> = S::SIZE;
}

/// Writes lists, each entry by the serializer within, with the bytes of Java's `ListSerializer`. Entries that are null
/// (`None` of `Option`) stay null.
///
/// ```
/// use rkafka_client_core::serialization::{IntegerSerializer, ListSerializer, RecordHeaders, SerializationContext, Serializer};
///
/// let (context, mut bytes) = (SerializationContext::value("orders"), Vec::new());
/// let _ = ListSerializer(IntegerSerializer).serialize(context, &mut RecordHeaders::new(), &vec![7, 8], &mut bytes)?;
/// assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8]);
/// # Ok::<(), rkafka_client_core::serialization::SerializationError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListSerializer<S>(pub S);

fn length(context: SerializationContext<'_>, length: usize) -> Result<i32, SerializationError> {
    i32::try_from(length)
        .map_err(|_| SerializationError::new(context, format!("{length} is more than a list can count (31 bits)")))
}

fn patch(into: &mut [u8], at: usize, number: i32) {
    if let Some(place) = into.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = number.to_be_bytes();
    }
}

impl<T: Sync, S: Serializer<T> + ListEntry + Sync> Serializer<[T]> for ListSerializer<S> {
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        headers: &mut RecordHeaders<'_>,
        data: &[T],
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        let count = length(context, data.len())?;
        let Some(size) = S::SIZE else {
            into.push(VARIABLE_SIZE);
            into.extend(count.to_be_bytes());
            for entry in data {
                let at = into.len();
                into.extend(NULL.to_be_bytes());
                if self.0.serialize(context, headers, entry, into)? == Encoded::Bytes {
                    let size = length(context, into.len().saturating_sub(at).saturating_sub(4))?;
                    patch(into, at, size);
                }
            }
            return Ok(Encoded::Bytes);
        };
        into.push(CONSTANT_SIZE);
        let nulls_at = into.len();
        into.extend(0_i32.to_be_bytes());
        into.extend(count.to_be_bytes());
        let mut nulls = Vec::new();
        for (index, entry) in (0..count).zip(data) {
            let before = into.len();
            match self.0.serialize(context, headers, entry, into)? {
                Encoded::Null => nulls.push(index),
                Encoded::Bytes if into.len() == before.saturating_add(size) => {}
                Encoded::Bytes => {
                    return Err(SerializationError::new(
                        context,
                        format!("an entry has not the {size} bytes of its kind"),
                    ));
                }
            }
        }
        if !nulls.is_empty() {
            patch(into, nulls_at, length(context, nulls.len())?);
            // Behind their number, which was written as if there were none.
            let indices = nulls_at.saturating_add(4);
            into.splice(indices..indices, nulls.into_iter().flat_map(i32::to_be_bytes));
        }
        Ok(Encoded::Bytes)
    }

    fn prepare<'a>(&'a self, context: SerializationContext<'a>, data: &'a [T]) -> Preparation<'a> {
        Box::pin(async move {
            for entry in data {
                self.0.prepare(context, entry).await?;
            }
            Ok(())
        })
    }
}

impl<T: Sync, S: Serializer<T> + ListEntry + Sync> Serializer<Vec<T>> for ListSerializer<S> {
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        headers: &mut RecordHeaders<'_>,
        data: &Vec<T>,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        self.serialize(context, headers, data.as_slice(), into)
    }

    fn prepare<'a>(&'a self, context: SerializationContext<'a>, data: &'a Vec<T>) -> Preparation<'a> {
        self.prepare(context, data.as_slice())
    }
}

impl<T: Sync, S: Serializer<T> + ListEntry + Sync> Serializer<Option<Vec<T>>> for ListSerializer<S> {
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        headers: &mut RecordHeaders<'_>,
        data: &Option<Vec<T>>,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        match data {
            Some(data) => self.serialize(context, headers, data, into),
            None => Ok(Encoded::Null),
        }
    }

    fn prepare<'a>(&'a self, context: SerializationContext<'a>, data: &'a Option<Vec<T>>) -> Preparation<'a> {
        self.prepare(context, data.as_deref().unwrap_or_default())
    }
}

/// Reads lists that a [`ListSerializer`] or Java's wrote, each entry by the deserializer within, which meets a null where
/// the list has one. Bytes behind the last entry are an error, where Java passes over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListDeserializer<S>(pub S);

/// What is left of a list's bytes.
struct Reader<'c, 'a> {
    context: SerializationContext<'c>,
    rest: &'a [u8],
}

impl<'a> Reader<'_, 'a> {
    fn error(&self, what: impl fmt::Display) -> SerializationError {
        SerializationError::new(self.context, format!("its bytes are no list: {what}"))
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], SerializationError> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or_else(|| self.error("they end too soon"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<i32, SerializationError> {
        let bytes = self.take(4)?;
        bytes.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)).ok_or_else(|| self.error("they end too soon"))
    }

    fn count(&mut self) -> Result<usize, SerializationError> {
        let number = self.number()?;
        usize::try_from(number).map_err(|_| self.error("a number of entries is negative"))
    }
}

/// Calls `entry` with each entry of a list. Nothing is allocated by what the bytes say of themselves: each entry takes
/// bytes, be it the four of a null.
fn entries<'a>(
    context: SerializationContext<'_>,
    data: Payload<'a>,
    size: Option<usize>,
    mut entry: impl FnMut(Option<Payload<'a>>) -> Result<(), SerializationError>,
) -> Result<(), SerializationError> {
    let mut reader = Reader { context, rest: data.as_slice() };
    match reader.take(1)? {
        [VARIABLE_SIZE] => {
            for _ in 0..reader.count()? {
                match reader.number()? {
                    NULL => entry(None)?,
                    size => {
                        let size =
                            usize::try_from(size).map_err(|_| reader.error("the size of an entry is negative"))?;
                        entry(Some(data.part(reader.take(size)?)))?;
                    }
                }
            }
        }
        [CONSTANT_SIZE] => {
            let Some(size) = size else {
                return Err(reader.error("the entries have a constant size, which this deserializer does not know"));
            };
            let null_count = reader.count()?;
            let indices = reader.take(null_count.saturating_mul(4))?;
            let mut nulls = indices.as_chunks().0.iter().map(|bytes| i32::from_be_bytes(*bytes)).collect::<Vec<_>>();
            nulls.sort_unstable();
            let count = reader.number()?;
            if count < 0 || nulls.first().is_some_and(|first| *first < 0) || nulls.last() >= Some(&count) {
                return Err(reader.error("a number is out of range"));
            }
            for index in 0..count {
                if nulls.binary_search(&index).is_ok() {
                    entry(None)?;
                } else {
                    entry(Some(data.part(reader.take(size)?)))?;
                }
            }
        }
        _ => return Err(reader.error("the first byte is neither 0 nor 1")),
    }
    if reader.rest.is_empty() { Ok(()) } else { Err(reader.error("there are bytes behind the last entry")) }
}

impl<'a, T, S: Deserializer<'a, T> + ListEntry + Sync> Deserializer<'a, Vec<T>> for ListDeserializer<S> {
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        headers: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<Vec<T>, SerializationError> {
        let data = data.ok_or_else(|| SerializationError::null(context, "list"))?;
        let mut list = Vec::new();
        entries(context, data, S::SIZE, |entry| {
            list.push(self.0.deserialize(context, headers, entry)?);
            Ok(())
        })?;
        Ok(list)
    }

    fn prepare<'b>(
        &'b self,
        context: SerializationContext<'b>,
        headers: HeadersView<'b>,
        data: Option<Payload<'b>>,
    ) -> Preparation<'b> {
        Box::pin(async move {
            let Some(data) = data else { return Ok(()) };
            let mut list = Vec::new();
            entries(context, data, S::SIZE, |entry| {
                list.push(entry);
                Ok(())
            })?;
            for entry in list {
                self.0.prepare(context, headers, entry).await?;
            }
            Ok(())
        })
    }
}

impl<'a, T, S: Deserializer<'a, T> + ListEntry + Sync> Deserializer<'a, Option<Vec<T>>> for ListDeserializer<S> {
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        headers: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<Option<Vec<T>>, SerializationError> {
        data.map(|data| self.deserialize(context, headers, Some(data))).transpose()
    }

    fn prepare<'b>(
        &'b self,
        context: SerializationContext<'b>,
        headers: HeadersView<'b>,
        data: Option<Payload<'b>>,
    ) -> Preparation<'b> {
        <Self as Deserializer<'a, Vec<T>>>::prepare(self, context, headers, data)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hex, read, write};
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    macro_rules! same_as_java {
        ($serializer:ident, $deserializer:ident, $of:ty, $list:expr, $hex:literal) => {{
            let (list, bytes): (Vec<$of>, _) = ($list, hex($hex));
            assert_eq!(write(ListSerializer($serializer), &list).unwrap(), bytes, "{list:?}");
            assert_eq!(write(ListSerializer($serializer), &Some(list.clone())).unwrap(), bytes);
            assert_eq!(read::<Vec<$of>>(ListDeserializer($deserializer), Some(&bytes)).unwrap(), list);
            assert_eq!(read::<Option<Vec<$of>>>(ListDeserializer($deserializer), Some(&bytes)).unwrap(), Some(list));
        }};
    }

    // The bytes are those of Java's ListSerializer, kafka-clients 4.3.1.
    #[test]
    fn lists_have_the_bytes_of_javas() {
        same_as_java!(
            IntegerSerializer,
            IntegerDeserializer,
            i32,
            vec![1, 2, -3],
            "0000000000000000030000000100000002fffffffd"
        );
        same_as_java!(
            IntegerSerializer,
            IntegerDeserializer,
            Option<i32>,
            vec![None, Some(2), None],
            "000000000200000000000000020000000300000002"
        );
        same_as_java!(IntegerSerializer, IntegerDeserializer, i32, vec![], "000000000000000000");
        same_as_java!(IntegerSerializer, IntegerDeserializer, Option<i32>, vec![None], "00000000010000000000000001");
        same_as_java!(ShortSerializer, ShortDeserializer, i16, vec![7], "0000000000000000010007");
        same_as_java!(LongSerializer, LongDeserializer, i64, vec![7], "0000000000000000010000000000000007");
        same_as_java!(FloatSerializer, FloatDeserializer, f32, vec![1.5], "0000000000000000013fc00000");
        same_as_java!(DoubleSerializer, DoubleDeserializer, f64, vec![1.5], "0000000000000000013ff8000000000000");
        same_as_java!(
            UuidSerializer,
            UuidDeserializer,
            Option<Uuid>,
            vec![Some(Uuid::from_u64_pair(1, 2)), None],
            "0000000001000000010000000230303030303030302d303030302d303030312d303030302d303030303030303030303032"
        );
        same_as_java!(
            BooleanSerializer,
            BooleanDeserializer,
            Option<bool>,
            vec![Some(true), None, Some(false)],
            "01000000030000000101ffffffff0000000100"
        );
        same_as_java!(
            StringSerializer,
            StringDeserializer,
            Option<String>,
            vec![Some("a".into()), Some(String::new()), Some("bcd".into()), None],
            "010000000400000001610000000000000003626364ffffffff"
        );
        same_as_java!(StringSerializer, StringDeserializer, String, vec![], "0100000000");
        same_as_java!(
            ByteArraySerializer,
            ByteArrayDeserializer,
            Option<Vec<u8>>,
            vec![Some(vec![1, 2]), None],
            "0100000002000000020102ffffffff"
        );
        same_as_java!(VoidSerializer, VoidDeserializer, (), vec![()], "0100000001ffffffff");
        assert_eq!(write(ListSerializer(IntegerSerializer), &None::<Vec<i32>>), None);
        assert_eq!(read::<Option<Vec<i32>>>(ListDeserializer(IntegerDeserializer), None).unwrap(), None);
        // Java reads numbers that have their sizes too.
        let sized = hex("01000000020000000400000001ffffffff");
        let read_sized = read::<Vec<Option<i32>>>(ListDeserializer(IntegerDeserializer), Some(&sized)).unwrap();
        assert_eq!(read_sized, [Some(1), None]);
        // Lists of lists, and of what the application writes itself.
        let nested = vec![vec![1_i16], vec![]];
        let bytes = write(ListSerializer(ListSerializer(ShortSerializer)), &nested).unwrap();
        assert_eq!(
            read::<Vec<Vec<i16>>>(ListDeserializer(ListDeserializer(ShortDeserializer)), Some(&bytes)).unwrap(),
            nested
        );
    }

    #[test]
    fn what_is_no_list_is_told() {
        let why = |text: &str| {
            let bytes = hex(text);
            read::<Vec<i32>>(ListDeserializer(IntegerDeserializer), Some(&bytes)).unwrap_err().to_string()
        };
        for (bytes, reason) in [
            ("", "too soon"),
            ("02", "neither 0 nor 1"),
            ("000000000000000004000000010000", "too soon"),
            ("0000000000000000080000000100000002", "too soon"),
            ("007fffffff", "too soon"),
            ("00ffffffff", "negative"),
            ("00000000017fffffff7fffffff", "out of range"),
            ("0000000001ffffffff0000000400000001", "out of range"),
            ("0000000000ffffffff", "out of range"),
            ("01ffffffff", "negative"),
            ("0100000001fffffffe", "negative"),
            ("017fffffff", "too soon"),
            ("010000000200000002", "too soon"),
            ("00000000000000000000", "behind the last entry"),
            ("0100000001ffffffff", "is null"),
        ] {
            let error = why(bytes);
            assert!(error.contains(reason), "{bytes}: {error}");
        }
        let constant = hex("0000000000000000040000000161626364");
        let error = read::<Vec<String>>(ListDeserializer(StringDeserializer), Some(&constant)).unwrap_err().to_string();
        assert!(error.contains("constant size"), "{error}");
    }

    proptest! {
        #[test]
        fn lists_come_back(numbers: Vec<Option<i64>>, texts: Vec<Option<String>>) {
            let bytes = write(ListSerializer(LongSerializer), &numbers).unwrap();
            prop_assert_eq!(read::<Vec<Option<i64>>>(ListDeserializer(LongDeserializer), Some(&bytes)).unwrap(), numbers);
            let bytes = write(ListSerializer(StringSerializer), &texts).unwrap();
            prop_assert_eq!(read::<Vec<Option<String>>>(ListDeserializer(StringDeserializer), Some(&bytes)).unwrap(), texts);
        }

        #[test]
        fn any_bytes_are_read_or_refused(first in 0u8..3, rest: Vec<u8>) {
            let bytes = [&[first], &*rest].concat();
            let _ = read::<Vec<Option<i32>>>(ListDeserializer(IntegerDeserializer), Some(&bytes));
            let _ = read::<Vec<Option<String>>>(ListDeserializer(StringDeserializer), Some(&bytes));
        }
    }
}
