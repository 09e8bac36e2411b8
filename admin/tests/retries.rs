//! Where operations go, and what is tried again, against scripted brokers over virtual time.

#[path = "../../client-core/tests/fake/mod.rs"]
mod fake;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::{Asked, Conversation, FakeNet, config, metadata, options};
use rkafka_admin::{
    Admin, ErrorCode, ErrorKind, NewTopic, OffsetSpec, RecordsToDelete, TopicPartition, TransactionState,
};
use rkafka_client_core::{Client, ClientConfig};
// The scripted brokers are reached over its streams.
use rkafka_net as _;
use rkafka_protocol::ApiKey;
use rkafka_protocol::messages::api_versions_response::ApiVersion;
use rkafka_protocol::messages::create_topics_response::CreatableTopicResult;
use rkafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use rkafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use rkafka_protocol::messages::find_coordinator_response::Coordinator;
use rkafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use rkafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use rkafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    ListGroupsRequest, ListGroupsResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest, MetadataResponse,
};
use rkafka_protocol::wire::Request;

/// What a broker does with a request: `None` breaks the connection, an empty answer is none at all.
type Script = dyn Fn(i32, &Asked) -> Option<Vec<u8>> + Send + Sync;

fn answer<R: Request>(asked: &Asked, response: &R::Response) -> Option<Vec<u8>> {
    Some(Conversation::encoded::<R>(asked, response))
}

/// Which broker was asked of what, one after another.
type Seen = Arc<Mutex<Vec<(i32, Vec<String>)>>>;

/// Silence: the request is read, and nothing comes back.
const SILENCE: Option<Vec<u8>> = Some(Vec::new());

/// Brokers 1 to 3 that know everything in its newest version but what is in `without`.
fn serve(
    net: &FakeNet,
    without: &'static [ApiKey],
    script: impl Fn(i32, &Asked) -> Option<Vec<u8>> + Send + Sync + 'static,
) {
    let script: Arc<Script> = Arc::new(script);
    for node in 1..=3 {
        let mut connections = net.listen(&format!("{}:{node}", HOSTS[node as usize - 1]));
        let script = Arc::clone(&script);
        #[expect(clippy::disallowed_methods, reason = "a broker runs beside the test")]
        tokio::spawn(async move {
            while let Some(mut conversation) = connections.recv().await {
                let script = Arc::clone(&script);
                tokio::spawn(async move {
                    while let Some(asked) = conversation.next().await {
                        if asked.key == ApiKey::ApiVersions as i16 {
                            conversation.answer::<ApiVersionsRequest>(&asked, &versions(without)).await;
                            continue;
                        }
                        let Some(bytes) = script(node, &asked) else { break };
                        conversation.write(&bytes).await;
                    }
                });
            }
        });
    }
}

const HOSTS: [&str; 3] = ["a", "b", "c"];
const ADDRESSES: [&str; 3] = ["a:1", "b:2", "c:3"];

fn versions(without: &[ApiKey]) -> ApiVersionsResponse {
    let keys = ApiKey::ALL.iter().filter(|key| !without.contains(key));
    let api = |key: &ApiKey| ApiVersion { api_key: *key as i16, min_version: 0, max_version: 99, ..Default::default() };
    ApiVersionsResponse { api_keys: keys.map(api).collect(), ..Default::default() }
}

/// A cluster of three with the topic `t` of three partitions, which `leaders` lead.
fn cluster(leaders: [i32; 3]) -> MetadataResponse {
    let partitions = (0..).zip(leaders).map(|(partition_index, leader_id)| MetadataResponsePartition {
        partition_index,
        leader_id,
        ..Default::default()
    });
    let topic =
        MetadataResponseTopic { name: Some("t".into()), partitions: partitions.collect(), ..Default::default() };
    MetadataResponse { topics: vec![topic], ..metadata(&ADDRESSES, 1, 1) }
}

async fn connect(net: &Arc<FakeNet>, config: ClientConfig) -> Admin {
    Admin::from_client(Client::connect_with(config, options(net)).await.expect("a client"))
}

fn settings() -> ClientConfig {
    config("a:1").default_api_timeout(Duration::from_secs(20))
}

fn is<R: Request>(asked: &Asked) -> bool {
    asked.key == R::KEY as i16
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("t", number)
}

