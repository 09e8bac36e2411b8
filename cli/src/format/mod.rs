//! How a record is printed, by a format string in kcat's manner or as a line of JSON; and how lists are.

pub mod json;
pub mod listing;
pub mod table;
pub mod template;
mod yaml;

pub use template::Template;

/// One record as it is to be printed, borrowed from the batch it lies in.
#[derive(Debug, Clone, Copy)]
pub struct Printed<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The broker that the record came from, where that is to be shown.
    pub broker: Option<i32>,
    /// The record's offset.
    pub offset: i64,
    /// Milliseconds since 1970; -1 for none.
    pub timestamp_ms: i64,
    /// Whether the broker set the timestamp when it appended the record.
    pub log_append_time: bool,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order; keys may repeat.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}
