//! Where settings come from, and which of them goes first.

mod common;

use std::path::Path;

use common::{Ran, rkafka, run};

/// A directory to stand in, and one of profiles.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = rkafka();
        command.args(words).current_dir(self.path()).env("XDG_CONFIG_HOME", self.path());
        command.envs(variables.iter().copied());
        run(command, b"")
    }

    fn ok(&self, words: &[&str], variables: &[(&str, &str)]) -> String {
        let ran = self.run(words, variables);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        ran.text().to_owned()
    }

    /// Value and source of a setting.
    fn explain(&self, name: &str, flags: &[&str], variables: &[(&str, &str)]) -> (String, String) {
        let text = self.ok(&[&["config", "explain", name], flags].concat(), variables);
        let line = text.lines().nth(1).unwrap_or_else(|| panic!("{text}"));
        let mut words = line.splitn(3, "  ").map(str::trim).filter(|word| !word.is_empty());
        assert_eq!(words.next(), Some(name));
        (words.next().unwrap().to_owned(), words.collect::<Vec<_>>().join(" "))
    }
}

#[test]
fn each_source_goes_before_those_below_it() {
    let place = Place::new();
    let expect = |flags: &[&str], variables: &[(&str, &str)], value: &str, source: &str| {
        let (found, from) = place.explain("bootstrap.servers", flags, variables);
        assert_eq!(found, value);
        assert!(from.contains(source), "{from}");
    };
    expect(&[], &[], "localhost:9092", "default of rkafka");
    place.write("client.properties", "# a file\nbootstrap.servers = file:1\n");
    expect(&["-F", "client.properties"], &[], "file:1", "client.properties, line 2");
    expect(&[], &[("RKAFKA_CONFIG", "client.properties")], "file:1", "client.properties, line 2");
    place.ok(&["profile", "set", "prod", "brokers=prod:1"], &[]);
    place.ok(&["profile", "set", "dev", "brokers=dev:1"], &[]);
    expect(&[], &[], "localhost:9092", "default");
    place.ok(&["profile", "use", "prod"], &[]);
    expect(&[], &[], "prod:1", "profile prod of ");
    // A file that is named is not overruled by what is in use by default, and is by a profile that is named.
    expect(&["-F", "client.properties"], &[], "file:1", "client.properties");
    expect(&["-F", "client.properties", "--profile", "dev"], &[], "dev:1", "profile dev");
    expect(&[], &[("RKAFKA_PROFILE", "dev")], "dev:1", "profile dev");
    place.write(".rkafka.toml", "profile = \"dev\"\n");
    expect(&[], &[], "dev:1", "profile dev");
    place.write(".rkafka.toml", "bootstrap.servers = [\"project:1\", \"${HOSTS}\"]\n");
    expect(&["--profile", "dev"], &[("HOSTS", "b:2")], "project:1,b:2", ".rkafka.toml");
    place.write(".rkafka.toml", "brokers = \"project:1\"\n");
    expect(&[], &[("RKAFKA_BROKERS", "env:1")], "env:1", "environment RKAFKA_BROKERS");
    expect(&[], &[("RKAFKA_X_BOOTSTRAP_SERVERS", "env:2")], "env:2", "environment RKAFKA_X_BOOTSTRAP_SERVERS");
    let env = [("RKAFKA_BROKERS", "env:1")];
    expect(&["-X", "metadata.broker.list=x:1"], &env, "x:1", "-X");
    expect(&["-X", "metadata.broker.list=x:1", "-b", "flag:1"], &env, "flag:1", "flag -b");
    assert_eq!(place.explain("linger.ms", &[], &[("RKAFKA_X_LINGER_MS", "7")]).0, "7");
    assert!(place.explain("default.api.timeout.ms", &["--timeout", "3s"], &[]).1.contains("flag --timeout"));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let place = Place::new();
    let explain = ["config", "explain"];
    place.run(&explain, &[("RKAFKA_X_LINGER_MSS", "1")]).fails(2, &["RKAFKA_X_LINGER_MSS", "did you mean `linger.ms`"]);
    place.run(&[&explain[..], &["-X", "linger.mss=1"]].concat(), &[]).fails(2, &["-X", "did you mean `linger.ms`"]);
    place.run(&[&explain[..], &["linger.mss"]].concat(), &[]).fails(2, &["did you mean `linger.ms`"]);
    place.run(&[&explain[..], &["--profile", "prd"]].concat(), &[]).fails(2, &["no profile `prd`"]);
    place.write(".rkafka.toml", "x = 1\ny = = 2\n");
    place.run(&explain, &[]).fails(2, &[".rkafka.toml, line 2"]);
    place.write(".rkafka.toml", "linger.mss = 1\n");
    place.run(&explain, &[]).fails(2, &[".rkafka.toml", "did you mean `linger.ms`"]);
    place.write(".rkafka.toml", "client.id = \"${NOT_THERE}\"\n");
    place.run(&explain, &[]).fails(2, &[".rkafka.toml", "`client.id`", "NOT_THERE"]);
    // It may be anybody's, so it runs nothing.
    place.write(".rkafka.toml", "\"client.id_command\" = \"touch ran\"\n");
    place.run(&explain, &[]).fails(2, &["`client.id_command`", "only a profile"]);
    assert!(!place.path().join("ran").exists());
}

#[test]
fn profiles_are_kept_and_keep_their_comments() {
    let place = Place::new();
    assert_eq!(place.ok(&["profile", "list"], &[]), "");
    place.run(&["profile", "show"], &[]).fails(2, &["no profile is in use"]);
    place.ok(&["profile", "set", "prod", "brokers=a:1,b:2", "linger.ms=20"], &[]);
    place.ok(&["profile", "set", "dev", "client.id_command=printf 'told\\nmore\\n'"], &[]);
    assert_eq!(place.ok(&["profile", "list"], &[]), "prod\ndev\n");
    assert_eq!(place.ok(&["profile", "show", "prod"], &[]), "brokers=a:1,b:2\nlinger.ms=20\n");
    assert_eq!(place.explain("client.id", &["--profile", "dev"], &[]).0, "told");
    let file = place.path().join("rkafka/config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("# mine\n{text}")).unwrap();
    place.ok(&["profile", "set", "prod", "--unset", "linger.ms"], &[]);
    place.ok(&["profile", "use", "prod"], &[]);
    assert_eq!(place.ok(&["profile", "show"], &[]), "brokers=a:1,b:2\n");
    assert!(std::fs::read_to_string(&file).unwrap().contains("# mine"));
    place.run(&["profile", "set", "prod", "linger.mss=20"], &[]).fails(2, &["did you mean `linger.ms`"]);
    place.run(&["profile", "set", "prod", "linger.ms=soon"], &[]).fails(2, &["`soon`"]);
    place.run(&["profile", "use", "pord"], &[]).fails(2, &["did you mean `prod`"]);
    place.ok(&["profile", "delete", "prod"], &[]);
    assert_eq!(place.ok(&["profile", "list"], &[]), "dev\n");
    place.run(&["profile", "show"], &[]).fails(2, &["no profile is in use"]);
}
