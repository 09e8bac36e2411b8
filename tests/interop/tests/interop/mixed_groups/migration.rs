//! A group goes from the classic protocol to that of KIP-848 and back, one member after another, while it works.

use rkafka::client::{Client, ClientConfig};
use rkafka::protocol::messages::ListGroupsRequest;
use rkafka_testkit::on_both;

use super::group::{Group, PARTITIONS, Protocol, SHORT_SESSION};
use super::load::Load;
use super::member::Kind;
use super::{has_all_kinds, say};
use crate::support::in_time;

/// What the broker takes the group for.
async fn kind_of(bootstrap: &str, group: &str) -> String {
    let client = Client::connect(ClientConfig::new().bootstrap_servers(bootstrap)).await.expect("a client");
    let listed = client.request_controller(ListGroupsRequest::default());
    let listed = in_time("the groups", listed).await.expect("an answer");
    listed.groups.into_iter().find(|one| one.group_id == group).expect("the group is listed").group_type
}

on_both! {
    async fn there_and_back(cluster: &Cluster) {
        let test = "mixed_groups::migration::there_and_back";
        if !has_all_kinds(test).await {
            return;
        }
        let (topic, id) = (cluster.topic("migrating", PARTITIONS, &[]).await, cluster.unique("migrating"));
        let bootstrap = cluster.bootstrap();
        let classic = Protocol::Classic("cooperative-sticky");
        let mut group = Group::begin(&bootstrap, &topic, &id, SHORT_SESSION).await;
        for (kind, name) in [(Kind::Ours, "ours"), (Kind::Java, "java"), (Kind::Python, "python")] {
            group.add(kind, name, classic, &[]);
        }
        let load = Load::begin(&bootstrap, &topic, PARTITIONS);
        group.start_all();
        group.settled("at first").await;
        // Back begins with another than the way there, so that each kind is alone of its protocol at some time.
        for (protocol, order, kind) in [(Protocol::Consumer, [0, 1, 2], "consumer"), (classic, [1, 2, 0], "classic")] {
            for member in order {
                group.members[member].stop().await;
                group.change_protocol(member, protocol);
                group.start(member);
                let name = group.members[member].name.clone();
                group.settled(&format!("with {name} by {protocol:?}")).await;
                group.goes_on(&format!("with {name} by {protocol:?}")).await;
            }
            assert_eq!(kind_of(&bootstrap, &id).await.to_lowercase(), kind, "on {}", cluster.name());
        }
        let sent = load.end().await;
        let summary = group.finish(&sent).await;
        say(&format!("{test} on {}: {summary:?}", cluster.name()));
    }
}
