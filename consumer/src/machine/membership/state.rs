//! Where a member of a classic group stands.

/// Where the member stands.
///
/// `Unjoined` → `Joining` → (`Assigning` →) `Syncing` → (`Revoking` →) `Installing` → `Stable` → (`Revoking` →) `Unjoined`;
/// every state may fall back to `Unjoined`, and to `Leaving` → `Left` or `Failed`. An eager group revokes everything
/// before it joins, a cooperative one what a new assignment takes away, before it begins with what that gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not in the group, or wants to join anew.
    Unjoined,
    /// JoinGroup is in flight.
    Joining,
    /// The leader works out who gets what.
    Assigning,
    /// SyncGroup is to be sent, or in flight.
    Syncing,
    /// What an assignment adds is being put in place.
    Installing,
    /// Has its assignment and only beats.
    Stable,
    /// Gives partitions up.
    Revoking,
    /// LeaveGroup is to be sent, or in flight.
    Leaving,
    /// Has left for good.
    Left,
    /// Cannot be a member any more.
    Failed,
}