fn deleted(asked: &Asked, outcome: impl Fn(&str) -> ErrorCode) -> Option<Vec<u8>> {
    let results = asked.decode::<DeleteGroupsRequest>().groups_names.into_iter().map(|group_id| DeletableGroupResult {
        error_code: outcome(&group_id).code(),
        group_id,
        ..Default::default()
    });
    answer::<DeleteGroupsRequest>(asked, &DeleteGroupsResponse { results: results.collect(), ..Default::default() })
}

fn coordinators(asked: &Asked, of: impl Fn(&str) -> Result<i32, ErrorCode>) -> Option<Vec<u8>> {
    let keys = asked.decode::<FindCoordinatorRequest>().coordinator_keys.into_iter().map(|key| match of(&key) {
        Ok(node_id) => {
            let host = HOSTS[node_id as usize - 1].to_owned();
            Coordinator { key, node_id, host, port: node_id, ..Default::default() }
        }
        Err(code) => Coordinator { key, error_code: code.code(), ..Default::default() },
    });
    answer::<FindCoordinatorRequest>(
        asked,
        &FindCoordinatorResponse { coordinators: keys.collect(), ..Default::default() },
    )
}

#[tokio::test(start_paused = true)]
async fn groups_go_to_their_coordinators_which_may_move_and_load() {
    let net = FakeNet::new();
    let seen: Seen = Arc::default();
    let log = Arc::clone(&seen);
    let moved = AtomicUsize::new(0);
    serve(&net, &[], move |node, asked| {
        if is::<MetadataRequest>(asked) {
            return answer::<MetadataRequest>(asked, &cluster([1, 2, 3]));
        }
        if is::<FindCoordinatorRequest>(asked) {
            let again = moved.fetch_add(1, Ordering::SeqCst) > 0;
            return coordinators(asked, |group| match group {
                "late" if !again => Err(ErrorCode::CoordinatorNotAvailable),
                "forbidden" => Err(ErrorCode::GroupAuthorizationFailed),
                "moves" if again => Ok(3),
                _ => Ok(2),
            });
        }
        let groups = asked.decode::<DeleteGroupsRequest>().groups_names;
        let loads = !log.lock().unwrap().iter().any(|(_, groups)| groups.contains(&"loads".to_owned()));
        log.lock().unwrap().push((node, groups));
        deleted(asked, |group| match group {
            "loads" if loads => ErrorCode::CoordinatorLoadInProgress,
            "moves" if node == 2 => ErrorCode::NotCoordinator,
            "full" => ErrorCode::NonEmptyGroup,
            _ => ErrorCode::None,
        })
    });
    let admin = connect(&net, settings()).await;
    let outcomes =
        admin.delete_groups(["stays", "moves", "loads", "late", "full", "forbidden"]).await.expect("answers");
    for group in ["stays", "moves", "loads", "late"] {
        assert!(outcomes[group].is_ok(), "{group}: {outcomes:?}");
    }
    assert_eq!(outcomes["full"].as_ref().unwrap_err().code(), Some(ErrorCode::NonEmptyGroup));
    assert_eq!(outcomes["forbidden"].as_ref().unwrap_err().code(), Some(ErrorCode::GroupAuthorizationFailed));
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0], (2, ["full", "loads", "moves", "stays"].map(str::to_owned).to_vec()), "together, and first");
    let mut rest: Vec<_> = seen[1..].to_vec();
    rest.sort();
    assert_eq!(
        rest,
        [(2, vec!["late".to_owned(), "loads".into()]), (3, vec!["moves".into()])],
        "what is done is not asked again"
    );
}

