//! Files in TOML: the project's `.rkafka.toml`, and the user's profiles.
//!
//! A setting may be written `"linger.ms" = 5` or `linger.ms = 5`; `brokers` is short for `bootstrap.servers`. `${NAME}` in
//! a value stands for a variable of the environment (`$${` for the characters themselves), and `NAME_command` takes the
//! first line that a command of the shell prints as the value of NAME, so that no secret need stand in a file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use toml_edit::{DocumentMut, Item, TableLike, Value};

use crate::exit::Failure;

/// Settings with their values, in the order of a file.
pub type Pairs = Vec<(String, String)>;
/// A profile that is read: its name, the file that it stands in, and what it sets.
pub type Chosen = (String, PathBuf, Pairs);

/// The file of a project.
const PROJECT: &str = ".rkafka.toml";
/// What ends the name of a setting that a command tells.
const COMMAND: &str = "_command";

/// What the file of the project says.
pub struct Project {
    /// The file.
    pub path: PathBuf,
    /// The profile to use.
    pub profile: Option<String>,
    /// Its settings.
    pub settings: Pairs,
}

/// Reads `.rkafka.toml` where this directory has one.
///
/// # Errors
/// It cannot be read. It may come from anywhere, as with a repository that was cloned; so it runs no commands.
pub fn project() -> Result<Option<Project>, Failure> {
    let path = PathBuf::from(PROJECT);
    let Some(document) = open(&path)? else { return Ok(None) };
    let mut entries = entries(document.as_table(), &path)?;
    let mut profile = None;
    entries.retain(|(name, value)| {
        let is_profile = name == "profile";
        if is_profile {
            profile = Some(value.clone());
        }
        !is_profile
    });
    if let Some((name, _)) = entries.iter().find(|(name, _)| name.ends_with(COMMAND)) {
        return Err(Failure::usage(format!(
            "{PROJECT}: `{name}` runs a command, which only a profile may; `rkafka profile set` writes one"
        )));
    }
    let settings = resolve(entries, &path)?;
    Ok(Some(Project { path, profile, settings }))
}

/// The user's profiles, in `$XDG_CONFIG_HOME/rkafka/config.toml` or `~/.config/rkafka/config.toml`.
pub struct Profiles {
    path: PathBuf,
    document: DocumentMut,
}

