//! The member of a share group over virtual time.
