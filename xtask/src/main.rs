//! codegen, docs and tidy.
fn main() {}
