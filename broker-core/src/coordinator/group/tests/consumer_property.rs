//! Random schedules of consumers of KIP-848.
