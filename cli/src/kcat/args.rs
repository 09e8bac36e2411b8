//! kcat's command line: single letters, read as getopt reads them, flags and files in any order.

use std::path::PathBuf;
use std::time::Duration;

/// What kcat is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// `-P`
    Produce,
    /// `-C`
    Consume,
    /// `-G GROUP`
    Group(String),
    /// `-L`
    List,
    /// `-Q`
    Query,
    /// `-V`
    Version,
    /// `-h`
    Help,
}

/// A command line of kcat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kcat {
    pub mode: Option<Mode>,
    pub brokers: Option<String>,
    pub topics: Vec<String>,
    pub partition: Option<i32>,
    pub offsets: Vec<String>,
    pub exit_at_end: bool,
    pub keeps_on: bool,
    pub key_delimiter: Option<String>,
    pub delimiter: Option<String>,
    pub key: Option<String>,
    pub headers: Vec<String>,
    pub count: Option<u64>,
    pub format: Option<String>,
    pub json: bool,
    pub null: bool,
    pub codec: Option<String>,
    pub tee: bool,
    pub lines: bool,
    pub quiet: bool,
    pub verbose: u8,
    pub settings: Vec<String>,
    /// `-X list`
    pub lists_settings: bool,
    /// `-X dump`
    pub dumps: bool,
    pub config: Option<PathBuf>,
    pub timeout: Option<Duration>,
    /// Files to send, or the topics of `-G`.
    pub rest: Vec<String>,
}

/// The letters that a value follows, in the same word or the next.
const WITH_VALUE: &str = "GtpbzoDKkHcfXFmsrd";

/// Reads the words behind the name of the program.
///
/// # Errors
/// A sentence on what is wrong.
pub fn parse(words: &[String]) -> Result<Kcat, String> {
    let mut kcat = Kcat::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            kcat.rest.extend(words.by_ref().cloned());
            break;
        }
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            kcat.rest.push(word.clone());
            continue;
        };
        let mut left = letters;
        while let Some(letter) = left.chars().next() {
            left = &left[letter.len_utf8()..];
            if !WITH_VALUE.contains(letter) {
                kcat.flag(letter)?;
                continue;
            }
            let value = match left {
                "" => words.next().ok_or_else(|| format!("-{letter} needs a value"))?,
                value => value,
            };
            kcat.value(letter, value)?;
            break;
        }
    }
    Ok(kcat)
}

impl Kcat {
    fn flag(&mut self, letter: char) -> Result<(), String> {
        match letter {
            'P' => self.mode = Some(Mode::Produce),
            'C' => self.mode = Some(Mode::Consume),
            'L' => self.mode = Some(Mode::List),
            'Q' => self.mode = Some(Mode::Query),
            'V' => self.mode = Some(Mode::Version),
            'h' => self.mode = Some(Mode::Help),
            'e' => self.exit_at_end = true,
            'E' => self.keeps_on = true,
            'J' => self.json = true,
            'Z' => self.null = true,
            'T' => self.tee = true,
            'l' => self.lines = true,
            'q' => self.quiet = true,
            'v' => self.verbose = self.verbose.saturating_add(1),
            // Nothing waits in a buffer here while the topic is idle.
            'u' => {}
            'O' => return Err("-O: kcat never printed offsets by it; consume with -f %o".to_owned()),
            other => return Err(format!("unknown argument -{other}; -h shows those there are")),
        }
        Ok(())
    }

    fn value(&mut self, letter: char, value: &str) -> Result<(), String> {
        let own = || value.to_owned();
        let number = || format!("-{letter} {value}: a number is expected");
        match letter {
            'G' => self.mode = Some(Mode::Group(own())),
            't' => self.topics.push(own()),
            'p' => {
                let partition: i32 = value.parse().map_err(|_| number())?;
                self.partition = (partition >= 0).then_some(partition);
            }
            'b' => self.brokers = Some(own()),
            'z' => self.codec = Some(own()),
            'o' => self.offsets.push(own()),
            'D' => self.delimiter = Some(own()),
            'K' => self.key_delimiter = Some(own()),
            'k' => self.key = Some(own()),
            'H' => self.headers.push(own()),
            'c' => self.count = Some(value.parse().map_err(|_| number())?),
            'f' => self.format = Some(own()),
            'X' if value == "list" => self.lists_settings = true,
            'X' if value == "dump" => self.dumps = true,
            // kcat has it that settings of topics may say so.
            'X' => self.settings.push(value.strip_prefix("topic.").unwrap_or(value).to_owned()),
            'F' => self.config = Some(PathBuf::from(value)),
            'm' => self.timeout = Some(Duration::from_secs(value.parse().map_err(|_| number())?)),
            's' => return Err("-s: keys and values are printed as they are; -f %s{hex} shows their bytes".to_owned()),
            'r' => return Err("-r: values by a schema registry are not read here".to_owned()),
            _ => return Err("-d: the log is shown by -v, twice for more".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Kcat, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn letters_join_and_values_stick_or_follow() {
        let kcat = read("-Cet orders -K: -o -2 -p1 -X topic.acks=1 -c 3 file").unwrap();
        assert_eq!(kcat.mode, Some(Mode::Consume));
        assert!(kcat.exit_at_end);
        assert_eq!(
            (kcat.topics, kcat.key_delimiter, kcat.offsets),
            (vec!["orders".into()], Some(":".into()), vec!["-2".into()])
        );
        assert_eq!((kcat.partition, kcat.settings, kcat.count), (Some(1), vec!["acks=1".into()], Some(3)));
        assert_eq!(kcat.rest, ["file"]);
        let kcat = read("-G group a -e b -- -c").unwrap();
        assert_eq!(
            (kcat.mode, kcat.rest),
            (Some(Mode::Group("group".into())), vec!["a".into(), "b".into(), "-c".into()])
        );
        assert_eq!(read("-P -p -1").unwrap().partition, None);
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (line, part) in [("-y", "-y"), ("-C -t", "-t needs"), ("-c x", "-c x"), ("-s avro", "-s"), ("-d all", "-v")]
        {
            assert!(read(line).unwrap_err().contains(part), "{line}");
        }
    }
}
