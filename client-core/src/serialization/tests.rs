//! The built-in serializers write what Java's write. The bytes were taken from kafka-clients 4.3.1 by jshell.

use std::borrow::Cow;

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const CONTEXT: SerializationContext<'static> = SerializationContext::value("t");

pub(super) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The bytes, `None` for a null; whatever is in the buffer already stays.
pub(super) fn write<T: ?Sized>(serializer: impl Serializer<T>, data: &T) -> Option<Vec<u8>> {
    let mut into = b"before".to_vec();
    let encoded = serializer.serialize(CONTEXT, &mut RecordHeaders::new(), data, &mut into).unwrap();
    assert_eq!(&into[..6], b"before");
    match encoded {
        Encoded::Bytes => Some(into.split_off(6)),
        Encoded::Null => {
            assert_eq!(into.len(), 6, "a null has no bytes");
            None
        }
    }
}

pub(super) fn read<'a, T>(
    deserializer: impl Deserializer<'a, T>,
    bytes: Option<&'a [u8]>,
) -> Result<T, SerializationError> {
    deserializer.deserialize(CONTEXT, HeadersView::default(), bytes.map(Payload::new))
}

/// Both directions, with and without `Option`.
macro_rules! same_as_java {
    ($serializer:ident, $deserializer:ident, $of:ty, $value:expr, $hex:literal) => {{
        let (value, bytes): ($of, Vec<u8>) = ($value, hex($hex));
        assert_eq!(write($serializer, &value).as_ref(), Some(&bytes));
        assert_eq!(write($serializer, &Some(value.clone())).as_ref(), Some(&bytes));
        assert_eq!(write($serializer, &None::<$of>), None);
        assert_eq!(read::<$of>($deserializer, Some(&bytes)).unwrap(), value);
        assert_eq!(read::<Option<$of>>($deserializer, Some(&bytes)).unwrap(), Some(value));
        assert_eq!(read::<Option<$of>>($deserializer, None).unwrap(), None);
        assert!(read::<$of>($deserializer, None).unwrap_err().is_null());
    }};
}

#[test]
fn bytes_are_those_of_java() {
    same_as_java!(StringSerializer, StringDeserializer, String, "Grüße 🦀".into(), "4772c3bcc39f6520f09fa680");
    same_as_java!(StringSerializer, StringDeserializer, String, String::new(), "");
    same_as_java!(ShortSerializer, ShortDeserializer, i16, -2, "fffe");
    same_as_java!(IntegerSerializer, IntegerDeserializer, i32, -123_456_789, "f8a432eb");
    same_as_java!(LongSerializer, LongDeserializer, i64, 1_234_567_890_123_456_789, "112210f47de98115");
    same_as_java!(FloatSerializer, FloatDeserializer, f32, -1.5e10, "d05f8476");
    same_as_java!(DoubleSerializer, DoubleDeserializer, f64, std::f64::consts::PI, "400921fb54442d18");
    same_as_java!(BooleanSerializer, BooleanDeserializer, bool, true, "01");
    same_as_java!(BooleanSerializer, BooleanDeserializer, bool, false, "00");
    same_as_java!(ByteArraySerializer, ByteArrayDeserializer, Bytes, vec![1, 2, 3].into(), "010203");
    same_as_java!(
        UuidSerializer,
        UuidDeserializer,
        Uuid,
        Uuid::try_parse("67E55044-10B1-426F-9247-BB680E5FE0C8").unwrap(),
        "36376535353034342d313062312d343236662d393234372d626236383065356665306338"
    );
    assert_eq!(write(VoidSerializer, &()), None);
    read::<()>(VoidDeserializer, None).unwrap();
    // Java keeps which NaN it was in 32 bits, and not in 64.
    assert_eq!(write(FloatSerializer, &f32::from_bits(0x7fc0_0001)).unwrap(), hex("7fc00001"));
    assert_eq!(write(DoubleSerializer, &f64::from_bits(0xfff8_0000_0000_0001)).unwrap(), hex("7ff8000000000000"));
}

