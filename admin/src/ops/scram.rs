//! Users that log in by SCRAM. Sources: DescribeUserScramCredentials (API key 50), AlterUserScramCredentials (key 51),
//! KIP-554. The password never leaves this client: what is sent is salted and hashed (RFC 5802).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use rkafka_client_core::{Error, ErrorCode, ErrorKind, Result};
use rkafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use rkafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use rkafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
};

use super::{PerItem, silent};
use crate::Admin;
use crate::codes::codes;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;
use crate::single::To;

/// The fewest rounds that Kafka takes, and the number that it makes its own users with.
const ITERATIONS: i32 = 4_096;
/// The most that Kafka takes.
const ITERATIONS_MAX: i32 = 16_384;

codes! {
    /// How a password is hashed.
    pub enum ScramMechanism: i8 {
        /// By SHA-256.
        Sha256 = 1 "SCRAM-SHA-256",
        /// By SHA-512.
        Sha512 = 2 "SCRAM-SHA-512",
    }
}

/// How a user can log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScramCredentialInfo {
    /// How the password is hashed.
    pub mechanism: ScramMechanism,
    /// In how many rounds.
    pub iterations: i32,
}

/// A change of how a user can log in.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserScramCredentialAlteration {
    /// A password that is set.
    Upsert {
        /// The user.
        user: String,
        /// How it is hashed.
        mechanism: ScramMechanism,
        /// In how many rounds, from 4096 to 16384.
        iterations: i32,
        /// The password.
        password: Bytes,
        /// What is mixed into it; `None` takes 24 random bytes.
        salt: Option<Bytes>,
    },
    /// A password that is taken away.
    Delete {
        /// The user.
        user: String,
        /// How it was hashed.
        mechanism: ScramMechanism,
    },
}

impl UserScramCredentialAlteration {
    /// Sets a user's password, hashed in 4096 rounds with a random salt.
    pub fn upsert(user: impl Into<String>, mechanism: ScramMechanism, password: impl Into<Bytes>) -> Self {
        Self::Upsert { user: user.into(), mechanism, iterations: ITERATIONS, password: password.into(), salt: None }
    }

    /// Takes a user's password away.
    pub fn delete(user: impl Into<String>, mechanism: ScramMechanism) -> Self {
        Self::Delete { user: user.into(), mechanism }
    }

    /// Sets how many rounds.
    #[must_use]
    pub fn with_iterations(mut self, count: i32) -> Self {
        if let Self::Upsert { iterations, .. } = &mut self {
            *iterations = count;
        }
        self
    }

    /// Sets the salt.
    #[must_use]
    pub fn with_salt(mut self, bytes: impl Into<Bytes>) -> Self {
        if let Self::Upsert { salt, .. } = &mut self {
            *salt = Some(bytes.into());
        }
        self
    }

    fn user(&self) -> &str {
        match self {
            Self::Upsert { user, .. } | Self::Delete { user, .. } => user,
        }
    }

    /// What is wrong with it, found here so that nothing is computed in vain; as Java's client does.
    fn check(&self) -> Result<()> {
        let refused = |code, message: &str| Err(Error::new(ErrorKind::Broker(code), message));
        let (Self::Upsert { mechanism, .. } | Self::Delete { mechanism, .. }) = self;
        if self.user().is_empty() {
            return refused(ErrorCode::UnacceptableCredential, "a user has a name");
        }
        if matches!(mechanism, ScramMechanism::Other(_)) {
            return refused(ErrorCode::UnsupportedSaslMechanism, "only SCRAM-SHA-256 and SCRAM-SHA-512 are known");
        }
        if let Self::Upsert { password, iterations, salt, .. } = self {
            if password.is_empty() {
                return refused(ErrorCode::UnacceptableCredential, "the password must not be empty");
            }
            if !(ITERATIONS..=ITERATIONS_MAX).contains(iterations) {
                let message = format!("{iterations} rounds; Kafka takes {ITERATIONS} to {ITERATIONS_MAX}");
                return refused(ErrorCode::UnacceptableCredential, &message);
            }
            if salt.as_ref().is_some_and(Bytes::is_empty) {
                return refused(ErrorCode::UnacceptableCredential, "the salt must not be empty");
            }
        }
        Ok(())
    }
}

impl fmt::Debug for UserScramCredentialAlteration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upsert { user, mechanism, iterations, .. } => formatter
                .debug_struct("Upsert")
                .field("user", user)
                .field("mechanism", mechanism)
                .field("iterations", iterations)
                .finish_non_exhaustive(),
            Self::Delete { user, mechanism } => {
                formatter.debug_struct("Delete").field("user", user).field("mechanism", mechanism).finish()
            }
        }
    }
}

