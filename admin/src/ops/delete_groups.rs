//! Deleting groups. Source: DeleteGroups (API key 42), KIP-229; KIP-932 and KIP-1071 for share and streams groups.

use rkafka_client_core::{Error, Result};
use rkafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::PerItem;
use crate::Admin;
use crate::driver::{Answers, Operation, Place};
use crate::operation::operation;

operation! {
    /// What [`Admin::delete_groups`] gives.
    pub struct DeleteGroups => PerItem<()> {
        groups: Vec<String>,
    }
}

struct Job;

impl Operation for Job {
    type Key = String;
    type Value = ();
    type Request = DeleteGroupsRequest;

    fn place(&self, group: &String) -> Place {
        Place::group(group)
    }

    fn request(&self, _version: i16, groups: &[String]) -> Result<DeleteGroupsRequest> {
        Ok(DeleteGroupsRequest { groups_names: groups.to_vec(), ..Default::default() })
    }

    fn read(&self, _groups: &[String], response: DeleteGroupsResponse) -> Answers<String, ()> {
        Ok(response.results.into_iter().map(|group| (group.group_id, Error::check(group.error_code))).collect())
    }
}

impl DeleteGroups<'_> {
    async fn run(self) -> Result<PerItem<()>> {
        self.admin.run(&Job, self.groups, self.limit).await
    }
}

impl Admin {
    /// Deletes groups of any type with all that they have committed. Java has one method for each type, which all do
    /// this. A group with members is refused ([`NonEmptyGroup`](crate::ErrorCode::NonEmptyGroup)), and one that is not
    /// there is an error of its own ([`GroupIdNotFound`](crate::ErrorCode::GroupIdNotFound)).
    ///
    /// Cancel safety: the groups may have been deleted.
    ///
    /// # Errors
    /// See [`Admin`]. What concerns one group is in its item.
    pub fn delete_groups(&self, groups: impl IntoIterator<Item: AsRef<str>>) -> DeleteGroups<'_> {
        DeleteGroups::new(self, super::strings(groups))
    }
}