#[test]
fn what_is_read_may_refer_to_the_record() {
    let bytes = "text".as_bytes();
    let text: &str = read(StringDeserializer, Some(bytes)).unwrap();
    assert_eq!((text, text.as_ptr()), ("text", bytes.as_ptr()));
    assert!(matches!(read::<Cow<'_, [u8]>>(ByteArrayDeserializer, Some(bytes)), Ok(Cow::Borrowed(b"text"))));
    let whole = Bytes::from_static(b"the text is here");
    let payload = Payload::within(&whole[4..8], &whole);
    let shared: Bytes = ByteArrayDeserializer.deserialize(CONTEXT, HeadersView::default(), Some(payload)).unwrap();
    assert_eq!(shared.as_ptr(), whole[4..].as_ptr());
}

#[test]
fn errors_name_topic_and_side_and_never_the_data() {
    let secret = b"hunter2\xff";
    let context = SerializationContext::key("logins");
    let headers = HeadersView::default();
    let payload = Some(Payload::new(secret));
    let errors = [
        Deserializer::<String>::deserialize(&StringDeserializer, context, headers, payload).unwrap_err(),
        Deserializer::<i32>::deserialize(&IntegerDeserializer, context, headers, payload).unwrap_err(),
        Deserializer::<Uuid>::deserialize(&UuidDeserializer, context, headers, payload).unwrap_err(),
        Deserializer::<bool>::deserialize(&BooleanDeserializer, context, headers, payload).unwrap_err(),
        Deserializer::<()>::deserialize(&VoidDeserializer, context, headers, payload).unwrap_err(),
        Deserializer::<i64>::deserialize(&LongDeserializer, context, headers, None).unwrap_err(),
    ];
    for error in &errors {
        let text = format!("{error} {error:?}");
        assert!(text.starts_with("the key of a record of topic `logins` "), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!((error.topic(), error.side(), error.is_unprepared()), ("logins", Side::Key, false));
    }
    assert!(errors[0].to_string().contains("not UTF-8 from byte 7 on"), "{}", errors[0]);
    assert!(errors[1].to_string().contains("has 8 bytes, where a number of 32 bits has 4"), "{}", errors[1]);
    assert!(errors[5].is_null());
    assert!(read::<bool>(BooleanDeserializer, Some(&[2])).unwrap_err().to_string().contains("neither 0 nor 1"));
}

#[test]
fn closures_and_nullable() {
    let serializer = Nullable(serialize_with(|number: &u16, into| match number {
        13 => Err("no thirteen"),
        number => {
            into.extend(number.to_le_bytes());
            Ok(())
        }
    }));
    assert_eq!(write(serializer, &Some(258)), Some(vec![2, 1]));
    assert_eq!(write(serializer, &None), None);
    let failed = serializer.serialize(CONTEXT, &mut RecordHeaders::new(), &Some(13), &mut Vec::new()).unwrap_err();
    assert!(failed.to_string().ends_with("cannot be converted: no thirteen"), "{failed}");
    let deserializer = deserialize_with(|bytes: &[u8]| bytes.try_into().map(u16::from_le_bytes));
    assert_eq!(read(deserializer, Some(&[2, 1])).unwrap(), 258);
    assert!(read(deserializer, None).unwrap_err().is_null());
    assert!(std::error::Error::source(&read(deserializer, Some(&[1])).unwrap_err()).is_some());
    assert_eq!(read(Nullable(deserializer), None).unwrap(), None);
}

/// Asks for one preparation, as the client of a schema registry does.
#[derive(Default)]
struct Registered(std::sync::atomic::AtomicBool);

impl Serializer<str> for Registered {
    fn serialize(
        &self,
        context: SerializationContext<'_>,
        headers: &mut RecordHeaders<'_>,
        data: &str,
        into: &mut Vec<u8>,
    ) -> Result<Encoded, SerializationError> {
        if !self.0.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(SerializationError::unprepared(context));
        }
        headers.add("schema", &b"7"[..]);
        StringSerializer.serialize(context, headers, data, into)
    }

    fn prepare<'a>(&'a self, _: SerializationContext<'a>, _: &'a str) -> Preparation<'a> {
        Box::pin(async {
            tokio::task::yield_now().await;
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        })
    }
}

#[tokio::test]
async fn who_must_wait_says_so_and_is_asked_again() {
    let serializer: Arc<dyn Serializer<str> + Send + Sync> = Arc::new(Registered::default());
    let (mut headers, mut into) = (RecordHeaders::new(), Vec::new());
    let first = serializer.serialize(CONTEXT, &mut headers, "a", &mut into).unwrap_err();
    assert!(first.is_unprepared());
    serializer.prepare(CONTEXT, "a").await.unwrap();
    assert_eq!(serializer.serialize(CONTEXT, &mut headers, "a", &mut into).unwrap(), Encoded::Bytes);
    assert_eq!((&*into, headers.len()), (&b"a"[..], 1));
}

