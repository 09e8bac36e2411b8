//! Metadata records in KRaft's own framing: an unsigned variable-length frame version (1), the record's key, its
//! version, then the message.
//!
//! Source of the framing: KIP-631, "Record framing". `kafka-dump-log --cluster-metadata-decoder` reads the log.

use bytes::Bytes;
use rkafka_protocol::messages::{
    BeginTransactionRecord, BrokerRegistrationChangeRecord, ClearElrRecord, ConfigRecord, EndTransactionRecord,
    FeatureLevelRecord, NoOpRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, RegisterBrokerRecord,
    RegisterControllerRecord, RemoveTopicRecord, TopicRecord, UnregisterBrokerRecord,
};
use rkafka_protocol::wire::{DecodeError, EncodeError, Message, Reader, Writer};
use thiserror::Error;

const FRAME_VERSION: u32 = 1;

/// A metadata record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum RecordError {
    /// The bytes are not what the frame says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A frame of another kind.
    #[error("frame version {0} is not supported, only {FRAME_VERSION}")]
    FrameVersion(u32),
    /// A record that this broker does not know, and may not pass over.
    #[error("record key {0} is not supported")]
    UnknownKey(u32),
}

macro_rules! metadata_records {
    ($($variant:ident($message:ident) = $key:literal, version $version:literal;)*) => {
        /// A record of the metadata log.
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) enum MetadataRecord {
            $($variant($message),)*
        }

        impl MetadataRecord {
            /// Writes the record with its frame.
            pub fn encode(&self) -> Result<Bytes, EncodeError> {
                let mut writer = Writer::new();
                writer.unsigned_varint(FRAME_VERSION);
                match self {
                    $(Self::$variant(message) => {
                        writer.unsigned_varint($key);
                        writer.unsigned_varint($version);
                        message.encode(&mut writer, $version)?;
                    })*
                }
                Ok(Bytes::from(writer.into_vec()))
            }

            /// Reads a record with its frame.
            pub fn decode(bytes: Bytes) -> Result<Self, RecordError> {
                let mut reader = Reader::new(bytes);
                let frame_version = reader.unsigned_varint()?;
                if frame_version != FRAME_VERSION {
                    return Err(RecordError::FrameVersion(frame_version));
                }
                let key = reader.unsigned_varint()?;
                let version = i16::try_from(reader.unsigned_varint()?).unwrap_or(i16::MAX);
                let record = match key {
                    $($key => Self::$variant($message::decode(&mut reader, version)?),)*
                    other => return Err(RecordError::UnknownKey(other)),
                };
                reader.finish("a metadata record")?;
                Ok(record)
            }
        }
    };
}

metadata_records! {
    RegisterBroker(RegisterBrokerRecord) = 0, version 4;
    UnregisterBroker(UnregisterBrokerRecord) = 1, version 0;
    Topic(TopicRecord) = 2, version 0;
    Partition(PartitionRecord) = 3, version 2;
    Config(ConfigRecord) = 4, version 0;
    PartitionChange(PartitionChangeRecord) = 5, version 2;
    RemoveTopic(RemoveTopicRecord) = 9, version 0;
    FeatureLevel(FeatureLevelRecord) = 12, version 0;
    ProducerIds(ProducerIdsRecord) = 15, version 0;
    BrokerRegistrationChange(BrokerRegistrationChangeRecord) = 17, version 3;
    NoOp(NoOpRecord) = 20, version 0;
    BeginTransaction(BeginTransactionRecord) = 23, version 0;
    EndTransaction(EndTransactionRecord) = 24, version 0;
    RegisterController(RegisterControllerRecord) = 27, version 0;
    ClearElr(ClearElrRecord) = 28, version 0;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_frame_is_krafts() {
        let record = MetadataRecord::FeatureLevel(FeatureLevelRecord {
            name: "metadata.version".to_owned(),
            feature_level: 25,
            ..Default::default()
        });
        let bytes = record.encode().unwrap();
        assert_eq!(bytes[..3], [1, 12, 0]);
        assert_eq!(MetadataRecord::decode(bytes).unwrap(), record);
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = MetadataRecord::decode(Bytes::from(bytes));
        }
    }
}
