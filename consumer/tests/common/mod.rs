//! A deserializer for tests of typed faces.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rkafka_consumer::serialization::{Deserializer, Payload, Preparation, SerializationContext, SerializationError};
use rkafka_protocol::records::HeadersView;

/// Numbers as text, of which those above 3 need something first, once each.
#[derive(Default, Clone)]
pub struct Numbers {
    pub prepared: Arc<Mutex<Vec<u32>>>,
    pub preparations: Arc<AtomicUsize>,
    /// The one for which what it needs is not to be had.
    pub missing: Option<u32>,
}

impl<'a> Deserializer<'a, u32> for Numbers {
    fn deserialize(
        &self,
        context: SerializationContext<'_>,
        _headers: HeadersView<'a>,
        data: Option<Payload<'a>>,
    ) -> Result<u32, SerializationError> {
        let bytes = data.ok_or_else(|| SerializationError::null(context, "number"))?;
        let text = std::str::from_utf8(bytes.as_slice()).map_err(|_| SerializationError::new(context, "no text"))?;
        let number = text.parse().map_err(|_| SerializationError::new(context, "no number"))?;
        if number > 3 && !self.prepared.lock().unwrap().contains(&number) {
            return Err(SerializationError::unprepared(context));
        }
        Ok(number)
    }

    fn prepare<'b>(
        &'b self,
        context: SerializationContext<'b>,
        _headers: HeadersView<'b>,
        data: Option<Payload<'b>>,
    ) -> Preparation<'b> {
        Box::pin(async move {
            self.preparations.fetch_add(1, Ordering::SeqCst);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            let text = String::from_utf8_lossy(data.as_deref().unwrap_or_default()).into_owned();
            let number = text.parse().unwrap();
            if self.missing == Some(number) {
                return Err(SerializationError::new(context, "the registry does not know it"));
            }
            self.prepared.lock().unwrap().push(number);
            Ok(())
        })
    }
}
