//! Groups that change their kind while they have members (KIP-848).
