//! Completions and the manual's pages, as shells and man take them.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{rkafka, run};

fn script(shell: &str) -> Vec<u8> {
    let mut command = rkafka();
    command.args(["completion", shell]);
    let ran = run(command, b"");
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
    ran.stdout
}

#[test]
fn bash_completes_commands_and_flags() {
    let mut words = script("bash");
    words.extend(
        b"\ncomplete_it() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _rkafka rkafka \"${@: -1}\" \"${@: -2:1}\"; \
        echo \"${COMPREPLY[@]}\"; }\ncomplete_it rkafka prod\ncomplete_it rkafka consume --exit\n",
    );
    let mut bash = Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(&words).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "produce\n--exit-at-end\n");
}

#[test]
fn other_shells_have_a_script_of_their_own() {
    for (shell, part) in [("zsh", "#compdef rkafka"), ("fish", "complete -c rkafka")] {
        let script = String::from_utf8(script(shell)).unwrap();
        assert!(script.contains(part) && script.contains("exit-at-end"), "{shell}");
    }
    let mut command = rkafka();
    command.args(["completion", "fsh"]);
    run(command, b"").fails(2, &["`fsh`", "fish"]);
}

#[test]
fn every_command_has_a_page_with_the_exit_codes_on_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let pages = |directory: &std::path::Path| {
        let mut command = rkafka();
        command.arg("man").arg(directory);
        run(command, b"")
    };
    assert_eq!(pages(folder.path()).code, 0);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("rkafka.1").contains("Exit codes"));
    assert!(read("rkafka-consume.1").contains("exit\\-at\\-end"));
    assert!(read("rkafka-topics-list.1").contains(".TH"));
    pages(&folder.path().join("missing")).fails(1, &["missing"]);
}
