//! The tests that show what settings do: each says so in the line before it, as `// Shows: linger.ms, batch.size.`

use std::collections::BTreeMap;
use std::path::Path;

/// Where such tests may be.
const FOLDERS: [&str; 10] = [
    "config/tests",
    "net/src",
    "client-core/src",
    "client-core/tests",
    "producer/src",
    "producer/tests",
    "consumer/src",
    "consumer/tests",
    "rkafka/tests",
    "tests/e2e/tests",
];

/// How many lines at most lie between the line that says so and the name of the test: attributes and a documentation.
const LINES_MAX: usize = 12;

/// A test: its file below the root of the repository, and its name.
type Test = (String, String);

/// The tests by the names of the settings that they show.
pub struct ShownBy {
    tests: BTreeMap<String, Vec<Test>>,
}

impl ShownBy {
    /// Reads every test of the workspace.
    ///
    /// # Panics
    /// A line says that a test shows something, and no test follows.
    pub fn read(root: &Path) -> Self {
        let mut tests: BTreeMap<String, Vec<Test>> = BTreeMap::new();
        for folder in FOLDERS {
            read_folder(root, &root.join(folder), &mut tests);
        }
        tests.values_mut().for_each(|tests| tests.sort());
        Self { tests }
    }

    /// The settings that tests say they show.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tests.keys().map(String::as_str)
    }

    /// Whether any test shows the setting.
    pub fn has(&self, name: &str) -> bool {
        self.tests.contains_key(name)
    }

    /// The tests of a setting, linked from a page in `docs/`.
    pub fn links(&self, name: &str) -> String {
        let tests = self.tests.get(name).map(Vec::as_slice).unwrap_or_default();
        let links = tests.iter().map(|(file, test)| format!("[{test}](../{file})"));
        links.collect::<Vec<_>>().join(", ")
    }
}

fn read_folder(root: &Path, folder: &Path, tests: &mut BTreeMap<String, Vec<Test>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            read_folder(root, &path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = std::fs::read_to_string(&path).expect("code can be read");
            let file = path.strip_prefix(root).expect("it is below the root").display().to_string();
            read_code(&file, &code, tests);
        }
    }
}

fn read_code(file: &str, code: &str, tests: &mut BTreeMap<String, Vec<Test>>) {
    let lines = code.lines().map(str::trim).collect::<Vec<_>>();
    for (at, line) in lines.iter().enumerate() {
        let Some(names) = line.strip_prefix("// Shows: ") else { continue };
        let place = format!("{file}:{}", at + 1);
        let names =
            names.strip_suffix('.').unwrap_or_else(|| panic!("{place}: the last name has a full stop behind it"));
        let behind = &lines[at + 1..lines.len().min(at + LINES_MAX)];
        let found = behind.iter().position(|line| name_of(line).is_some());
        let found = found.unwrap_or_else(|| panic!("{place}: no test follows"));
        let is_test = behind[..found].iter().any(|line| line.starts_with("#[") && line.contains("test"))
            || at > 0 && lines[at - 1].starts_with("on_both!");
        assert!(is_test, "{place}: what follows is no test");
        let test = name_of(behind[found]).expect("it was found").to_owned();
        for name in names.split(", ") {
            tests.entry(name.to_owned()).or_default().push((file.to_owned(), test.clone()));
        }
    }
}

/// The name of the function that begins in this line.
fn name_of(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    rest.split('(').next()
}

#[test]
fn a_line_without_a_test_behind_it_is_found_out() {
    let read = |code: &str| {
        let code = code.to_owned();
        std::panic::catch_unwind(move || {
            let mut tests = BTreeMap::new();
            read_code("f.rs", &code, &mut tests);
            tests
        })
    };
    let tests = read("// Shows: acks, linger.ms.\n#[tokio::test]\nasync fn works() {}").expect("it is right");
    assert_eq!(tests["acks"], [("f.rs".to_owned(), "works".to_owned())]);
    assert!(tests.contains_key("linger.ms"));
    for wrong in ["// Shows: acks.\nfn helper() {}", "// Shows: acks.", "// Shows: acks\n#[test]\nfn works() {}"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
