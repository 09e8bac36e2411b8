//! The workspace's own chores: `cargo xtask codegen [--check]`, `cargo xtask tidy`.
#![expect(clippy::print_stderr, reason = "a tool of the terminal")]

mod codegen;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace's root");
    let check = arguments.iter().any(|argument| argument == "--check");
    let done = match arguments.first().map(String::as_str) {
        Some("codegen") => codegen::run(root, check),
        Some("tidy") => tidy::run(root),
        _ => Err("usage: cargo xtask codegen [--check] | tidy".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
