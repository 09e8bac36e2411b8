//! `rkafka storage`: directories that are given to a cluster before a broker uses them.

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::{Ran, rkafka, run};
use rkafka_testkit::Child;

const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";

fn storage(words: &[&str]) -> Ran {
    let mut command = rkafka();
    command.arg("storage").args(words);
    run(command, b"")
}

#[test]
fn directories_are_formatted_once_and_used_then() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    let dirs = [folder.path().join("a"), folder.path().join("b")];
    let text =
        format!("node.id=5\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs={},{}\n", dirs[0].display(), dirs[1].display());
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();

    let id = storage(&["random-uuid"]);
    assert_eq!((id.code, id.text().trim().len()), (0, 22), "{id:?}");
    let info = storage(&["info", "-c", file]);
    assert!(info.code == 1 && info.text().contains("b does not exist"), "{info:?}");
    storage(&["format", "-t", "abc", "-c", file]).fails(2, &["abc", "random-uuid"]);
    storage(&["format", "-t", CLUSTER, "-c", file, "-f", "nope=1"]).fails(2, &["nope", "group.version"]);
    storage(&["format", "-t", CLUSTER, "-c", file, "-f", "group.version=9"]).fails(2, &["0 to 1"]);
    assert!(!dirs[0].exists(), "nothing was written");

    let formatted = storage(&["format", "-t", CLUSTER, "-c", file, "--feature", "share.version=0"]);
    let said = format!(
        "Formatting metadata directory {}.\nFormatting data directory {}.\n",
        dirs[0].display(),
        dirs[1].display()
    );
    assert_eq!((formatted.code, formatted.text()), (0, said.as_str()));
    storage(&["format", "-t", CLUSTER, "-c", file]).fails(1, &["already formatted", "-g"]);
    let again = storage(&["format", "-t", CLUSTER, "-c", file, "-g"]);
    assert_eq!((again.code, again.text()), (0, "All of the log directories are already formatted.\n"));
    let other = storage(&["format", "-t", id.text().trim(), "-c", file, "-g"]);
    other.fails(1, &["node 5", CLUSTER]);
    let info = storage(&["info", "-c", file]);
    assert!(info.code == 0 && info.text().contains(&format!("{{cluster.id={CLUSTER}, directory.id=")), "{info:?}");

    let mut command = rkafka();
    command.args(["broker", "run", "--config", file]);
    let mut broker = Child::spawn(&command, None, |command| {
        command.stderr(Stdio::piped());
    })
    .unwrap();
    let lines = BufReader::new(broker.stderr().unwrap()).lines().map_while(Result::ok);
    let ready = { lines }.find(|line| line.contains("ready on ")).expect("it starts");
    let address = ready.split_once("ready on ").unwrap().1.split(',').next().unwrap().to_owned();
    let ask = |words: &[&str]| {
        let mut command = rkafka();
        command.args(words).args(["-b", &address]);
        let ran = run(command, b"");
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.text().to_owned()
    };
    assert!(ask(&["cluster", "info"]).contains(CLUSTER));
    let features = ask(&["cluster", "features"]);
    let level = |name: &str| {
        let line = features.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    assert_eq!(
        (level("share.version").as_deref(), level("group.version").as_deref()),
        (Some("0"), Some("1")),
        "{features}"
    );
}
