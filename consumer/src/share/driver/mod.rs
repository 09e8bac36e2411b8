//! What moves bytes and waits.

pub(crate) mod leader;
pub(crate) mod member;
pub(crate) mod steward;
