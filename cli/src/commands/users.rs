//! `rkafka users`.

use std::io::{BufRead, BufReader, Read};

use rkafka::admin::{
    Admin, Error, ErrorCode, ScramCredentialInfo, ScramMechanism, UserScramCredentialAlteration as Alteration,
};
use serde_json::json;

use super::items::{Act, Outcome, distinct, failure, unsaid};
use crate::args::{Connection, DeleteUsers, DescribeUsers, ListUsers, SetUser, Users, UsersCommand};
use crate::exit::{Exit, Failure};
use crate::format::listing::{Column, Listing, always};
use crate::{connect, report};

/// Runs the command.
pub async fn run(args: Users) -> Result<Exit, Failure> {
    match args.command {
        UsersCommand::List(args) => list(&args).await,
        UsersCommand::Describe(args) => describe(&args).await,
        UsersCommand::Create(args) => set(&args, true).await,
        UsersCommand::Alter(args) => set(&args, false).await,
        UsersCommand::Delete(args) => delete(&args).await,
    }
}

/// The connection's options, whichever the command is.
pub const fn connection(args: &Users) -> &Connection {
    match &args.command {
        UsersCommand::List(args) => &args.connection,
        UsersCommand::Describe(args) => &args.connection,
        UsersCommand::Create(args) | UsersCommand::Alter(args) => &args.connection,
        UsersCommand::Delete(args) => &args.connection,
    }
}

const COLUMNS: &[Column] = &[always("user"), always("mechanism"), always("iterations")];

fn rows(listing: &mut Listing, user: &str, infos: &[ScramCredentialInfo]) {
    // The broker has them in any order.
    let mut infos = infos.to_vec();
    infos.sort_by_key(|info| info.mechanism);
    for info in infos {
        listing.row(user, [json!(user), json!(info.mechanism.name()), json!(info.iterations)]);
    }
}

fn title(user: &str) -> String {
    format!("user `{user}`")
}

async fn list(args: &ListUsers) -> Result<Exit, Failure> {
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(COLUMNS);
    for (user, result) in admin.describe_user_scram_credentials(None).await? {
        match result {
            Ok(infos) => {
                outcome.succeeded();
                rows(&mut listing, &user, &infos);
            }
            Err(error) => outcome.failed(&failure(&title(&user), error)),
        }
    }
    outcome.end(&listing, &args.form)
}

/// How the users log in, in their order. Each that is not there is a failure.
async fn described<'a>(
    admin: &Admin,
    users: &'a [String],
    outcome: &mut Outcome,
) -> Result<Vec<(&'a str, Vec<ScramCredentialInfo>)>, Failure> {
    let users = distinct(users);
    let names = users.iter().map(|user| (*user).to_owned()).collect();
    let mut results = admin.describe_user_scram_credentials(Some(names)).await?;
    let mut found = Vec::new();
    for user in users {
        match results.remove(user) {
            Some(Ok(infos)) => found.push((user, infos)),
            Some(Err(error)) if is_missing(&error) => outcome.failed(&not_there(admin, user).await),
            Some(Err(error)) => outcome.failed(&failure(&title(user), error)),
            None => outcome.failed(&unsaid(&title(user))),
        }
    }
    Ok(found)
}

fn is_missing(error: &Error) -> bool {
    error.code() == Some(ErrorCode::ResourceNotFound)
}

async fn not_there(admin: &Admin, user: &str) -> Failure {
    let known = admin.describe_user_scram_credentials(None).await.unwrap_or_default();
    let meant = match rkafka::config::nearest(user, known.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`rkafka users list` shows who is".to_owned(),
    };
    Failure::new(Exit::NotFound, format!("user `{user}` is not there; {meant}"))
}

async fn describe(args: &DescribeUsers) -> Result<Exit, Failure> {
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let mut listing = Listing::new(COLUMNS);
    for (user, infos) in described(&admin, &args.users, &mut outcome).await? {
        outcome.succeeded();
        rows(&mut listing, user, &infos);
    }
    outcome.end(&listing, &args.form)
}