operation! {
    /// What [`Admin::describe_user_scram_credentials`] gives.
    pub struct DescribeUserScramCredentials => PerItem<Vec<ScramCredentialInfo>> {
        users: Option<BTreeSet<String>>,
    }
}

operation! {
    /// What [`Admin::alter_user_scram_credentials`] gives.
    pub struct AlterUserScramCredentials => PerItem<()> {
        alterations: Vec<UserScramCredentialAlteration>,
    }
}

impl DescribeUserScramCredentials<'_> {
    async fn run(self) -> Result<PerItem<Vec<ScramCredentialInfo>>> {
        let users = |users: &BTreeSet<String>| {
            users.iter().map(|user| UserName { name: user.clone(), ..Default::default() }).collect()
        };
        let build =
            |_| DescribeUserScramCredentialsRequest { users: self.users.as_ref().map(users), ..Default::default() };
        let read = |response: DescribeUserScramCredentialsResponse| {
            Error::check_with(response.error_code, response.error_message.as_deref())?;
            let told = response.results.into_iter().map(|user| {
                let outcome = Error::check_with(user.error_code, user.error_message.as_deref());
                let infos = user
                    .credential_infos
                    .into_iter()
                    .map(|info| ScramCredentialInfo { mechanism: info.mechanism.into(), iterations: info.iterations });
                (user.user, outcome.map(|()| infos.collect()))
            });
            let mut told: PerItem<Vec<ScramCredentialInfo>> = told.collect();
            for user in self.users.iter().flatten() {
                told.entry(user.clone()).or_insert_with(|| Err(silent(user)));
            }
            Ok(told)
        };
        self.admin.ask(To::Any, self.limit, &[], build, read).await
    }
}

/// What is sent of a user.
#[derive(Default)]
struct Changes {
    deletions: Vec<ScramCredentialDeletion>,
    upsertions: Vec<ScramCredentialUpsertion>,
}

struct Job {
    users: BTreeMap<String, Changes>,
}

impl Operation for Job {
    type Key = String;
    type Value = ();
    type Request = AlterUserScramCredentialsRequest;

    fn place(&self, _user: &String) -> Place {
        Place::Controller
    }

    fn request(&self, _version: i16, users: &[String]) -> Result<AlterUserScramCredentialsRequest> {
        let changes = || users.iter().filter_map(|user| self.users.get(user));
        Ok(AlterUserScramCredentialsRequest {
            deletions: changes().flat_map(|changes| changes.deletions.iter().cloned()).collect(),
            upsertions: changes().flat_map(|changes| changes.upsertions.iter().cloned()).collect(),
            ..Default::default()
        })
    }

    fn read(&self, _users: &[String], response: AlterUserScramCredentialsResponse) -> Answers<String, ()> {
        let results = response.results.into_iter();
        let results =
            results.map(|result| (result.user, Error::check_with(result.error_code, result.error_message.as_deref())));
        Ok(results.collect())
    }
}

impl AlterUserScramCredentials<'_> {
    async fn run(self) -> Result<PerItem<()>> {
        let mut refused: PerItem<()> = PerItem::new();
        for alteration in &self.alterations {
            if let Err(error) = alteration.check() {
                refused.insert(alteration.user().to_owned(), Err(error));
            }
        }
        let alterations: Vec<UserScramCredentialAlteration> =
            self.alterations.into_iter().filter(|one| !refused.contains_key(one.user())).collect();
        // Thousands of rounds take milliseconds for each user, which would hold up every other task.
        let hashed = tokio::task::spawn_blocking(move || hashed(alterations)).await;
        let users = hashed.map_err(|_| Error::new(ErrorKind::Closed, "the runtime shuts down"))??;
        let names: Vec<String> = users.keys().cloned().collect();
        let mut outcomes = self.admin.run(&Job { users }, names, self.limit).await?;
        outcomes.extend(refused);
        Ok(outcomes)
    }
}

