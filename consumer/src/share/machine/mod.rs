//! What decides: over a time that is told, and without any input or output.

pub(crate) mod hold;
pub(crate) mod ledger;
pub(crate) mod membership;
pub(crate) mod session;