#[tokio::test(start_paused = true)]
async fn partitions_go_to_their_leaders_and_the_unknown_is_reported_soon() {
    let net = FakeNet::new();
    let leads = Arc::new(AtomicUsize::new(1));
    let asked_for = Arc::new(AtomicUsize::new(0));
    let (leader, count) = (Arc::clone(&leads), Arc::clone(&asked_for));
    serve(&net, &[], move |node, asked| {
        if is::<MetadataRequest>(asked) {
            let topics = asked.decode::<MetadataRequest>().topics.unwrap_or_default();
            let mut response = cluster([leader.load(Ordering::SeqCst) as i32, 2, -1]);
            if topics.iter().any(|topic| topic.name.as_deref() == Some("nowhere")) {
                count.fetch_add(1, Ordering::SeqCst);
                response.topics.push(MetadataResponseTopic {
                    name: Some("nowhere".into()),
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    ..Default::default()
                });
            }
            return answer::<MetadataRequest>(asked, &response);
        }
        let request = asked.decode::<DeleteRecordsRequest>();
        let topics = request.topics.into_iter().map(|topic| DeleteRecordsTopicResult {
            partitions: topic
                .partitions
                .into_iter()
                .map(|one| {
                    // The first leader has given it up, and the metadata knows from then on.
                    let gone = one.partition_index == 0 && node == 1;
                    if gone {
                        leader.store(3, Ordering::SeqCst);
                    }
                    DeleteRecordsPartitionResult {
                        partition_index: one.partition_index,
                        low_watermark: one.offset + i64::from(node) * 100,
                        error_code: if gone { ErrorCode::NotLeaderOrFollower.code() } else { 0 },
                        ..Default::default()
                    }
                })
                .collect(),
            name: topic.name,
            ..Default::default()
        });
        answer::<DeleteRecordsRequest>(asked, &DeleteRecordsResponse { topics: topics.collect(), ..Default::default() })
    });
    let admin = connect(&net, settings()).await;
    let nowhere = TopicPartition::new("nowhere", 0);
    let which =
        [partition(0), partition(1), partition(9), nowhere.clone()].map(|one| (one, RecordsToDelete::Before(5)));
    let begun = tokio::time::Instant::from_std(now());
    let outcomes = admin.delete_records(which).await.expect("answers");
    assert_eq!(outcomes[&partition(0)].as_ref().ok(), Some(&305));
    assert_eq!(outcomes[&partition(1)].as_ref().ok(), Some(&205));
    for unknown in [&partition(9), &nowhere] {
        let error = outcomes[unknown].as_ref().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
        assert_eq!((error.topic(), error.partition()), (Some(&*unknown.topic), Some(unknown.partition)));
    }
    assert!(tokio::time::Instant::from_std(now()) - begun < Duration::from_secs(2), "soon");
    assert_eq!(asked_for.load(Ordering::SeqCst), 4, "and after a few attempts");

    // No leader comes: that item is late, and the other has its result.
    let which = [(partition(1), RecordsToDelete::All), (partition(2), RecordsToDelete::All)];
    let outcomes = admin.delete_records(which).timeout(Duration::from_secs(3)).await.expect("answers");
    assert!(outcomes[&partition(1)].is_ok());
    let late = outcomes[&partition(2)].as_ref().unwrap_err();
    assert_eq!((late.kind(), late.code()), (ErrorKind::Timeout, Some(ErrorCode::LeaderNotAvailable)), "{late}");
}

#[expect(clippy::disallowed_methods, reason = "the test reads the virtual clock")]
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

fn created(asked: &Asked, outcome: impl Fn(&str) -> ErrorCode) -> Option<Vec<u8>> {
    let topics = asked.decode::<CreateTopicsRequest>().topics.into_iter().map(|topic| CreatableTopicResult {
        error_code: outcome(&topic.name).code(),
        name: topic.name,
        ..Default::default()
    });
    answer::<CreateTopicsRequest>(asked, &CreateTopicsResponse { topics: topics.collect(), ..Default::default() })
}

