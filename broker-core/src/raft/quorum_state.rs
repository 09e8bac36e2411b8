//! The text of `quorum-state`, Kafka's JSON of epoch, leader and vote (`QuorumStateData`).
//!
//! Written is version 0, that of quorums whose voters come from the settings. Version 1, of quorums with directory ids, is
//! read too.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use super::ElectionState;

/// Name of the file beside the log.
pub(super) const FILE_NAME: &str = "quorum-state";
/// How deep values may lie in each other.
const DEPTH_MAX: usize = 16;

/// The file's text, as Kafka writes it.
pub(super) fn encode(state: &ElectionState) -> String {
    let id = |id: Option<i32>| id.unwrap_or(-1);
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        r#"{{"clusterId":"","leaderId":{},"leaderEpoch":{},"votedId":{},"appliedOffset":0,"currentVoters":["#,
        id(state.leader_id),
        state.epoch,
        id(state.voted_id)
    );
    for (at, voter) in state.voters.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(text, r#"{comma}{{"voterId":{voter}}}"#);
    }
    text.push_str(r#"],"data_version":0}"#);
    text
}

/// Reads the file's text.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<ElectionState, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let mut parser = Parser { rest: text.chars().peekable() };
    let value = parser.value(0)?;
    parser.end()?;
    let version = value.int("data_version")?;
    if !(0..=1).contains(&version) {
        return Err(format!("its data_version is {version}, and 0 and 1 are known"));
    }
    let epoch = value.int("leaderEpoch")?;
    if epoch < 0 {
        return Err(format!("its leaderEpoch is {epoch}"));
    }
    let id = |id: i32| (id >= 0).then_some(id);
    let voters = match value.field("currentVoters") {
        Some(Value::List(voters)) => voters.iter().map(|voter| voter.int("voterId")).collect::<Result<_, _>>()?,
        _ => Vec::new(),
    };
    Ok(ElectionState { epoch, leader_id: id(value.int("leaderId")?), voted_id: id(value.int("votedId")?), voters })
}

/// As much of JSON as the file has.
#[derive(Debug, PartialEq)]
enum Value {
    Int(i64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
    Null,
}

impl Value {
    fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(fields) => fields.iter().find(|(known, _)| known == name).map(|(_, value)| value),
            _ => None,
        }
    }

    fn int(&self, name: &str) -> Result<i32, String> {
        match self.field(name) {
            Some(Value::Int(value)) => i32::try_from(*value).map_err(|_| format!("its {name} is {value}")),
            _ => Err(format!("it has no number {name}")),
        }
    }
}

struct Parser<'t> {
    rest: Peekable<Chars<'t>>,
}

impl Parser<'_> {
    fn skip_blanks(&mut self) {
        while self.rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.skip_blanks();
        match self.rest.next() {
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(format!("it has `{found}` where `{wanted}` belongs")),
            None => Err("it is cut off".to_owned()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_blanks();
        if self.rest.peek().is_none() { Ok(()) } else { Err("something follows its end".to_owned()) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.skip_blanks();
        match self.rest.peek() {
            _ if depth > DEPTH_MAX => Err("it is nested too deep".to_owned()),
            Some('{') => self
                .list('{', '}', |parser| {
                    parser.skip_blanks();
                    let name = parser.text()?;
                    parser.expect(':')?;
                    Ok((name, parser.value(depth + 1)?))
                })
                .map(Value::Object),
            Some('[') => self.list('[', ']', |parser| parser.value(depth + 1)).map(Value::List),
            Some('"') => self.text().map(Value::Text),
            Some('n') => "null".chars().try_for_each(|wanted| self.expect(wanted)).map(|()| Value::Null),
            _ => {
                let mut digits = String::new();
                while let Some(digit) = self.rest.next_if(|next| next.is_ascii_digit() || *next == '-') {
                    digits.push(digit);
                }
                digits.parse().map(Value::Int).map_err(|_| "it has something that is no value".to_owned())
            }
        }
    }

    fn list<T>(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        self.expect(open)?;
        let mut items = Vec::new();
        self.skip_blanks();
        if self.rest.next_if_eq(&close).is_some() {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            self.skip_blanks();
            if self.rest.next_if_eq(&close).is_some() {
                return Ok(items);
            }
            self.expect(',')?;
        }
    }

    /// Kafka writes nothing here that needs an escape.
    fn text(&mut self) -> Result<String, String> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(text),
                Some('\\') => return Err("it has an escape".to_owned()),
                Some(other) => text.push(other),
                None => return Err("it is cut off".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        let state = ElectionState { epoch: 5, leader_id: None, voted_id: Some(2), voters: vec![1, 2, 3] };
        let text = encode(&state);
        assert_eq!(
            text,
            r#"{"clusterId":"","leaderId":-1,"leaderEpoch":5,"votedId":2,"appliedOffset":0,"currentVoters":[{"voterId":1},{"voterId":2},{"voterId":3}],"data_version":0}"#
        );
        assert_eq!(decode(text.as_bytes()), Ok(state));
        let newer = r#" {"leaderId": 3, "leaderEpoch":7,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        let state = ElectionState { epoch: 7, leader_id: Some(3), ..ElectionState::default() };
        assert_eq!(decode(newer.as_bytes()), Ok(state));
    }

    #[test]
    fn what_is_no_state_is_refused() {
        for bad in ["", "{", "{}", "[1]", r#"{"leaderEpoch":1,"leaderId":1,"votedId":-1,"data_version":2}"#] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
        let whole = encode(&ElectionState::default());
        for cut in 0..whole.len() {
            assert!(decode(&whole.as_bytes()[..cut]).is_err(), "{}", &whole[..cut]);
        }
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn states_round_trip(
            epoch in 0..i32::MAX,
            leader_id in proptest::option::of(0..i32::MAX),
            voted_id in proptest::option::of(0..i32::MAX),
            voters in proptest::collection::vec(0..i32::MAX, 0..5),
        ) {
            let state = ElectionState { epoch, leader_id, voted_id, voters };
            prop_assert_eq!(decode(encode(&state).as_bytes()), Ok(state));
        }
    }
}