impl Profiles {
    /// Reads the file; without one there are no profiles.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open() -> Result<Self, Failure> {
        let path = path();
        let document = match &path {
            Some(path) => open(path)?,
            None => None,
        };
        Ok(Self { path: path.unwrap_or_default(), document: document.unwrap_or_default() })
    }

    /// Their names.
    pub fn names(&self) -> Vec<String> {
        let profiles = self.document.get("profiles").and_then(Item::as_table_like);
        profiles.into_iter().flat_map(TableLike::iter).map(|(name, _)| name.to_owned()).collect()
    }

    /// The name of the one that is in use where no other is asked for.
    pub fn current(&self) -> Option<&str> {
        self.document.get("current").and_then(Item::as_str)
    }

    fn profile(&self, name: &str) -> Result<&dyn TableLike, Failure> {
        let profile =
            self.document.get("profiles").and_then(|profiles| profiles.get(name)).and_then(Item::as_table_like);
        profile.ok_or_else(|| {
            let names = self.names();
            let meant = match rkafka::config::nearest(name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`rkafka profile list` shows what there is".to_owned(),
            };
            Failure::usage(format!("there is no profile `{name}`; {meant}"))
        })
    }

    /// What a profile says, as it stands there.
    ///
    /// # Errors
    /// There is no such profile, or a value is none that a setting can have.
    pub fn entries(&self, name: &str) -> Result<Pairs, Failure> {
        entries(self.profile(name)?, &self.path)
    }

    /// A profile with its settings, everything replaced that stands for something else: name, file, settings.
    ///
    /// # Errors
    /// As [`Self::entries`], or a variable is not there, or a command fails.
    pub fn settings(&self, name: &str) -> Result<Chosen, Failure> {
        Ok((name.to_owned(), self.path.clone(), resolve(self.entries(name)?, &self.path)?))
    }

    /// [`Self::settings`] of the profile in use, where there is one.
    ///
    /// # Errors
    /// As there.
    pub fn current_settings(&self) -> Result<Option<Chosen>, Failure> {
        self.current().map(|name| self.settings(name)).transpose()
    }

    /// Sets or, by `None`, takes away a setting of a profile, which is made where it is missing.
    ///
    /// # Errors
    /// The file has something else where profiles should be.
    pub fn set(&mut self, profile: &str, name: &str, value: Option<&str>) -> Result<(), Failure> {
        let odd = || Failure::usage("the file of profiles has something that is no table where profiles should be");
        let table = |item: Item| if item.is_none() { Item::Table(toml_edit::Table::new()) } else { item };
        let profiles = self.document.entry("profiles").or_insert_with(|| {
            let mut profiles = toml_edit::Table::new();
            profiles.set_implicit(true);
            Item::Table(profiles)
        });
        let profiles = profiles.as_table_like_mut().ok_or_else(odd)?;
        let entry = profiles.entry(profile).or_insert_with(|| table(Item::None));
        let settings = entry.as_table_like_mut().ok_or_else(odd)?;
        remove(settings, name);
        if let Some(value) = value {
            settings.insert(name, toml_edit::value(value));
        }
        Ok(())
    }

    /// Makes a profile the one in use.
    ///
    /// # Errors
    /// There is no such profile.
    pub fn choose(&mut self, name: &str) -> Result<(), Failure> {
        self.profile(name)?;
        self.document["current"] = toml_edit::value(name);
        Ok(())
    }

    /// Takes a profile away.
    ///
    /// # Errors
    /// There is no such profile.
    pub fn delete(&mut self, name: &str) -> Result<(), Failure> {
        self.profile(name)?;
        if let Some(profiles) = self.document.get_mut("profiles").and_then(Item::as_table_like_mut) {
            profiles.remove(name);
        }
        if self.current() == Some(name) {
            self.document.remove("current");
        }
        Ok(())
    }

    /// Writes the file anew, whole or not at all, and for nobody else to read.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<(), Failure> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            return Err(Failure::usage("neither XDG_CONFIG_HOME nor HOME says where profiles are kept"));
        };
        let failed = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", self.path.display()));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let beside = self.path.with_extension(format!("toml.{}", std::process::id()));
        let write = || {
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(self.document.to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &self.path)
        };
        write().map_err(|error| {
            let _ = std::fs::remove_file(&beside);
            failed(error)
        })
    }
}

/// Where the profiles are kept.
fn path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A relative path there is to be passed over, the specification of XDG says.
    let config = folder("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    Some(config.or_else(|| Some(folder("HOME")?.join(".config")))?.join("rkafka").join("config.toml"))
}

fn open(path: &Path) -> Result<Option<DocumentMut>, Failure> {
    let file = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::usage(format!("cannot read {file}: {error}"))),
    };
    text.parse().map(Some).map_err(|error: toml_edit::TomlError| {
        let at = error
            .span()
            .map_or(0, |span| text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count());
        Failure::usage(format!("{file}, line {}: {}", at + 1, error.message()))
    })
}

/// The settings of a table, names with dots made of tables in tables.
fn entries(table: &dyn TableLike, path: &Path) -> Result<Pairs, Failure> {
    let mut found = Vec::new();
    flatten("", table, &mut found).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    Ok(found)
}

fn flatten(prefix: &str, table: &dyn TableLike, found: &mut Pairs) -> Result<(), String> {
    for (key, item) in table.iter() {
        let name = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
        if let Some(inner) = item.as_table_like() {
            flatten(&name, inner, found)?;
            continue;
        }
        let text = item
            .as_value()
            .and_then(text)
            .ok_or_else(|| format!("`{name}` must be a string, a number, true, false, or a list of these"))?;
        found.push((name, text));
    }
    Ok(())
}

fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::String(text) => text.value().clone(),
        Value::Integer(number) => number.value().to_string(),
        Value::Float(number) => number.value().to_string(),
        Value::Boolean(truth) => truth.value().to_string(),
        Value::Array(list) => list.iter().map(text).collect::<Option<Vec<_>>>()?.join(","),
        _ => return None,
    })
}

/// Takes a setting away, whichever way it is written.
fn remove(table: &mut dyn TableLike, name: &str) {
    table.remove(name);
    if let Some((first, rest)) = name.split_once('.')
        && let Some(inner) = table.get_mut(first).and_then(Item::as_table_like_mut)
    {
        remove(inner, rest);
    }
}

/// The settings that entries stand for.
fn resolve(entries: Pairs, path: &Path) -> Result<Pairs, Failure> {
    let resolve = |(name, value): (String, String)| {
        let (setting, is_command) = setting(&name);
        let value = if is_command {
            // What looks like a variable there is the shell's.
            told(&value)
        } else {
            expand(&value, |variable| std::env::var(variable).ok())
        };
        Ok::<_, String>((setting, value.map_err(|error| format!("`{name}`: {error}"))?))
    };
    let resolved: Result<_, String> = entries.into_iter().map(resolve).collect();
    resolved.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// The setting that a name in such a file stands for, and whether a command tells its value.
pub fn setting(name: &str) -> (String, bool) {
    let (name, is_command) = name.strip_suffix(COMMAND).map_or((name, false), |name| (name, true));
    let name = match name {
        "brokers" => "bootstrap.servers",
        "password" => "sasl.password",
        name => name,
    };
    (name.to_owned(), is_command)
}

/// Puts the variables of the environment in the places of `${NAME}`.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, found) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &found[2..];
            continue;
        }
        out.push_str(before);
        let (name, after) = found[2..].split_once('}').ok_or("a `${` has no `}`; `$${` stands for the characters")?;
        out.push_str(&variable(name).ok_or_else(|| format!("the environment has no {name}"))?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The first line that a command prints.
fn told(command: &str) -> Result<String, String> {
    let output = Command::new("sh").arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run the shell: {error}"))?;
    if !output.status.success() {
        return Err(format!("the command failed ({})", output.status));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| "what the command printed is not UTF-8")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_quoted_or_dotted() {
        let document: DocumentMut =
            "\"linger.ms\" = 5\nclient.id = \"x\"\nbrokers = [\"a:1\", \"b:2\"]\n[fetch]\nmin.bytes = 7\n"
                .parse()
                .unwrap();
        let found = entries(document.as_table(), Path::new("f")).unwrap();
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            found,
            [own("linger.ms", "5"), own("client.id", "x"), own("brokers", "a:1,b:2"), own("fetch.min.bytes", "7")]
        );
        let dated: DocumentMut = "x = 2026-01-01".parse().unwrap();
        assert!(entries(dated.as_table(), Path::new("f")).unwrap_err().message.contains("`x` must be"));
    }

    #[test]
    fn variables_are_replaced_and_missing_ones_named() {
        let variable = |name: &str| (name == "A").then(|| "1$".to_owned());
        assert_eq!(expand("x${A}y${A}", variable).unwrap(), "x1$y1$");
        assert_eq!(expand("$${A} $A $$", variable).unwrap(), "${A} $A $$");
        assert!(expand("${B}", variable).unwrap_err().contains('B'));
        assert!(expand("${A", variable).is_err());
    }

    #[test]
    fn commands_tell_their_first_line_or_fail() {
        assert_eq!(told("printf 'a b\\nc\\n'").unwrap(), "a b");
        assert!(told("exit 3").unwrap_err().contains("failed"));
        assert_eq!(setting("password_command"), ("sasl.password".to_owned(), true));
    }
}
