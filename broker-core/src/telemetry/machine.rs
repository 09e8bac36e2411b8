//! Who may ask and push when, over virtual time.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use rkafka_protocol::ErrorCode;
use uuid::Uuid;

use super::subscription::{ClientInfo, Combined, Subscription, combined};
use super::{PushedTelemetry, compression_of};

/// How many clients are remembered, as in Kafka.
const INSTANCES_MAX: usize = 16_384;
/// How many bytes of what was pushed are kept.
const PUSHED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many pushes are kept.
const PUSHED_MAX: usize = 1024;

/// The answer to a client that asks for its subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Granted {
    pub client_instance_id: Uuid,
    pub subscription_id: i32,
    pub push_interval_ms: i32,
    pub metrics: Vec<String>,
}

/// What a client pushes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Push {
    pub client_instance_id: Uuid,
    pub subscription_id: i32,
    pub terminating: bool,
    pub compression_type: i8,
    pub metrics: Bytes,
}

#[derive(Debug, Default)]
struct Instance {
    asked_ms: Option<i64>,
    pushed_ms: Option<i64>,
    interval_ms: i64,
    terminating: bool,
    /// The last push was refused in a way that makes the client ask anew at once.
    may_ask_again: bool,
}

impl Instance {
    fn last_ms(&self) -> i64 {
        self.asked_ms.max(self.pushed_ms).unwrap_or(i64::MIN)
    }
}

#[derive(Debug, Default)]
pub(super) struct Machine {
    instances: HashMap<Uuid, Instance>,
    pushed: VecDeque<PushedTelemetry>,
    pushed_bytes: usize,
}

/// Whether no client has this id: Kafka keeps the first hundred for itself.
fn is_reserved(id: Uuid) -> bool {
    id.as_u128() < 100
}

