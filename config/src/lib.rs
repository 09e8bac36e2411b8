//! Settings declared once, under Kafka's own names.
//!
//! [`settings!`] turns one declaration into everything that a setting needs: a field with its default, a typed
//! chainable setter, parsing from Kafka's own spelling (`set("linger.ms", "5")`, properties files), its
//! bound with the reason for the bound, and its row in the generated documentation.
//!
//! ```
//! use std::time::Duration;
//! use rkafka_config::settings;
//!
//! settings! {
//!     /// How batches are built.
//!     pub struct BatchConfig {
//!         /// How long a batch waits for more records.
//!         "linger.ms" aka "queue.buffering.max.ms" => linger: Duration = Duration::from_millis(5),
//!             in Duration::ZERO..=Duration::from_secs(900), because "a record should not wait longer than that";
//!         /// How large a batch grows.
//!         "batch.size" => batch_size: usize = 16_384, in 0.., because "a size is not negative";
//!     }
//! }
//!
//! let mut config = BatchConfig::new().linger(Duration::from_millis(20));
//! config.set("batch.size", "64KiB")?;
//! assert_eq!(config.batch_size, 65_536);
//! assert!(config.set("linger.mss", "5").unwrap_err().to_string().contains("did you mean `linger.ms`"));
//! # Ok::<(), rkafka_config::ConfigError>(())
//! ```

mod bound;
mod error;
mod macros;
mod properties;
mod settings;
mod suggest;
mod units;
mod value;

pub use bound::{Bound, Check};
pub use error::{ConfigError, PropertiesError};
pub use properties::{Property, parse_properties};
pub use settings::{Entry, SettingDoc, Settings};
pub use suggest::nearest;
pub use units::{duration_ms, format_iso_duration, parse_iso_duration};
pub use value::{HIDDEN, IntoSetting, Secret, Setting};

/// What [`settings!`] expands to needs; not for others.
#[doc(hidden)]
pub mod internal {
    pub use crate::settings::{check, describe, parse};
}