fn hashed(alterations: Vec<UserScramCredentialAlteration>) -> Result<BTreeMap<String, Changes>> {
    let mut users: BTreeMap<String, Changes> = BTreeMap::new();
    for alteration in alterations {
        match alteration {
            UserScramCredentialAlteration::Delete { user, mechanism } => {
                let deletion =
                    ScramCredentialDeletion { name: user.clone(), mechanism: mechanism.code(), ..Default::default() };
                users.entry(user).or_default().deletions.push(deletion);
            }
            UserScramCredentialAlteration::Upsert { user, mechanism, iterations, password, salt } => {
                let salt = salt.unwrap_or_else(|| Bytes::from_owner(rand::random::<[u8; 24]>()));
                let rounds = u32::try_from(iterations).unwrap_or(1);
                let salted_password = salted(mechanism, &password, &salt, rounds);
                let upsertion = ScramCredentialUpsertion {
                    name: user.clone(),
                    mechanism: mechanism.code(),
                    iterations,
                    salt,
                    salted_password,
                    ..Default::default()
                };
                users.entry(user).or_default().upsertions.push(upsertion);
            }
        }
    }
    Ok(users)
}

/// `Hi` of RFC 5802, which is PBKDF2 with one block.
fn salted(mechanism: ScramMechanism, password: &[u8], salt: &[u8], rounds: u32) -> Bytes {
    match mechanism {
        ScramMechanism::Sha512 => {
            Bytes::from_owner(pbkdf2::pbkdf2_hmac_array::<sha2::Sha512, 64>(password, salt, rounds))
        }
        _ => Bytes::from_owner(pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(password, salt, rounds)),
    }
}

impl Admin {
    /// How users can log in by SCRAM: these, or with `None` all. A user that is not there is an error of their own
    /// ([`ResourceNotFound`](ErrorCode::ResourceNotFound)). Passwords, hashed or not, are never told. Needs Kafka 2.7.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one user is in their item.
    pub fn describe_user_scram_credentials(&self, users: Option<Vec<String>>) -> DescribeUserScramCredentials<'_> {
        DescribeUserScramCredentials::new(self, users.map(|users| users.into_iter().collect()))
    }

    /// Sets and takes away passwords of users. They are hashed here, on a thread for work that takes long. A user can be
    /// changed once in a call ([`DuplicateResource`](ErrorCode::DuplicateResource)), by one mechanism. Needs Kafka 2.7.
    ///
    /// Cancel safety: the passwords may have been changed.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one user is in their item, such as an empty password
    /// ([`UnacceptableCredential`](ErrorCode::UnacceptableCredential)).
    pub fn alter_user_scram_credentials(
        &self,
        alterations: impl IntoIterator<Item = UserScramCredentialAlteration>,
    ) -> AlterUserScramCredentials<'_> {
        AlterUserScramCredentials::new(self, alterations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn passwords_are_salted_as_others_do_it() {
        // The example of RFC 7677: user `user`, password `pencil`; the value is by Python's hashlib.
        let salt = [0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];
        let sha256 = salted(ScramMechanism::Sha256, b"pencil", &salt, 4_096);
        assert_eq!(hex(&sha256), SHA256);
        let sha512 = salted(ScramMechanism::Sha512, b"pencil", &salt, 4_096);
        assert_eq!(hex(&sha512), SHA512);
    }

    const SHA256: &str = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
    const SHA512: &str = "f16efe1be67f1d09502ebd5ed9262fddffba5a377ab4f0b687e5ed5ba0f50686b8a4ae166476da8ab3b951d2fa9238b63998f45461bc33a464814949cec9631d";

    #[test]
    fn no_secret_is_shown() {
        let alteration = UserScramCredentialAlteration::upsert("alice", ScramMechanism::Sha256, "open sesame")
            .with_salt("much salt");
        let shown = format!("{alteration:?}");
        assert!(shown.contains("alice") && !shown.contains("sesame") && !shown.contains("salt"), "{shown}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let upsert = || UserScramCredentialAlteration::upsert("alice", ScramMechanism::Sha512, "secret");
        assert!(upsert().check().is_ok());
        for wrong in [
            upsert().with_iterations(4_095),
            upsert().with_iterations(16_385),
            upsert().with_salt(""),
            UserScramCredentialAlteration::upsert("", ScramMechanism::Sha512, "secret"),
            UserScramCredentialAlteration::upsert("alice", ScramMechanism::Sha512, ""),
            UserScramCredentialAlteration::delete("", ScramMechanism::Sha512),
        ] {
            assert_eq!(wrong.check().unwrap_err().code(), Some(ErrorCode::UnacceptableCredential), "{wrong:?}");
        }
        let unknown = UserScramCredentialAlteration::delete("alice", ScramMechanism::Other(9));
        assert_eq!(unknown.check().unwrap_err().code(), Some(ErrorCode::UnsupportedSaslMechanism));
    }
}
