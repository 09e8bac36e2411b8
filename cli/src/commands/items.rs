//! What commands about several things share: what became of each, and consent to a change.

use std::io::{IsTerminal, Write};

use rkafka::admin::Error;

use crate::args::{Consent, Form, Output};
use crate::exit::{self, Exit, Failure};
use crate::format::listing::Listing;
use crate::report;

/// What became of the items of one command: each failure is said at once, and the whole has one exit code.
#[derive(Default)]
pub struct Outcome {
    done: usize,
    exits: Vec<Exit>,
}

impl Outcome {
    /// One item is done.
    pub fn succeeded(&mut self) {
        self.done += 1;
    }

    /// One item failed.
    pub fn failed(&mut self, failure: &Failure) {
        report::error(&failure.message);
        self.exits.push(failure.exit);
    }

    /// Prints what there is to list, and ends. A table of which nothing came has no head either.
    pub fn end(&self, listing: &Listing, form: &Form) -> Result<Exit, Failure> {
        let is_table = matches!(form.output, Output::Table | Output::Wide);
        if !(is_table && listing.is_empty() && !self.exits.is_empty()) {
            listing.print(form)?;
        }
        Ok(self.exit())
    }

    /// The failures' own code where nothing was done and they agree; 1 where some was done or they differ.
    pub fn exit(&self) -> Exit {
        match self.exits.first() {
            None => Exit::Ok,
            Some(first) if self.done == 0 && self.exits.iter().all(|exit| exit == first) => *first,
            Some(_) => Exit::Failed,
        }
    }
}

/// The failure of one thing, which is named as `what`.
pub fn failure(what: &str, error: Error) -> Failure {
    // Where `what` names the topic, the error need not.
    let named = match (error.topic(), error.partition()) {
        (Some(topic), None) if what.contains(topic) => Some(format!("topic {topic}: ")),
        (Some(topic), Some(partition)) if what.contains(&format!("{topic}-{partition}")) => {
            Some(format!("{topic}-{partition}: "))
        }
        _ => None,
    };
    let once = |text: String| named.map_or(text.clone(), |named| text.replacen(&named, "", 1));
    match error.code() {
        Some(code) => Failure::new(exit::of_code(code), format!("{what}: {}", once(error.to_string()))),
        None => {
            let failure = Failure::from(error);
            Failure::new(failure.exit, format!("{what}: {}", once(failure.message)))
        }
    }
}

/// The failure of a thing that the broker's answer does not mention.
pub fn unsaid(what: &str) -> Failure {
    Failure::failed(format!("the broker's answer says nothing of {what}"))
}

/// The names without repetition, in their order.
pub fn distinct(names: &[String]) -> Vec<&str> {
    let mut distinct: Vec<&str> = Vec::with_capacity(names.len());
    for name in names {
        if !distinct.contains(&name.as_str()) {
            distinct.push(name);
        }
    }
    distinct
}

/// A change, in the words that consent to it needs.
pub struct Act {
    /// `Delete`.
    pub ask: &'static str,
    /// `deleted`.
    pub done: &'static str,
    /// `deletes`.
    pub does: &'static str,
}

impl Act {
    /// Deleting.
    pub const DELETE: Self = Self { ask: "Delete", done: "deleted", does: "deletes" };

    /// Whether the plan is agreed to: by `--yes`; else it is shown, and on a terminal asked. Without one, nothing is agreed
    /// to.
    pub fn agreed(&self, consent: &Consent, plan: &[String]) -> Result<bool, Failure> {
        if consent.yes {
            return Ok(true);
        }
        for line in plan {
            report::note(line);
        }
        let nothing = format!("nothing was {}", self.done);
        if consent.dry_run || !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            report::note(&format!("{nothing}; --yes {}", self.does));
            return Ok(false);
        }
        let cannot_ask = |error| Failure::failed(format!("cannot ask: {error}; --yes {} without asking", self.does));
        let mut screen = std::io::stderr().lock();
        write!(screen, "{}? [y/N] ", self.ask).and_then(|()| screen.flush()).map_err(cannot_ask)?;
        let mut reply = String::new();
        std::io::stdin().read_line(&mut reply).map_err(cannot_ask)?;
        let agreed = matches!(reply.trim(), "y" | "Y" | "yes");
        if !agreed {
            drop(screen);
            report::note(&nothing);
        }
        Ok(agreed)
    }
}

/// `1 member`, `2 members`.
pub fn count(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_agree_keep_their_code() {
        let outcome = |done, exits: &[Exit]| Outcome { done, exits: exits.to_vec() }.exit();
        assert_eq!(outcome(2, &[]), Exit::Ok);
        assert_eq!(outcome(0, &[Exit::NotFound, Exit::NotFound]), Exit::NotFound);
        assert_eq!(outcome(1, &[Exit::NotFound]), Exit::Failed);
        assert_eq!(outcome(0, &[Exit::NotFound, Exit::Denied]), Exit::Failed);
    }

    #[test]
    fn repeated_names_count_once() {
        assert_eq!(distinct(&["b".into(), "a".into(), "b".into()]), ["b", "a"]);
    }
}
