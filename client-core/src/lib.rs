//! The cluster as a client sees it.
