//! What groups have committed. Each partition of a group is one place that is written and read: what is read was written,
//! and nothing that was acknowledged since lies over it.

use crate::facts::{Commit, Facts, Fate, Told};
use crate::report::{Kind, Report};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    for (place, answers) in &facts.told {
        let commits = facts.commits.get(place).map_or(&[][..], Vec::as_slice);
        for told in answers {
            if let Some((kind, why)) = judge(facts, commits, told) {
                let (group, partition) = place;
                let (who, what) = (facts.who(told.process), told.offset);
                let what = what.map_or_else(|| "none".to_owned(), |offset| offset.to_string());
                report.add(kind, format!("{group}, {partition}: {who} is told {what} at {}; {why}", told.begun));
            }
        }
    }
}

/// Whether a commit was done before the answer was asked for, and which it was.
fn is_before(facts: &Facts<'_>, commit: &Commit, told: &Told) -> bool {
    matches!(facts.fate_of_commit(commit), Fate::Surely(since) if since < told.begun)
}

fn judge(facts: &Facts<'_>, commits: &[Commit], told: &Told) -> Option<(Kind, String)> {
    let in_words = |commit: &Commit| format!("{} of {} at {}", commit.offset, facts.who(commit.process), commit.begun);
    let Some(offset) = told.offset else {
        let lost = commits.iter().rfind(|commit| is_before(facts, commit, told))?;
        return Some((Kind::LostCommit, format!("{} was acknowledged", in_words(lost))));
    };
    let same: Vec<&Commit> =
        commits.iter().filter(|commit| commit.offset == offset && commit.begun < told.ended).collect();
    let possible: Vec<&&Commit> = same.iter().filter(|one| facts.fate_of_commit(one) != Fate::Never).collect();
    if possible.is_empty() {
        return Some(match same.first() {
            Some(refused) => (Kind::AbortedCommit, format!("{} was refused or aborted", in_words(refused))),
            None => (Kind::PhantomCommit, "nobody had committed that".to_owned()),
        });
    }
    // What may be done late is never overwritten for certain.
    let over = |commit: &Commit| match facts.fate_of_commit(commit) {
        Fate::Surely(since) => {
            commits.iter().find(|later| facts.begun_of(later) > since && is_before(facts, later, told))
        }
        _ => None,
    };
    let later: Option<Vec<&Commit>> = possible.iter().map(|one| over(one)).collect();
    let later = later?;
    let later = later.first()?;
    Some((Kind::LostCommit, format!("{} was acknowledged since", in_words(later))))
}