#[tokio::test(start_paused = true)]
async fn the_controller_moves_and_throttles_and_each_topic_is_made_once() {
    let net = FakeNet::new();
    let seen: Seen = Arc::default();
    let log = Arc::clone(&seen);
    serve(&net, &[], move |node, asked| {
        if is::<MetadataRequest>(asked) {
            // The first to be asked is no controller any more, as it finds out when it is asked.
            let controller_id = if log.lock().unwrap().is_empty() { 1 } else { 2 };
            return answer::<MetadataRequest>(asked, &MetadataResponse { controller_id, ..cluster([1, 2, 3]) });
        }
        let topics: Vec<String> =
            asked.decode::<CreateTopicsRequest>().topics.into_iter().map(|topic| topic.name).collect();
        let attempts = log.lock().unwrap().len();
        log.lock().unwrap().push((node, topics));
        created(asked, |topic| match topic {
            _ if node == 1 => ErrorCode::NotController,
            "slow" if attempts < 3 => ErrorCode::ThrottlingQuotaExceeded,
            "there" => ErrorCode::TopicAlreadyExists,
            _ => ErrorCode::None,
        })
    });
    let admin = connect(&net, settings()).await;
    let outcomes = admin.create_topics(["new", "slow", "there"].map(NewTopic::new)).await.expect("answers");
    assert!(outcomes["new"].is_ok() && outcomes["slow"].is_ok(), "{outcomes:?}");
    assert_eq!(outcomes["there"].as_ref().unwrap_err().code(), Some(ErrorCode::TopicAlreadyExists));
    let seen = seen.lock().unwrap();
    let nodes: Vec<i32> = seen.iter().map(|(node, _)| *node).collect();
    assert_eq!(nodes, [1, 2, 2, 2]);
    assert_eq!(seen[2].1, ["slow"], "what has an answer is not asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_silent_costs_the_others_nothing() {
    let net = FakeNet::new();
    serve(&net, &[], |node, asked| {
        if is::<MetadataRequest>(asked) {
            return answer::<MetadataRequest>(asked, &cluster([1, 2, 3]));
        }
        match node {
            2 => return SILENCE,
            3 => return None,
            _ => {}
        }
        let topics = asked.decode::<ListOffsetsRequest>().topics.into_iter().map(|topic| ListOffsetsTopicResponse {
            partitions: topic
                .partitions
                .into_iter()
                .map(|one| ListOffsetsPartitionResponse {
                    partition_index: one.partition_index,
                    offset: 7,
                    ..Default::default()
                })
                .collect(),
            name: topic.name,
            ..Default::default()
        });
        answer::<ListOffsetsRequest>(asked, &ListOffsetsResponse { topics: topics.collect(), ..Default::default() })
    });
    let admin = connect(&net, settings().request_timeout(Duration::from_secs(4))).await;
    let all = [0, 1, 2].map(|number| (partition(number), OffsetSpec::Latest));
    let outcomes = admin.list_offsets(all).timeout(Duration::from_secs(10)).await.expect("answers");
    assert_eq!(outcomes[&partition(0)].as_ref().expect("an offset").offset, Some(7));
    for number in [1, 2] {
        let error = outcomes[&partition(number)].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.partition()), (ErrorKind::Timeout, Some(number)), "{error}");
    }
    // Where that is so of all, there is one error for the whole only where nobody told of anything; here the leader is known.
    let alone = admin.list_offsets([(partition(1), OffsetSpec::Latest)]).timeout(Duration::from_secs(1)).await;
    assert!(alone.expect("an item")[&partition(1)].is_err());
}

#[tokio::test(start_paused = true)]
async fn every_broker_is_asked_for_its_groups_and_who_fails_is_named() {
    let net = FakeNet::new();
    let loads = AtomicUsize::new(0);
    serve(&net, &[ApiKey::DescribeTransactions, ApiKey::ListTransactions], move |node, asked| {
        if is::<MetadataRequest>(asked) {
            return answer::<MetadataRequest>(asked, &cluster([1, 2, 3]));
        }
        let error_code = match node {
            2 if loads.fetch_add(1, Ordering::SeqCst) < 2 => ErrorCode::CoordinatorLoadInProgress.code(),
            3 => ErrorCode::ClusterAuthorizationFailed.code(),
            _ => 0,
        };
        let group = rkafka_protocol::messages::list_groups_response::ListedGroup {
            group_id: format!("of-{node}"),
            ..Default::default()
        };
        let groups = if error_code == 0 { vec![group] } else { Vec::new() };
        answer::<ListGroupsRequest>(asked, &ListGroupsResponse { error_code, groups, ..Default::default() })
    });
    let admin = connect(&net, settings()).await;
    let listed = admin.list_groups().await.expect("groups");
    assert_eq!(listed.groups.iter().map(|group| group.group_id.as_str()).collect::<Vec<_>>(), ["of-1", "of-2"]);
    assert_eq!(listed.errors.keys().collect::<Vec<_>>(), [&3]);
    assert_eq!(listed.errors[&3].code(), Some(ErrorCode::ClusterAuthorizationFailed));

    // What no broker knows is said at once, and of the whole.
    let states = admin.list_transactions().filter_states([TransactionState::Ongoing]).await;
    assert_eq!(states.unwrap_err().kind(), ErrorKind::UnsupportedVersion);
    admin.client().close();
    assert_eq!(admin.list_topics().await.unwrap_err().kind(), ErrorKind::Closed);
}
