//! The members of groups, and `rkafka groups remove-members`.

use std::collections::BTreeSet;

use rkafka::admin::{Admin, GroupListing, GroupType, MemberToRemove, StreamsTasks, TopicPartition};

use super::super::items::{Act, Outcome, count, failure, unsaid};
use super::title;
use crate::args::RemoveMembers;
use crate::exit::{Exit, Failure};
use crate::report;

/// A group of any kind.
pub struct Group {
    pub assignor: Option<String>,
    pub state: String,
    pub coordinator: Option<i32>,
    pub epoch: Option<i32>,
    pub members: Vec<Member>,
}

/// A member of a group of any kind.
pub struct Member {
    pub id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub host: String,
    pub epoch: Option<i32>,
    pub topics: Vec<String>,
    pub assignment: BTreeSet<TopicPartition>,
    /// The tasks of a member of a streams group, as `SUBTOPOLOGY:0,1`.
    pub tasks: Vec<String>,
}

impl Member {
    /// How messages name it.
    fn name(&self) -> String {
        let instance = self.instance.as_ref().map(|id| format!(", instance {id}")).unwrap_or_default();
        let host = self.host.trim_start_matches('/');
        format!("{} (client {}{instance}) at {host}", self.id, self.client_id)
    }
}

/// Describes one group.
pub async fn describe(admin: &Admin, listing: &GroupListing) -> Result<Group, Failure> {
    let id = &listing.group_id;
    let what = title(id);
    let of_item = |error| failure(&what, error);
    let missing = || unsaid(&what);
    match listing.kind {
        Some(GroupType::Share) => {
            let group = admin.describe_share_groups([id]).await?.remove(id).ok_or_else(missing)?.map_err(of_item)?;
            let members = group.members.into_iter().map(|member| Member {
                id: member.member_id,
                instance: None,
                client_id: member.client_id,
                host: member.host,
                epoch: Some(member.member_epoch),
                topics: member.subscribed_topics,
                assignment: member.assignment,
                tasks: Vec::new(),
            });
            Ok(Group {
                assignor: Some(group.assignor),
                state: group.state.to_string(),
                coordinator: group.coordinator,
                epoch: Some(group.group_epoch),
                members: members.collect(),
            })
        }
        Some(GroupType::Streams) => {
            let group = admin.describe_streams_groups([id]).await?.remove(id).ok_or_else(missing)?.map_err(of_item)?;
            let members = group.members.into_iter().map(|member| Member {
                id: member.member_id,
                instance: member.group_instance_id,
                client_id: member.client_id,
                host: member.host,
                epoch: Some(member.member_epoch),
                topics: Vec::new(),
                assignment: BTreeSet::new(),
                tasks: tasks(&member.assignment),
            });
            Ok(Group {
                assignor: None,
                state: group.state.to_string(),
                coordinator: group.coordinator,
                epoch: Some(group.group_epoch),
                members: members.collect(),
            })
        }
        _ if listing.protocol_type.is_empty() || listing.protocol_type == "consumer" => {
            let group = admin.describe_consumer_groups([id]).await?.remove(id).ok_or_else(missing)?.map_err(of_item)?;
            let members = group.members.into_iter().map(|member| Member {
                id: member.member_id,
                instance: member.group_instance_id,
                client_id: member.client_id,
                host: member.host,
                epoch: member.member_epoch,
                topics: member.subscribed_topics,
                assignment: member.assignment,
                tasks: Vec::new(),
            });
            Ok(Group {
                assignor: Some(group.assignor),
                state: group.state.to_string(),
                coordinator: group.coordinator,
                epoch: group.group_epoch,
                members: members.collect(),
            })
        }
        _ => {
            let group = admin.describe_classic_groups([id]).await?.remove(id).ok_or_else(missing)?.map_err(of_item)?;
            let members = group.members.into_iter().map(|member| Member {
                id: member.member_id,
                instance: member.group_instance_id,
                client_id: member.client_id,
                host: member.host,
                epoch: None,
                topics: member.subscribed_topics,
                assignment: member.assignment,
                tasks: Vec::new(),
            });
            Ok(Group {
                assignor: Some(group.protocol),
                state: group.state.to_string(),
                coordinator: group.coordinator,
                epoch: None,
                members: members.collect(),
            })
        }
    }
}

fn tasks(tasks: &StreamsTasks) -> Vec<String> {
    let numbers = |numbers: &[i32]| numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    tasks.active.iter().map(|(subtopology, partitions)| format!("{subtopology}:{}", numbers(partitions))).collect()
}

/// The failure of a group that has members where it must have none.
pub fn in_use(group: &str, members: &[Member]) -> Failure {
    let names: Vec<String> = members.iter().map(Member::name).collect();
    let text = format!("group `{group}` is in use by {}: {}", count(members.len(), "member"), names.join("; "));
    Failure::failed(format!("{text}; stop them first"))
}

/// Removes members from a group.
pub async fn remove(admin: &Admin, args: &RemoveMembers) -> Result<Exit, Failure> {
    let mut outcome = Outcome::default();
    let Some(listing) = super::named(admin, std::slice::from_ref(&args.group), &mut outcome).await?.pop() else {
        return Ok(outcome.exit());
    };
    let group = describe(admin, &listing).await?;
    let wanted = |member: &&Member| {
        args.all
            || args.members.contains(&member.id)
            || member.instance.as_ref().is_some_and(|id| args.instances.contains(id))
    };
    let members: Vec<&Member> = group.members.iter().filter(wanted).collect();
    let missing = args.members.iter().filter(|id| !members.iter().any(|member| member.id == **id));
    let missing_instances =
        args.instances.iter().filter(|id| !members.iter().any(|member| member.instance.as_ref() == Some(*id)));
    for id in missing.chain(missing_instances) {
        let message = format!("group `{}` has no member `{id}`; `rkafka groups describe` shows them", args.group);
        outcome.failed(&Failure::new(Exit::NotFound, message));
    }
    if members.is_empty() {
        return Ok(outcome.exit());
    }
    let plan: Vec<String> = members.iter().map(|member| format!("would remove {}", member.name())).collect();
    if !(Act { ask: "Remove", done: "removed", does: "removes them" }).agreed(&args.consent, &plan)? {
        members.iter().for_each(|_| outcome.succeeded());
        return Ok(outcome.exit());
    }
    let identities = members.iter().map(|member| match &member.instance {
        Some(id) => MemberToRemove::instance(id),
        None => MemberToRemove::member(&member.id),
    });
    let removed = admin.remove_members_from_consumer_group(&args.group, Some(identities.collect())).await;
    for (member, result) in removed.map_err(|error| failure(&title(&args.group), error))? {
        match result {
            Ok(()) => {
                outcome.succeeded();
                if !args.connection.quiet {
                    report::note(&format!("removed {member}"));
                }
            }
            Err(error) => outcome.failed(&failure(&format!("group `{}`, {member}", args.group), error)),
        }
    }
    Ok(outcome.exit())
}