#[test]
fn types_have_serializers_of_their_own() {
    fn both<T: DefaultSerializer + DefaultDeserializer + PartialEq + fmt::Debug>(value: T) {
        let bytes = write(T::Serializer::default(), &value);
        assert_eq!(read::<T>(T::Deserializer::default(), bytes.as_deref()).unwrap(), value);
    }
    both("text".to_owned());
    both(Some("text".to_owned()));
    both(None::<String>);
    both(vec![1_u8, 2]);
    both(-7_i16);
    both(7_i32);
    both(Some(7_i64));
    both(0.5_f32);
    both(0.25_f64);
    both(true);
    both(Uuid::from_u128(7));
    both(());
    assert_eq!(write(<str as DefaultSerializer>::Serializer::default(), "a"), Some(vec![b'a']));
}

proptest! {
    #[test]
    fn what_is_written_is_read(text: String, number: i64, double: f64, bytes: Vec<u8>, id: u128) {
        prop_assert_eq!(read::<String>(StringDeserializer, write(StringSerializer, &text).as_deref()).unwrap(), text);
        prop_assert_eq!(read::<i64>(LongDeserializer, write(LongSerializer, &number).as_deref()).unwrap(), number);
        prop_assert_eq!(read::<f64>(DoubleDeserializer, write(DoubleSerializer, &double).as_deref()).unwrap(), double);
        prop_assert_eq!(read::<Vec<u8>>(ByteArrayDeserializer, write(ByteArraySerializer, &bytes).as_deref()).unwrap(), bytes);
        let id = Uuid::from_u128(id);
        prop_assert_eq!(read::<Uuid>(UuidDeserializer, write(UuidSerializer, &id).as_deref()).unwrap(), id);
    }

    #[test]
    fn no_bytes_make_a_deserializer_panic(bytes: Vec<u8>) {
        let _ = read::<String>(StringDeserializer, Some(&bytes));
        let _ = read::<Uuid>(UuidDeserializer, Some(&bytes));
        let _ = read::<bool>(BooleanDeserializer, Some(&bytes));
        let _ = read::<i16>(ShortDeserializer, Some(&bytes));
    }
}

#[cfg(feature = "json")]
mod json {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order<'a> {
        customer: &'a str,
        apples: u32,
    }

    #[test]
    fn json_by_serde_borrows_and_knows_nulls() {
        let order = Order { customer: "alice", apples: 3 };
        let bytes = write(JsonSerializer, &order).unwrap();
        assert_eq!(bytes, br#"{"customer":"alice","apples":3}"#);
        let again: Order<'_> = read(JsonDeserializer, Some(&bytes)).unwrap();
        assert_eq!(again, order);
        assert!(bytes.as_ptr_range().contains(&again.customer.as_ptr()));
        assert_eq!(write(JsonSerializer, &None::<u32>), None);
        assert_eq!(read::<Option<u32>>(JsonDeserializer, None).unwrap(), None);
        assert_eq!(read::<Option<u32>>(JsonDeserializer, Some(b"null")).unwrap(), None);
        assert!(read::<Order<'_>>(JsonDeserializer, None).unwrap_err().is_null());
        assert_eq!(write(<Json<u32> as DefaultSerializer>::Serializer::default(), &Json(7)), Some(vec![b'7']));
        assert_eq!(write(JsonSerializer, "null"), Some(br#""null""#.to_vec()));
    }

    #[test]
    fn json_errors_hold_no_data() {
        let wrong: [&[u8]; 4] = [
            br#"{"customer":"hunter2","apples":"hunter2"}"#,
            b"{hunter2",
            br#"{"hunter2":"#,
            br#"{"customer":"hunter2"}"#,
        ];
        let texts = wrong.map(|bytes| read::<Order<'_>>(JsonDeserializer, Some(bytes)).unwrap_err().to_string());
        assert!(texts.iter().all(|text| !text.contains("hunter2")), "{texts:?}");
        assert!(texts[0].contains("a value does not fit the type at line 1 column 40"), "{texts:?}");
        assert!(texts[3].contains("missing field `apples`"), "{texts:?}");
        let keys = std::collections::BTreeMap::from([((1, 2), "hunter2")]);
        let mut into = Vec::new();
        let error = JsonSerializer.serialize(CONTEXT, &mut RecordHeaders::new(), &keys, &mut into).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
