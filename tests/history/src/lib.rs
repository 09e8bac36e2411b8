//! Judges what clients of Kafka saw: a history goes in, and every anomaly in it comes out, by the name that Jepsen's Kafka
//! workload gave it.
//!
//! A [`History`] is data: [`Event`]s that say what was begun and what came of it, in memory or as lines of JSON, so that
//! a client in any language can write one and any broker can be judged. Nothing here knows a broker, a client or a clock.
//!
//! ```
//! use rkafka_history::{History, Kind};
//!
//! let lines = r#"
//! {"process":"producer","id":1,"time":10,"type":"invoke","f":"send","partition":"t-0","value":"a"}
//! {"process":"producer","id":1,"time":20,"type":"ok","f":"send","partition":"t-0","value":"a","offset":0}
//! {"process":"producer","id":2,"time":21,"type":"invoke","f":"send","partition":"t-0","value":"b"}
//! {"process":"producer","id":2,"time":30,"type":"ok","f":"send","partition":"t-0","value":"b","offset":1}
//! {"process":"reader","id":1,"time":40,"type":"ok","f":"assign","positions":{"t-0":0}}
//! {"process":"reader","id":2,"time":50,"type":"ok","f":"poll","isolation":"read_committed","records":{"t-0":[[1,"b"]]}}
//! "#;
//! let report = History::from_json_lines(lines).unwrap().judge();
//! assert_eq!(report.kinds(), [Kind::LostWrite]);
//! ```
//!
//! # What a history must hold to
//!
//! * A value is sent once in the whole history, so that it names its record. Who tries again sends another value.
//! * A process is one client: a producer, or a consumer. One that is started anew has a new name.
//! * What is begun is written down before it is begun, and its end after it has come. Times are of one clock, and in
//!   microseconds; events of different processes are compared by them.
//! * Records stay: topics are neither compacted nor shortened while the history lasts.

mod checks;
mod event;
mod facts;
mod history;
mod report;

pub use event::{Action, Event, Isolation, Phase};
pub use history::{History, Malformed};
pub use report::{Anomaly, Kind, Report, Summary};
