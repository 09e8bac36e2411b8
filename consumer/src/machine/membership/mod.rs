//! Membership of a group, one machine per protocol. KIP-848's and share groups' will stand beside the classic one.

pub(crate) mod classic;
mod terms;
#[cfg(test)]
mod tests;