/// The password, which must never be told again.
fn password(args: &SetUser) -> Result<Vec<u8>, Failure> {
    if let Some(password) = &args.password {
        return Ok(password.clone().into_bytes());
    }
    let Some(path) = &args.password_file else { return Err(Failure::usage("--password-file is missing")) };
    let is_stdin = path.as_os_str() == "-";
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let cannot_read = |error| Failure::usage(format!("--password-file {name}: {error}"));
    let source: Box<dyn Read> =
        if is_stdin { Box::new(std::io::stdin()) } else { Box::new(std::fs::File::open(path).map_err(cannot_read)?) };
    let mut line = Vec::new();
    BufReader::new(source.take(PASSWORD_MAX)).read_until(b'\n', &mut line).map_err(cannot_read)?;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    if line.is_empty() {
        return Err(Failure::usage(format!("--password-file {name}: its first line is empty")));
    }
    Ok(line)
}

/// Longer than any password that somebody means.
const PASSWORD_MAX: u64 = 64 * 1024;

async fn set(args: &SetUser, is_new: bool) -> Result<Exit, Failure> {
    let (user, mechanism) = (&args.user, args.mechanism);
    let password = password(args)?;
    let admin = connect::admin(&args.connection).await?;
    let has = match admin.describe_user_scram_credentials(Some(vec![user.clone()])).await?.remove(user) {
        Some(Ok(infos)) => infos.iter().any(|info| info.mechanism == mechanism),
        Some(Err(error)) if is_missing(&error) => false,
        Some(Err(error)) => return Err(failure(&title(user), error)),
        None => return Err(unsaid(&title(user))),
    };
    if is_new && has {
        let message =
            format!("user `{user}` has a password for {mechanism} already; `rkafka users alter` sets another");
        return Err(Failure::failed(message));
    }
    let what = if has { "another password" } else { "a password" };
    if args.dry_run {
        report::note(&format!("would set {what} of user `{user}` for {mechanism}"));
        return Ok(Exit::Ok);
    }
    let alteration = Alteration::upsert(user, mechanism, password).with_iterations(args.iterations);
    match admin.alter_user_scram_credentials([alteration]).await?.remove(user) {
        Some(Ok(())) => {
            if !args.connection.quiet {
                report::note(&format!("set {what} of user `{user}` for {mechanism}"));
            }
            Ok(Exit::Ok)
        }
        Some(Err(error)) => Err(failure(&title(user), error)),
        None => Err(unsaid(&title(user))),
    }
}

async fn delete(args: &DeleteUsers) -> Result<Exit, Failure> {
    let admin = connect::admin(&args.connection).await?;
    let mut outcome = Outcome::default();
    let mut wanted: Vec<(&str, ScramMechanism)> = Vec::new();
    for (user, infos) in described(&admin, &args.users, &mut outcome).await? {
        let mechanisms = infos.iter().map(|info| info.mechanism);
        let before = wanted.len();
        wanted
            .extend(mechanisms.filter(|one| args.mechanism.is_none_or(|wanted| wanted == *one)).map(|one| (user, one)));
        if wanted.len() == before {
            let mechanism = args.mechanism.map_or_else(String::new, |mechanism| format!(" for {mechanism}"));
            let message = format!("user `{user}` has no password{mechanism}");
            outcome.failed(&Failure::new(Exit::NotFound, message));
        }
    }
    if wanted.is_empty() {
        return Ok(outcome.exit());
    }
    let plan =
        wanted.iter().map(|(user, mechanism)| format!("would delete the password of user `{user}` for {mechanism}"));
    if !Act::DELETE.agreed(&args.consent, &plan.collect::<Vec<_>>())? {
        wanted.iter().for_each(|_| outcome.succeeded());
        return Ok(outcome.exit());
    }
    // The broker takes one change of a user at a time.
    for (user, mechanism) in wanted {
        match admin.alter_user_scram_credentials([Alteration::delete(user, mechanism)]).await?.remove(user) {
            Some(Ok(())) => {
                outcome.succeeded();
                if !args.connection.quiet {
                    report::note(&format!("deleted the password of user `{user}` for {mechanism}"));
                }
            }
            Some(Err(error)) => outcome.failed(&failure(&title(user), error)),
            None => outcome.failed(&unsaid(&title(user))),
        }
    }
    Ok(outcome.exit())
}