impl Machine {
    /// Gives a client its subscription, and an id if it has none.
    ///
    /// # Errors
    /// `THROTTLING_QUOTA_EXCEEDED`: it asks again before its interval is over.
    pub fn subscribe(
        &mut self,
        now_ms: i64,
        asked: Uuid,
        client: &ClientInfo,
        subscriptions: &[Subscription],
        new_id: &mut dyn FnMut() -> Uuid,
    ) -> Result<Granted, ErrorCode> {
        let id = if is_reserved(asked) { new_id() } else { asked };
        let Combined { id: subscription_id, interval_ms, metrics } = combined(subscriptions, id, client);
        let instance = self.instance(now_ms, id);
        let early = instance.asked_ms.is_some() && now_ms.saturating_sub(instance.last_ms()) < instance.interval_ms;
        if early && !instance.may_ask_again {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        instance.asked_ms = Some(now_ms);
        instance.may_ask_again = false;
        instance.interval_ms = i64::from(interval_ms);
        Ok(Granted { client_instance_id: id, subscription_id, push_interval_ms: interval_ms, metrics })
    }

    /// Decides whether a client may push this now. `most` is the size of the largest push.
    ///
    /// # Errors
    /// Kafka's error; after some of them the client asks for its subscription anew.
    pub fn admit(
        &mut self,
        now_ms: i64,
        push: &Push,
        client: &ClientInfo,
        subscriptions: &[Subscription],
        most: usize,
    ) -> Result<(), ErrorCode> {
        if is_reserved(push.client_instance_id) {
            return Err(ErrorCode::InvalidRequest);
        }
        let present = combined(subscriptions, push.client_instance_id, client);
        let instance = self.instance(now_ms, push.client_instance_id);
        if instance.terminating {
            return Err(ErrorCode::InvalidRequest);
        }
        // The first push after a subscription may come at any time, so that clients spread.
        let early = instance.pushed_ms.is_some_and(|pushed| {
            instance.asked_ms.is_none_or(|asked| asked <= pushed)
                && now_ms.saturating_sub(pushed) < instance.interval_ms
        });
        if early && !push.terminating {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        instance.pushed_ms = Some(now_ms);
        instance.terminating = push.terminating;
        if instance.asked_ms.is_none() {
            instance.interval_ms = i64::from(present.interval_ms);
        }
        let error = if push.subscription_id != present.id {
            ErrorCode::UnknownSubscriptionId
        } else if compression_of(push.compression_type).is_none() {
            ErrorCode::UnsupportedCompressionType
        } else if push.metrics.len() > most {
            return Err(ErrorCode::TelemetryTooLarge);
        } else {
            return Ok(());
        };
        instance.may_ask_again = true;
        Err(error)
    }

    /// Keeps what was pushed, and drops the oldest beyond the bounds.
    pub fn keep(&mut self, pushed: PushedTelemetry) {
        self.pushed_bytes += pushed.metrics.len();
        self.pushed.push_back(pushed);
        while self.pushed_bytes > PUSHED_BYTES_MAX || self.pushed.len() > PUSHED_MAX {
            let Some(oldest) = self.pushed.pop_front() else { break };
            self.pushed_bytes = self.pushed_bytes.saturating_sub(oldest.metrics.len());
        }
    }

    /// What is kept, the oldest first.
    pub fn pushed(&self) -> Vec<PushedTelemetry> {
        self.pushed.iter().cloned().collect()
    }

    /// The client with this id. A new one takes the place of those that have been silent for three intervals, and, if
    /// there is none, of the one that has been silent the longest.
    fn instance(&mut self, now_ms: i64, id: Uuid) -> &mut Instance {
        if self.instances.len() >= INSTANCES_MAX && !self.instances.contains_key(&id) {
            self.instances.retain(|_, instance| {
                now_ms.saturating_sub(instance.last_ms()) < instance.interval_ms.saturating_mul(3)
            });
            if self.instances.len() >= INSTANCES_MAX
                && let Some(oldest) =
                    self.instances.iter().min_by_key(|(_, instance)| instance.last_ms()).map(|(id, _)| *id)
            {
                self.instances.remove(&oldest);
            }
        }
        self.instances.entry(id).or_default()
    }
}

#[cfg(test)]
mod tests {
    use rkafka_protocol::messages::ConfigRecord;

    use super::*;
    use crate::controller::{ConfigResource, MetadataImage, MetadataRecord};
    use crate::telemetry::subscription;

    const MOST: usize = 1000;

    fn subscriptions(values: &[(&str, &str, &str)]) -> Vec<Subscription> {
        let mut image = MetadataImage::default();
        for (offset, (name, key, value)) in (0..).zip(values) {
            let record = ConfigRecord {
                resource_type: ConfigResource::ClientMetrics.number(),
                resource_name: (*name).to_owned(),
                name: (*key).to_owned(),
                value: Some((*value).to_owned()),
                ..Default::default()
            };
            image.replay(offset, &MetadataRecord::Config(record));
        }
        subscription::all(&image)
    }

    fn client(client_id: &str) -> ClientInfo {
        ClientInfo {
            client_id: client_id.to_owned(),
            software_name: "librdkafka".to_owned(),
            software_version: "2.11.0".to_owned(),
            source_address: "127.0.0.1".to_owned(),
            source_port: 4711,
        }
    }

    fn ask(
        machine: &mut Machine,
        now_ms: i64,
        id: Uuid,
        who: &str,
        all: &[Subscription],
    ) -> Result<Granted, ErrorCode> {
        machine.subscribe(now_ms, id, &client(who), all, &mut || Uuid::from_u128(1000))
    }

    #[test]
    fn a_client_gets_what_its_subscriptions_ask_together() {
        let all = subscriptions(&[
            ("a", "metrics", "org.apache.kafka.producer., org.x"),
            ("a", "interval.ms", "5000"),
            ("b", "metrics", "org.x,org.y"),
            ("b", "interval.ms", "2000"),
            ("b", "match", "client_id=b.*,client_software_version=2[.].*"),
            ("c", "metrics", "*"),
            ("c", "match", "client_source_port=4711,client_source_address=10[.].*"),
            ("d", "interval.ms", "100"),
        ]);
        let mut machine = Machine::default();
        let granted = ask(&mut machine, 0, Uuid::nil(), "a", &all).unwrap();
        assert_eq!(granted.client_instance_id, Uuid::from_u128(1000));
        assert_eq!((granted.push_interval_ms, granted.metrics.len()), (5000, 2));
        let other = ask(&mut machine, 0, Uuid::from_u128(2000), "bee", &all).unwrap();
        assert_eq!(other.metrics, ["org.apache.kafka.producer.", "org.x", "org.y"]);
        assert_eq!(other.push_interval_ms, 2000);
        assert_ne!(other.subscription_id, granted.subscription_id);
        let mut near = client("a");
        near.source_address = "10.0.0.1".to_owned();
        let near = machine.subscribe(0, Uuid::from_u128(3000), &near, &all, &mut Uuid::new_v4).unwrap();
        assert_eq!(near.metrics, [""], "an asterisk is all");
        let nobody = ask(&mut machine, 0, Uuid::from_u128(4000), "a", &[]).unwrap();
        assert_eq!((nobody.push_interval_ms, nobody.metrics.len()), (300_000, 0));
    }

    #[test]
    fn an_instance_is_matched_by_its_id_as_kafka_writes_it() {
        let all = subscriptions(&[("a", "metrics", "x"), ("a", "match", "client_instance_id=AAAAAAAAAAAAAAAAAAAD6A")]);
        let mut machine = Machine::default();
        assert_eq!(ask(&mut machine, 0, Uuid::from_u128(1000), "a", &all).unwrap().metrics, ["x"]);
        assert!(ask(&mut machine, 0, Uuid::from_u128(1001), "a", &all).unwrap().metrics.is_empty());
    }

    #[test]
    fn clients_ask_and_push_once_in_their_interval() {
        let all = subscriptions(&[("a", "metrics", "x"), ("a", "interval.ms", "1000")]);
        let mut machine = Machine::default();
        let id = Uuid::from_u128(1000);
        let granted = ask(&mut machine, 0, id, "a", &all).unwrap();
        assert_eq!(ask(&mut machine, 999, id, "a", &all), Err(ErrorCode::ThrottlingQuotaExceeded));
        let push = |machine: &mut Machine, now_ms, change: &dyn Fn(&mut Push)| {
            let mut push = Push {
                client_instance_id: id,
                subscription_id: granted.subscription_id,
                metrics: Bytes::from_static(b"metrics"),
                ..Push::default()
            };
            change(&mut push);
            machine.admit(now_ms, &push, &client("a"), &all, MOST)
        };
        let plain: &dyn Fn(&mut Push) = &|_| {};
        assert_eq!(push(&mut machine, 1, plain), Ok(()), "the first push may come at any time");
        assert_eq!(push(&mut machine, 1000, plain), Err(ErrorCode::ThrottlingQuotaExceeded));
        assert_eq!(push(&mut machine, 1001, plain), Ok(()));
        let wrong = &|push: &mut Push| push.subscription_id ^= 1;
        assert_eq!(push(&mut machine, 3000, wrong), Err(ErrorCode::UnknownSubscriptionId));
        assert!(ask(&mut machine, 3001, id, "a", &all).is_ok(), "it asks at once for the present one");
        assert_eq!(ask(&mut machine, 3002, id, "a", &all), Err(ErrorCode::ThrottlingQuotaExceeded));
        assert_eq!(
            push(&mut machine, 3003, &|push| push.compression_type = 9),
            Err(ErrorCode::UnsupportedCompressionType)
        );
        let large = &|push: &mut Push| push.metrics = Bytes::from(vec![0; MOST + 1]);
        assert_eq!(push(&mut machine, 9000, large), Err(ErrorCode::TelemetryTooLarge));
        assert_eq!(push(&mut machine, 9001, &|push| push.terminating = true), Ok(()), "the last one never waits");
        assert_eq!(push(&mut machine, 90_000, plain), Err(ErrorCode::InvalidRequest), "nothing comes after the end");
        assert_eq!(
            push(&mut machine, 90_000, &|push| push.client_instance_id = Uuid::nil()),
            Err(ErrorCode::InvalidRequest)
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut machine = Machine::default();
        for number in 0..INSTANCES_MAX as u128 + 10 {
            ask(&mut machine, number as i64, Uuid::from_u128(1000 + number), "a", &[]).unwrap();
        }
        assert_eq!(machine.instances.len(), INSTANCES_MAX);
        assert!(!machine.instances.contains_key(&Uuid::from_u128(1000)), "the oldest is gone");
        let pushed = PushedTelemetry {
            client_instance_id: Uuid::from_u128(1000),
            client_id: String::new(),
            received_ms: 0,
            terminating: false,
            metrics: Bytes::from(vec![0; PUSHED_BYTES_MAX / 2]),
        };
        for _ in 0..5 {
            machine.keep(pushed.clone());
        }
        assert_eq!((machine.pushed().len(), machine.pushed_bytes), (2, PUSHED_BYTES_MAX));
    }
}
