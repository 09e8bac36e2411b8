//! The unpacker.
