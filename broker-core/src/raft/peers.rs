//! One call at a time to each voter, with a pause after a failure.

use std::collections::BTreeMap;

use super::message::CallId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Waiting { id: CallId, until: i64 },
    BackingOff { until: i64 },
}

/// The calls that are under way. A voter that is not here may be called.
#[derive(Debug, Default)]
pub(super) struct Peers {
    connections: BTreeMap<i32, Connection>,
    last_id: u64,
}

impl Peers {
    /// Whether nothing is under way to the voter, and it need not be left alone.
    pub fn is_ready(&self, to: i32) -> bool {
        !self.connections.contains_key(&to)
    }

    /// Notes a call, and names it.
    pub fn begin(&mut self, to: i32, until: i64) -> CallId {
        self.last_id += 1;
        let id = CallId(self.last_id);
        self.connections.insert(to, Connection::Waiting { id, until });
        id
    }

    /// The voter that was called, if anybody waits for this answer still.
    pub fn end(&mut self, id: CallId) -> Option<i32> {
        let found = self
            .connections
            .iter()
            .find(|(_, connection)| matches!(connection, Connection::Waiting { id: waiting, .. } if *waiting == id));
        let to = *found?.0;
        self.connections.remove(&to);
        Some(to)
    }

    /// Leaves a voter alone for a while.
    pub fn back_off(&mut self, to: i32, until: i64) {
        self.connections.insert(to, Connection::BackingOff { until });
    }

    /// Ends what was waited for in vain. Answers whose calls ran out of time.
    pub fn expire(&mut self, now_ms: i64) -> Vec<i32> {
        let mut failed = Vec::new();
        self.connections.retain(|to, connection| match connection {
            Connection::Waiting { until, .. } if *until <= now_ms => {
                failed.push(*to);
                false
            }
            Connection::BackingOff { until } => *until > now_ms,
            Connection::Waiting { .. } => true,
        });
        failed
    }

    /// Passes over what is under way, for it belongs to another epoch. Pauses stay.
    pub fn forget(&mut self) {
        self.connections.retain(|_, connection| matches!(connection, Connection::BackingOff { .. }));
    }

    /// When [`Peers::expire`] has something to do next.
    pub fn deadline(&self) -> Option<i64> {
        let untils = self.connections.values().map(|connection| match connection {
            Connection::Waiting { until, .. } | Connection::BackingOff { until } => *until,
        });
        untils.min()
    }
}
