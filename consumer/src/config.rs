//! The consumer's settings.


use rkafka_config::setting_enum;

setting_enum! {
    /// `auto.offset.reset`: where reading begins when there is no offset, or the offset is not there any more.
    pub enum OffsetReset {
        /// At the earliest record that is still there.
        Earliest = "earliest" | "smallest" | "beginning",
        /// At the end: only what is written from now on.
        Latest = "latest" | "largest" | "end",
        /// Nowhere: the application gets an error and decides.
        None = "none" | "error",
    }
}

setting_enum! {
    /// `isolation.level`: what is read of transactions.
    pub enum IsolationLevel {
        /// Everything, also what was aborted and what is not decided.
        ReadUncommitted = "read_uncommitted",
        /// Only what was committed; reading stops at the last stable offset.
        ReadCommitted = "read_committed",
    }
}
